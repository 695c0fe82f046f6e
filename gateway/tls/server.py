"""``tls`` of the service: certificates, the names they are for, and the client certificates.

The files can be read again while connections are open (SIGHUP).
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Generic, NamedTuple, TypeAlias, TypeVar

from ..config.files import unreadable
from ..config.findings import ConfigError, Findings
from ..config.structs import Tls, TlsKey
from ..telemetry.logs import get_logger
from .openssl import reason_of, restrict
from .policy import why_not_loaded

log = get_logger("gateway.server")

T = TypeVar("T")

NOT_PEM = "not a certificate and its private key in PEM"
NOT_FOR_HTTP3 = "not for HTTP/3"


class Certificate(NamedTuple, Generic[T]):
    """``context``: an SSLContext, or a configuration of QUIC. ``names``: its DNS names."""

    context: T
    names: frozenset[str]


ReadCertificates: TypeAlias = Callable[[Findings], list[Certificate[T]]]
"""Reads certificates and adds a finding for each problem. There is no certificate for an error."""


class ServerTls:
    """The certificates of all listeners. Raises :class:`ConfigError` with every problem.

    The first certificate is for clients that request no name, or a name that no certificate has
    (Go, crypto/tls, getCertificate).
    """

    def __init__(self, settings: Tls) -> None:
        self._settings = settings
        self._reload: list[Callable[[Findings], Callable[[], None]]] = []
        _read_at_start(partial(_read_certificates, settings, ()))

    def context(self, protocols: Sequence[str]) -> ssl.SSLContext:
        """For a server with these ``protocols`` (ALPN)."""
        listener = self._add(partial(_read_certificates, self._settings, protocols))
        context = listener.chosen("")
        context.sni_callback = listener.choose_context
        return context

    def choice(self, load: Callable[[TlsKey], T]) -> Callable[[str], T]:
        """The result of ``load`` for the certificate of the name that a client requests."""
        return self._add(partial(_load_each, self._settings, load, NOT_FOR_HTTP3)).chosen

    def _add(self, read: ReadCertificates[T]) -> ListenerCertificates[T]:
        listener = ListenerCertificates(read)
        self._reload.append(listener.prepare_reload)
        return listener

    def reload(self) -> None:
        """Read the files again, for new connections. After a problem all servers keep the
        certificates and the authorities that they have.
        """
        findings = Findings()
        replacements = [prepare(findings) for prepare in self._reload]
        if problems := dict.fromkeys(f"{each.path}: {each.text}" for each in findings):
            log.error("the certificates are not reloaded: %s", "; ".join(problems))
            return
        for replace in replacements:
            replace()
        log.info("the certificates are reloaded")


class ListenerCertificates(Generic[T]):
    """The certificates of one server."""

    def __init__(self, read: ReadCertificates[T]) -> None:
        self._read = read
        self._certificates = _read_at_start(read)

    def chosen(self, name: str) -> T:
        return choose(self._certificates, name).context

    def choose_context(
        self: ListenerCertificates[ssl.SSLContext],
        connection: ssl.SSLObject | ssl.SSLSocket,
        name: str | None,
        context: ssl.SSLContext,
    ) -> None:
        """Called by OpenSSL for the name that a client requests (SNI)."""
        connection.context = self.chosen(name or "")

    def prepare_reload(self, findings: Findings) -> Callable[[], None]:
        """Read the files again. Returns what makes the result valid."""
        certificates = self._read(findings)

        def replace() -> None:
            self._certificates = certificates

        return replace


def choose(certificates: Sequence[Certificate[T]], name: str) -> Certificate[T]:
    """The first certificate for ``name``; a wildcard matches one label."""
    name = name.lower().rstrip(".")
    above = "*." + name.partition(".")[2]
    for certificate in certificates:
        if name in certificate.names or above in certificate.names:
            return certificate
    return certificates[0]


def pairs_of(settings: Tls) -> list[tuple[str, TlsKey]]:
    """Each key with its path in the file. As in KrakenD those at the root of ``tls`` are last."""
    pairs = [(f"$.tls.keys[{place}]", pair) for place, pair in enumerate(settings.keys)]
    if settings.public_key or settings.private_key:
        pairs.append(("$.tls", _at_root(settings)))
    return pairs


def _at_root(settings: Tls) -> TlsKey:
    return TlsKey(public_key=settings.public_key, private_key=settings.private_key)


def _read_at_start(read: ReadCertificates[T]) -> list[Certificate[T]]:
    """Raises :class:`ConfigError`. As in KrakenD an authority that cannot be used is left out, and
    ``check`` warns of it: then fewer clients are trusted.
    """
    findings = Findings()
    certificates = read(findings)
    if findings.has_errors:
        raise ConfigError(findings)
    return certificates


def _read_certificates(
    settings: Tls, protocols: Sequence[str], findings: Findings
) -> list[Certificate[ssl.SSLContext]]:
    authorities = [*_usable_authorities(settings, findings)] if settings.enable_mtls else []

    def load(pair: TlsKey) -> ssl.SSLContext:
        context = _build_context(settings, protocols, authorities)
        # Without this OpenSSL would request a password at the terminal.
        context.load_cert_chain(pair.public_key, pair.private_key, password=lambda: "")
        return context

    return _load_each(settings, load, NOT_PEM, findings)


def load_certificates(settings: Tls, load: Callable[[TlsKey], object]) -> None:
    """Load each certificate, to report problems. Raises :class:`ConfigError`."""
    _read_at_start(partial(_load_each, settings, load, NOT_FOR_HTTP3))


def _load_each(
    settings: Tls, load: Callable[[TlsKey], T], problem: str, findings: Findings
) -> list[Certificate[T]]:
    """The result of ``load`` for each certificate. ``problem``: what a failure means."""
    pairs = pairs_of(settings)
    certificates = []
    for path, pair in pairs:
        files = dict.fromkeys((pair.public_key, pair.private_key))
        if problems := [text for file in files if (text := unreadable(file))]:
            for text in problems:
                findings.error(path, text)
            continue
        try:
            context = load(pair)
            # The names of a single certificate are not needed.
            names = names_of(pair.public_key) if len(pairs) > 1 else frozenset[str]()
        except Exception as error:  # OpenSSL, cryptography and aioquic have no common base class
            findings.error(path, f"{problem}: {reason_of(error)}")
        else:
            certificates.append(Certificate(context, names))
    return certificates


def names_of(path: str) -> frozenset[str]:
    """The DNS names of the first certificate of a PEM file, in lower case."""
    from cryptography import x509

    certificate = x509.load_pem_x509_certificates(Path(path).read_bytes())[0]
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return frozenset()
    return frozenset(name.lower() for name in extension.value.get_values_for_type(x509.DNSName))


class NoWaitUnwrap(ssl.SSLObject):
    """Sends ``close_notify`` and does not wait for the client's: a client that never sends it would
    delay a stop by 30 s (asyncio's timeout)."""

    def unwrap(self) -> None:
        with suppress(ssl.SSLWantReadError):
            super().unwrap()


def _build_context(
    settings: Tls, protocols: Sequence[str], authorities: Sequence[str]
) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sslobject_class = NoWaitUnwrap
    restrict(
        context,
        settings.min_version,
        settings.max_version,
        settings.cipher_suites,
        settings.curve_preferences,
    )
    if protocols:
        context.set_alpn_protocols(list(protocols))
    if settings.enable_mtls:
        _require_client_certificates(context, settings, authorities)
    return context


def _usable_authorities(settings: Tls, findings: Findings) -> Iterator[str]:
    """The files of ``ca_certs`` that OpenSSL can read."""
    for place, path in enumerate(settings.ca_certs):
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(path)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            findings.warning(f"$.tls.ca_certs[{place}]", why_not_loaded(path, error))
        else:
            yield path


def _require_client_certificates(
    context: ssl.SSLContext, settings: Tls, authorities: Sequence[str]
) -> None:
    """Clients must have a certificate of one of these authorities.

    As in KrakenD (lura) the root certificates in the server's own certificate files count too.
    Other certificates in these files do not: one may be of an authority that signs for everybody.
    """
    context.verify_mode = ssl.CERT_REQUIRED
    # As in Go each listed certificate is trusted, also one that another authority has signed.
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    # A client that resumes a session does not show its certificate again.
    context.num_tickets = 0
    context.options |= ssl.OP_NO_TICKET
    if not settings.disable_system_ca_pool:
        context.load_default_certs(ssl.Purpose.CLIENT_AUTH)
    for path in authorities:
        context.load_verify_locations(path)
    for pair in settings.keys:
        for root in _roots(pair.public_key):
            context.load_verify_locations(cadata=root)


def _roots(path: str) -> list[bytes]:
    """The root certificates (self-signed) of a PEM file."""
    reader = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        reader.load_verify_locations(path)
    except OSError:  # reported elsewhere
        return []
    encoded = reader.get_ca_certs(binary_form=True)
    return [
        each
        for each, fields in zip(encoded, reader.get_ca_certs(), strict=True)
        if fields["subject"] == fields["issuer"]
    ]
