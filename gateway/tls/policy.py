"""TLS towards backends, as ``client_tls`` says."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from functools import cache, partial

from ..config.files import cannot_read
from ..config.structs import ClientTls, Service
from ..telemetry.logs import get_logger
from .openssl import reason_of, restrict

log = get_logger("gateway.tls")


def client_tls(service: Service) -> Callable[[], ssl.SSLContext]:
    """A function that returns the context. It is built once, for the first HTTPS backend.

    As in KrakenD a file that cannot be used is logged and left out: then fewer servers are trusted,
    not more.
    """
    settings = service.client_tls
    if service.allow_insecure_connections:
        settings = ClientTls(allow_insecure_connections=True) if settings is None else settings
    if settings is None:
        return cache(ssl.create_default_context)
    is_insecure = settings.allow_insecure_connections or service.allow_insecure_connections
    return cache(partial(build_tls, settings, is_insecure))


def build_tls(settings: ClientTls, is_insecure: bool) -> ssl.SSLContext:
    """``is_insecure``: certificates of servers are not verified."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    restrict(
        context,
        settings.min_version,
        settings.max_version,
        settings.cipher_suites,
        settings.curve_preferences,
    )
    # As in Go each listed certificate is trusted, also one that another authority has signed.
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    if is_insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if not settings.disable_system_ca_pool:
        context.load_default_certs()
    for key, problem in load_files(context, settings):
        log.error("client_tls: %s: %s: left out", key, problem)
    return context


def load_files(context: ssl.SSLContext, settings: ClientTls) -> Iterator[tuple[str, str]]:
    """Load the files that can be used; key and problem of each file that cannot."""
    loads = [
        (f"ca_certs[{place}]", path, partial(context.load_verify_locations, path))
        for place, path in enumerate(settings.ca_certs)
    ]
    for place, pair in enumerate(settings.client_certs):
        key = pair.private_key or None
        # Without this OpenSSL would request a password at the terminal.
        load = partial(context.load_cert_chain, pair.certificate, key, password=lambda: "")
        loads.append((f"client_certs[{place}]", pair.certificate, load))
    for name, path, load in loads:
        try:
            load()
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            yield name, why_not_loaded(path, error)


def why_not_loaded(path: str, error: OSError | ValueError) -> str:
    """Why a certificate cannot be loaded from the file."""
    if isinstance(error, ssl.SSLError):
        return f"cannot use {path}: {reason_of(error)}"
    return cannot_read(path, error)
