"""``tls`` of the service: certificates, whom they are for, and whose clients may come.

What is read from disk can be read again while connections are open (SIGHUP).
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, TypeVar

from ..config.files import unreadable
from ..config.findings import ConfigError, Findings
from ..config.structs import Tls, TlsKey
from ..telemetry.logs import get_logger
from .openssl import reason_of, restrict
from .policy import why_not_loaded

log = get_logger("gateway.server")

T = TypeVar("T")

NOT_IN_PEM = "not a certificate and its private key in PEM"
NOT_FOR_HTTP3 = "not for HTTP/3"


class Certificate(NamedTuple):
    """An SSLContext, or what QUIC has instead, and the names that clients may ask for to get it."""

    context: Any
    names: frozenset[str]


Read: TypeAlias = Callable[[Findings], list[Certificate]]
"""Reads certificates, and tells what is wrong with them. What is an error has no certificate."""


class ServerTls:
    """What listening sockets need to speak TLS. Raises :class:`ConfigError` with every problem.

    ``keys``: at least one; the first is for clients that ask for no name, or for one that none
    has (Go, crypto/tls, getCertificate).
    """

    def __init__(self, settings: Tls) -> None:
        self._settings = settings
        self._listening: list[Listening] = []
        _read_at_start(partial(_read_certificates, settings, ()))

    def context(self, protocols: Sequence[str]) -> ssl.SSLContext:
        """For one server, which speaks these ``protocols`` (ALPN)."""
        listening = self._add(partial(_read_certificates, self._settings, protocols))
        context: ssl.SSLContext = listening.chosen("")
        context.sni_callback = listening.choose
        return context

    def choice(self, load: Callable[[TlsKey], T]) -> Callable[[str], T]:
        """What ``load`` makes of a certificate, by the name that a client asks for."""
        return self._add(partial(_load_each, self._settings, load, NOT_FOR_HTTP3)).chosen

    def _add(self, read: Read) -> Listening:
        listening = Listening(read)
        self._listening.append(listening)
        return listening

    def reload(self) -> None:
        """Read the files again, for connections to come. With any problem all servers keep the
        certificates and the authorities that they have.
        """
        findings = Findings()
        read = [listening.read(findings) for listening in self._listening]
        if problems := dict.fromkeys(f"{each.path}: {each.text}" for each in findings):
            log.error("the certificates stay as they are: %s", "; ".join(problems))
            return
        for listening, certificates in zip(self._listening, read, strict=True):
            listening.certificates = certificates
        log.info("the certificates were read again")


class Listening:
    """The certificates of a server, which hands each connection to the one of its name."""

    def __init__(self, read: Read) -> None:
        self.read = read
        self.certificates = _read_at_start(read)

    def chosen(self, name: str) -> Any:
        return choose(self.certificates, name).context

    def choose(self, connection: Any, name: str | None, context: ssl.SSLContext) -> None:
        """As OpenSSL asks it."""
        connection.context = self.chosen(name or "")


def choose(certificates: Sequence[Certificate], name: str) -> Certificate:
    """The first that is for ``name``; a wildcard stands for one label."""
    name = name.lower().rstrip(".")
    above = "*." + name.partition(".")[2]
    for certificate in certificates:
        if name in certificate.names or above in certificate.names:
            return certificate
    return certificates[0]


def pairs_of(settings: Tls) -> list[tuple[str, TlsKey]]:
    """Path of the keys in the file, and the keys; those at the root come last, as in KrakenD."""
    pairs = [(f"$.tls.keys[{place}]", pair) for place, pair in enumerate(settings.keys)]
    if settings.public_key or settings.private_key:
        pairs.append(("$.tls", _at_root(settings)))
    return pairs


def _at_root(settings: Tls) -> TlsKey:
    return TlsKey(public_key=settings.public_key, private_key=settings.private_key)


def _read_at_start(read: Read) -> list[Certificate]:
    """Raises :class:`ConfigError`. An authority that cannot be used is left out, as in KrakenD, and
    ``check`` warns of it: fewer clients are trusted then.
    """
    findings = Findings()
    certificates = read(findings)
    if findings.has_errors:
        raise ConfigError(findings)
    return certificates


def _read_certificates(
    settings: Tls, protocols: Sequence[str], findings: Findings
) -> list[Certificate]:
    authorities = [*_usable_authorities(settings, findings)] if settings.enable_mtls else []

    def load(pair: TlsKey) -> ssl.SSLContext:
        context = _build_context(settings, protocols, authorities)
        # Without a password OpenSSL would ask the terminal for it.
        context.load_cert_chain(pair.public_key, pair.private_key, password=lambda: "")
        return context

    return _load_each(settings, load, NOT_IN_PEM, findings)


def load_certificates(settings: Tls, load: Callable[[TlsKey], object]) -> None:
    """Try what :meth:`ServerTls.choice` does. Raises :class:`ConfigError`."""
    _read_at_start(partial(_load_each, settings, load, NOT_FOR_HTTP3))


def _load_each(
    settings: Tls, load: Callable[[TlsKey], object], problem: str, findings: Findings
) -> list[Certificate]:
    """What ``load`` makes of each certificate; ``problem``: what it means that it cannot."""
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
            # Nobody asks the only one for its names.
            names = names_of(pair.public_key) if len(pairs) > 1 else frozenset[str]()
        except Exception as error:  # of OpenSSL, cryptography, aioquic: they have no common base
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
    """Says close_code and does not wait for the other side's: a client that never says it would
    hold up a stop for 30 s (asyncio's time)."""

    def unwrap(self) -> Any:
        with suppress(ssl.SSLWantReadError):
            return super().unwrap()


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
        _ask_for_certificates(context, settings, authorities)
    return context


def _usable_authorities(settings: Tls, findings: Findings) -> Iterator[str]:
    """Those of ``ca_certs`` that OpenSSL can read."""
    for place, path in enumerate(settings.ca_certs):
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(path)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            findings.warning(f"$.tls.ca_certs[{place}]", why_not_loaded(path, error))
        else:
            yield path


def _ask_for_certificates(
    context: ssl.SSLContext, settings: Tls, authorities: Sequence[str]
) -> None:
    """Whoever comes must show a certificate of one of these authorities.

    The roots that stand in the server's own certificate files count too (lura); what else
    stands there does not: it may be an authority that signs for the whole world.
    """
    context.verify_mode = ssl.CERT_REQUIRED
    # To Go whatever is listed is an anchor, whoever signed it.
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    # A session that is resumed shows no certificate again.
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
    """The authorities of a PEM file that signed themselves."""
    reader = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        reader.load_verify_locations(path)
    except OSError:  # said elsewhere
        return []
    told: list[Any] = reader.get_ca_certs()
    encoded = reader.get_ca_certs(binary_form=True)
    return [
        each for each, one in zip(encoded, told, strict=True) if one["subject"] == one["issuer"]
    ]
