"""Asks a running gateway whether it is healthy or ready, as the probe of a container does.

It reads of a configuration only where the pages are.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit

import msgspec

from ..config.structs import Service
from ..errors import GatewayError
from .sockets import EVERY_IPV4, EVERY_IPV6

MAX_PAGE_BYTES = 1024 * 1024
"""Bytes of a response that are read. ``/__ready`` has about 300 for each queue."""

MAX_REASON = 500
"""Characters of the reason. Docker keeps 4096 bytes of the output of a health check."""

LOOPBACK = {"": "127.0.0.1", EVERY_IPV4: "127.0.0.1", EVERY_IPV6: "::1"}
"""The address at which a gateway can be reached that listens on every address."""


def page_url(service: Service, *, is_ready: bool, base: str = "") -> str:
    """The URL of ``/__health`` or ``/__ready`` of a gateway with this configuration.

    ``base``: the URL of the gateway, if it is another one than that of the configuration; with a
    path it is the URL of the page. Raises :class:`GatewayError` if there is no page to ask.
    """
    if urlsplit(base).path.strip("/"):
        return base
    if service.router.disable_health:
        raise GatewayError("router.disable_health: the configuration serves no health page")
    path = service.gateway.ready_path if is_ready else service.router.health_path
    return (base.rstrip("/") or _base(service)) + path


def _base(service: Service) -> str:
    own, tls, port = service.gateway, service.tls, service.port
    has_tls = tls is not None and not tls.disabled
    if own.management_port is not None:
        port, has_tls = own.management_port, has_tls and own.management_tls
    if has_tls and tls is not None and tls.enable_mtls:
        raise GatewayError(
            "tls.enable_mtls: the port requires a certificate of each client; "
            "serve health on a gateway.management_port without management_tls"
        )
    host = LOOPBACK.get(service.listen_ip, service.listen_ip)
    host = f"[{host}]" if ":" in host else host
    return f"{'https' if has_tls else 'http'}://{host}:{port}"


def ask(url: str, timeout: float) -> None:
    """Return if the status is 200. Raises :class:`GatewayError` with the reason, on one line.

    ``timeout``: seconds for the connection, and for each read. Certificates are not verified: the
    request has no secret, and a certificate has the name that clients use, not this address. A
    proxy in the environment is not used, and redirects are not followed.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    connection: HTTPConnection = HTTPConnection(host, parts.port, timeout=timeout)
    if parts.scheme == "https":
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection = HTTPSConnection(host, parts.port, timeout=timeout, context=context)
    try:
        connection.request("GET", path, headers={"User-Agent": "gateway health"})
        response = connection.getresponse()
        body = response.read(MAX_PAGE_BYTES)
    except TimeoutError as error:
        raise GatewayError(f"no response within {timeout:g} s") from error
    except (OSError, HTTPException) as error:
        text = error.strerror if isinstance(error, OSError) else None
        raise GatewayError(text or str(error) or type(error).__name__) from error
    finally:
        connection.close()
    if response.status != 200:
        reasons = "; ".join(dict.fromkeys(_problems(body)))
        raise GatewayError(f"{response.status}: {reasons}"[:MAX_REASON].removesuffix(": "))


def _problems(body: bytes) -> Iterator[str]:
    """The problems in a document of ``/__ready``."""
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return
    if isinstance(document, dict) and document.get("stopping") is True:
        yield "the gateway stops"
    yield from _texts(document)


def _texts(part: object) -> Iterator[str]:
    if isinstance(part, list):
        for each in part:
            yield from _texts(each)
    elif isinstance(part, dict) and part.get("ready", False) is not True:
        problem = part.get("problem")
        if isinstance(problem, str) and problem:
            yield " ".join(problem.split())
        for each in part.values():
            yield from _texts(each)
