"""Findings on ``tls`` and ``client_tls``: which certificates they trust, and keys without effect.
Pure, except that it reads the certificates.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Iterator

from ...config.files import exposed
from ...config.findings import Finding
from ...config.structs import ClientTls, GatewaySettings, Service, Tls
from ...tls.openssl import tls_warnings
from ...tls.policy import load_files


def check_tls(service: Service) -> Iterator[Finding]:
    """Warnings about TLS to clients and to backends, and about HTTP/2 and HTTP/3."""
    gateway = service.gateway
    found = [("$", text) for text in _on_root(service, gateway)]
    if service.tls is not None:
        found += [("$.tls", text) for text in (*_on_tls(service.tls), *_protocol(service.tls))]
    if service.client_tls is not None:
        client = service.client_tls
        found += [("$.client_tls", text) for text in (*_on_client_tls(client), *_protocol(client))]
    for path, (key, text) in found:
        yield Finding(f"{path}.{key}", "warning", text)


def _exposed_keys(pairs: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """``pairs``: a key of the configuration, and the file of the private key that it names."""
    return ((key, text) for key, file in pairs if file and (text := exposed(file)))


def _protocol(settings: Tls | ClientTls) -> Iterator[tuple[str, str]]:
    return tls_warnings(
        settings.min_version,
        settings.max_version,
        settings.cipher_suites,
        settings.curve_preferences,
    )


def _on_root(service: Service, gateway: GatewaySettings) -> Iterator[tuple[str, str]]:
    if service.use_h2c:
        yield "use_h2c", "hypercorn is the server then: each request needs more CPU"
    if service.allow_insecure_connections:
        yield "allow_insecure_connections", "certificates of backends are not verified"
    if gateway.http3 and service.tls is not None and service.tls.curve_preferences:
        yield "extra_config.gateway.http3", "tls.curve_preferences has no effect on HTTP/3"
    if gateway.management_tls and (service.tls is None or gateway.management_port is None):
        yield "extra_config.gateway.management_tls", "no effect without tls and management_port"


def _on_tls(settings: Tls) -> Iterator[tuple[str, str]]:
    files = [
        (f"keys[{place}].private_key", pair.private_key) for place, pair in enumerate(settings.keys)
    ]
    yield from _exposed_keys([*files, ("private_key", settings.private_key)])
    if settings.disabled:
        yield "disabled", "the service uses plain HTTP"
    if settings.prefer_server_cipher_suites:
        yield "prefer_server_cipher_suites", "no effect, as in KrakenD"
    if not settings.enable_mtls:
        for key in ("ca_certs", "disable_system_ca_pool"):
            if getattr(settings, key):
                yield key, "no effect without enable_mtls"
        return
    anchors = ClientTls(ca_certs=settings.ca_certs)
    for key, problem in load_files(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), anchors):
        yield key, f"{problem}: left out"
    if not settings.disable_system_ca_pool:
        text = "false: every authority of this system may sign certificates of clients"
        yield "disable_system_ca_pool", text
    elif not settings.ca_certs:
        yield (
            "ca_certs",
            "empty: only roots among the service's own certificates may sign those of clients",
        )


def _on_client_tls(settings: ClientTls) -> Iterator[tuple[str, str]]:
    yield from _exposed_keys(
        (f"client_certs[{place}].private_key", pair.private_key)
        for place, pair in enumerate(settings.client_certs)
    )
    if settings.allow_insecure_connections:
        yield "allow_insecure_connections", "certificates of backends are not verified"
    for key, problem in load_files(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), settings):
        yield key, f"{problem}: left out"
    if len(settings.client_certs) > 1:
        yield "client_certs", "of several certificates with one kind of key the last is used"
