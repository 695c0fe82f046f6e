"""Settings that all servers have."""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import Struct

from ..config.findings import ConfigError, Findings
from ..config.structs import DEFAULT_GRACE, Service, Tls
from ..tls.server import ServerTls, load_certificates
from .http3.certificates import load_certificate, obstacles

ServerName: TypeAlias = Literal["auto", "http1", "hypercorn", "uvicorn"]
"""``uvicorn``: the old name of ``http1``."""


class Limits(Struct, frozen=True, kw_only=True):
    """Limits for clients. Sizes in bytes, times in seconds.

    ``answer_time``: for a client to read its response.
    """

    header_bytes: int = 1_000_000
    body_bytes: int = 16 * 1024 * 1024
    header_time: float = 10.0
    body_time: float = 60.0
    answer_time: float = 60.0
    idle_time: float = 75.0
    connections: int = 10_000
    unsent_bytes: int = 256 * 1024 * 1024
    connection_unsent_bytes: int = 16 * 1024 * 1024


ALT_SVC = 'h3=":%d"; ma=86400'
"""The header that announces HTTP/3 on a port, for a day (RFC 7838)."""


class ServeSettings(Struct, frozen=True, kw_only=True):
    """``host`` empty: every address; ``port`` 0: any free one.

    ``tls``: for every connection; None: for none. ``http2``: the server must support HTTP/2.
    ``http3``: HTTP/3 is served in addition, over UDP.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    server: ServerName = "auto"
    limits: Limits = Limits()
    grace: float = DEFAULT_GRACE
    tls: ServerTls | None = None
    http2: bool = False
    http3: bool = False


def serve_settings(service: Service, server: ServerName = "auto") -> ServeSettings:
    """From the configuration. As in KrakenD 0 means that a limit is not set: the default is used.

    Reads certificates. Raises :class:`gateway.ConfigError`.
    """
    gateway = service.gateway
    tls = None if service.tls is None or service.tls.disabled else ServerTls(service.tls)
    if gateway.http3:
        _check_http3(service.tls)
    return ServeSettings(
        host=service.listen_ip,
        port=service.port,
        server=server,
        tls=tls,
        http2=service.use_h2c or gateway.http2,
        http3=gateway.http3,
        grace=service.max_shutdown_wait_time or DEFAULT_GRACE,
        limits=Limits(
            header_bytes=service.max_header_bytes or Limits().header_bytes,
            body_bytes=gateway.max_body_bytes,
            header_time=service.read_header_timeout or gateway.header_timeout,
            body_time=service.read_timeout or gateway.body_timeout,
            answer_time=service.write_timeout or gateway.answer_timeout,
            idle_time=service.idle_timeout or gateway.idle_timeout,
            connections=gateway.max_connections,
            unsent_bytes=gateway.max_unsent_bytes,
            connection_unsent_bytes=gateway.max_connection_unsent_bytes,
        ),
    )


def _check_http3(settings: Tls | None) -> None:
    findings = Findings()
    for obstacle in obstacles(settings):
        findings.error("$.extra_config.gateway.http3", obstacle)
    if findings.has_errors:
        raise ConfigError(findings)
    if settings is not None:
        load_certificates(settings, load_certificate)
