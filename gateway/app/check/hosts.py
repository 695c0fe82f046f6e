"""Hosts that cannot be asked, of brokers and of HTTP backends. Pure, but that it looks whether the
certificate files exist that the URL of a broker names.
"""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

from ...amqp.connection.urls import parse_broker_url
from ...config.files import unreadable
from ...config.findings import Finding
from ...config.structs import Backend
from ...errors import GatewayError
from ...http.targets import PORTS, parse_host

BROKERS = frozenset({"backend/amqp/consumer", "backend/amqp/producer"})
CERTIFICATES = ("cacertfile", "certfile", "keyfile")


def check_hosts(backend: Backend, path: str) -> Iterator[Finding]:
    """Remarks on the hosts of one backend; ``path``: of the backend."""
    is_broker = not BROKERS.isdisjoint(backend.extra_config)
    if not is_broker and backend.sd != "static":
        return
    places = [(host, f"{path}.host[{place}]") for place, host in enumerate(backend.host)]
    found = [
        finding for each in places for finding in (check_broker if is_broker else _http)(*each)
    ]
    yield from found
    if places and not is_broker and len(found) == len(places):
        yield Finding(f"{path}.host", "warning", "no host is left: every request will fail")


def check_broker(url: str, path: str) -> Iterator[Finding]:
    """Remarks on the URL of a broker; ``path``: of the URL."""
    try:
        parse_broker_url(url)
    except GatewayError as error:
        yield Finding(path, "error", str(error))
        return
    parts = urlsplit(url)
    if not parts.hostname:
        yield Finding(path, "warning", "the URL names no host: localhost is used, as in KrakenD")
    if parts.scheme == "amqps":
        for name in CERTIFICATES:
            for file in parse_qs(parts.query).get(name, ()):
                if problem := unreadable(file):
                    yield Finding(path, "error", f"{name}: {problem}")


def _http(host: str, path: str) -> Iterator[Finding]:
    scheme, has_scheme, _ = host.partition("://")
    if has_scheme and scheme not in PORTS:
        return  # the loader says so
    try:
        parse_host(host)
    except ValueError:
        text = "not the URL of a host and a port from 0 to 65535: left out"
        yield Finding(path, "warning", text)
