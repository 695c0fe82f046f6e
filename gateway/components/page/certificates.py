"""The certificates of a configuration, and when they expire. Reads files: call it in a thread."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct

from ...amqp.connection.urls import BrokerUrl
from ...config.structs import Service
from ...tls.expiry import CertificateFile, read_certificate
from ...tls.server import pairs_of
from .rows import days_until
from .state import CertificateState


class CertificatePlace(Struct, frozen=True):
    """``use``, ``path``: as of :class:`.state.CertificateState`."""

    use: str
    path: str
    file: str


def certificate_places(service: Service, brokers: Iterable[BrokerUrl]) -> list[CertificatePlace]:
    """Each file once for each use."""
    return [*dict.fromkeys(_places(service, brokers))]


def _places(service: Service, brokers: Iterable[BrokerUrl]) -> Iterator[CertificatePlace]:
    if service.tls is not None and not service.tls.disabled:
        for path, pair in pairs_of(service.tls):
            yield CertificatePlace("server", path, pair.public_key)
    if service.client_tls is not None:
        for number, each in enumerate(service.client_tls.client_certs):
            path = f"$.client_tls.client_certs[{number}]"
            yield CertificatePlace("client", path, each.certificate)
    for url in brokers:
        if file := url.aiormq.query.get("certfile"):
            yield CertificatePlace("broker", url.name, file)


def read_certificates(
    places: Sequence[CertificatePlace],
) -> list[tuple[CertificatePlace, CertificateFile]]:
    return [(place, read_certificate(place.file)) for place in places]


def certificate_rows(
    read: Iterable[tuple[CertificatePlace, CertificateFile]], time: float
) -> list[CertificateState]:
    """``time``: Unix time."""
    return [
        CertificateState(
            f"{place.use} {place.path}",
            place.use,
            place.path,
            place.file,
            found.names,
            found.expires,
            None if found.expires is None else days_until(found.expires, time),
            found.problem,
        )
        for place, found in read
    ]
