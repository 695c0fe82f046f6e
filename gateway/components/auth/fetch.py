"""Keys over HTTP, with the gateway's own client and the TLS that the settings require."""

from __future__ import annotations

import ssl
from base64 import urlsafe_b64decode
from collections.abc import Callable, Container, Hashable, Sequence
from functools import cache, partial
from hashlib import sha256

from ...core.component import Assembly
from ...core.version import USER_AGENT
from ...errors import BackendFailure
from ...http.client import Arrive, HttpClient
from ...http.pool import PoolSettings
from ...http.request_head import BackendRequest
from ...http.targets import parse_url
from ...http.transport import Redirecting, Transport, send_and_wait
from ...tls.openssl import suite_name
from .key_source import MIN_REFRESH_PAUSE, Fetch, FileKeys, KeySource, RemoteKeys
from .settings import KeySettings

MAX_RESPONSE_BYTES = 1024 * 1024
"""Bytes of a key set, or of the response to a token request."""
CONNECT_TIMEOUT = 5.0


def share_source(
    settings: KeySettings, assembly: Assembly, duration: float, cooldown: float = MIN_REFRESH_PAUSE
) -> KeySource:
    """One source for all users of the same keys, with the shortest of their times, in seconds.

    Raises OSError and ValueError for a file or a URL that cannot be used.
    """
    if settings.jwk_local_path:
        return FileKeys(settings.jwk_local_path)
    fetch = build_fetch(settings, assembly)
    name = settings.jwk_url.partition("?")[0].rpartition("@")[2]
    source = assembly.resource(
        ("keys", settings.jwk_url, *_tls_of(settings)),
        lambda: RemoteKeys(name, fetch, duration, cooldown, assembly.side.time),
    )
    source.duration = min(source.duration, duration)
    source.cooldown = min(source.cooldown, cooldown)
    return source


def build_fetch(settings: KeySettings, assembly: Assembly) -> Fetch:
    """Fetches ``jwk_url``. Raises ValueError for an invalid URL."""
    host, target = parse_url(settings.jwk_url)
    headers = [(b"accept", b"application/json"), (b"user-agent", USER_AGENT)]
    if host.login:
        headers.append((b"authorization", host.login))
    outgoing = BackendRequest("GET", host, target, headers, b"")
    transport = own_transport(_share_key_client(settings, assembly))

    async def fetch() -> bytes:
        response = await send_and_wait(transport, outgoing)
        if response.status != 200:
            raise BackendFailure(f"status {response.status}")
        if not response.is_whole:
            raise BackendFailure("the response is incomplete")
        return response.body

    return fetch


def own_transport(client: HttpClient) -> Transport:
    """The transport for requests of the gateway itself."""
    return Redirecting(
        client,
        accepts_gzip=True,
        unpacks_all=True,
        resends_body=False,
        max_bytes=MAX_RESPONSE_BYTES,
        closes=False,
    )


def _share_key_client(settings: KeySettings, assembly: Assembly) -> HttpClient:
    """One client for all sources with the same TLS settings."""
    kind = HttpClient if settings.disable_jwk_security else HttpsOnlyClient
    pool = PoolSettings(
        dial_time=CONNECT_TIMEOUT,
        idle_time=90.0,
        max_body_bytes=MAX_RESPONSE_BYTES,
        tls=cache(partial(build_context, settings)),
    )
    return assembly.resource(("key client", *_tls_of(settings)), lambda: kind(assembly.side, pool))


def _tls_of(settings: KeySettings) -> tuple[Hashable, ...]:
    return (
        settings.disable_jwk_security,
        settings.jwk_local_ca,
        settings.jwk_fingerprints,
        settings.cipher_suites,
    )


class HttpsOnlyClient(HttpClient):
    """Sends requests over TLS only, also after a redirect."""

    def send(
        self,
        outgoing: BackendRequest,
        head: bytes,
        arrive: Arrive,
        streams: Container[int] = (),
    ) -> Callable[[], None]:
        origin = outgoing.host.origin
        if origin.scheme != "https":
            raise BackendFailure(f"{origin.authority}: keys are not fetched without TLS")
        return super().send(outgoing, head, arrive, streams)


def build_context(settings: KeySettings) -> ssl.SSLContext:
    """TLS 1.2 or later. Raises OSError for a CA that cannot be read."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.jwk_local_ca:
        context.load_verify_locations(settings.jwk_local_ca)
    if names := [name for each in settings.cipher_suites if (name := suite_name(each))]:
        context.set_ciphers(":".join(names))
    if settings.disable_jwk_security:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if settings.jwk_fingerprints:
        context.sslobject_class = _pinned_tls(decode_fingerprints(settings.jwk_fingerprints))
    return context


def decode_fingerprints(encoded: Sequence[str]) -> frozenset[bytes]:
    """SHA-256 sums from base64url. Raises ValueError."""
    sums = frozenset(urlsafe_b64decode(text + "=" * (-len(text) % 4)) for text in encoded)
    if any(len(each) != sha256().digest_size for each in sums):
        raise ValueError("expected SHA-256 sums in base64url")
    return sums


def _pinned_tls(fingerprints: frozenset[bytes]) -> type[ssl.SSLObject]:
    """TLS that accepts only servers with one of these public keys."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
    from cryptography.x509 import load_der_x509_certificate

    class PinnedKeyTls(ssl.SSLObject):
        def do_handshake(self) -> None:
            super().do_handshake()
            certificate = load_der_x509_certificate(self.getpeercert(binary_form=True) or b"")
            public_key = certificate.public_key().public_bytes(
                Encoding.DER, PublicFormat.SubjectPublicKeyInfo
            )
            if sha256(public_key).digest() not in fingerprints:
                raise ssl.SSLCertVerificationError(
                    "the key of the certificate is not one of jwk_fingerprints"
                )

    return PinnedKeyTls
