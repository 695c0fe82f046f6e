"""Certificates for HTTP/3, and the settings of ``tls`` that it cannot have."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING

from ...config.structs import Tls, TlsKey
from ...tls.openssl import NEWEST, VERSIONS

if TYPE_CHECKING:
    from aioquic.quic.configuration import QuicConfiguration

CONNECTION_ID_BYTES = 8
STREAM_BYTES = 128 * 1024
"""Bytes that a client may send on a stream before they are read; more than the largest headers."""
CONNECTION_BYTES = 1024 * 1024
"""The same for all streams of a connection together."""
CURVES = ("secp256r1", "secp384r1")
"""Curves of the EC keys that aioquic can use. It can also use RSA, Ed25519 and Ed448."""


def obstacles(tls: Tls | None) -> Iterator[str]:
    """Why HTTP/3 is not possible."""
    if find_spec("aioquic") is None:
        yield 'install "hutch-gateway[http3]"'
    if tls is None or tls.disabled:
        yield "HTTP/3 needs tls"
        return
    if tls.enable_mtls:
        yield "HTTP/3 cannot request client certificates (enable_mtls): any client could connect"
    if VERSIONS.get(tls.max_version, NEWEST) < NEWEST:
        yield "HTTP/3 needs TLS 1.3, which max_version does not allow"


def load_certificate(pair: TlsKey, idle_time: float = 60.0) -> QuicConfiguration:
    """A certificate and its key. Raises ValueError, TypeError and OSError."""
    from aioquic.h3.connection import H3_ALPN
    from aioquic.quic.configuration import QuicConfiguration

    configuration = QuicConfiguration(
        is_client=False,
        alpn_protocols=H3_ALPN,
        connection_id_length=CONNECTION_ID_BYTES,
        idle_timeout=idle_time,
        max_data=CONNECTION_BYTES,
        max_stream_data=STREAM_BYTES,
    )
    configuration.load_cert_chain(pair.public_key, pair.private_key)
    curve = getattr(configuration.private_key, "curve", None)
    if curve is not None and curve.name not in CURVES:
        raise ValueError(f"HTTP/3 cannot use a key with the curve {curve.name}")
    return configuration
