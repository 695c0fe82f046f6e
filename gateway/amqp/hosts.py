"""Findings of ``check`` about the URL of a broker. It reads no files, but checks that the
certificate files in the URL can be read.
"""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

from ..config.files import unreadable
from ..config.findings import Finding
from ..errors import GatewayError
from .connection.urls import parse_broker_url

CERTIFICATES = ("cacertfile", "certfile", "keyfile")


def host_findings(url: str, path: str) -> Iterator[Finding]:
    try:
        parse_broker_url(url)
    except GatewayError as error:
        yield Finding(path, "error", str(error))
        return
    parts = urlsplit(url)
    if not parts.hostname:
        yield Finding(path, "warning", "the URL has no host: localhost is used, as in KrakenD")
    if parts.scheme == "amqps":
        for name in CERTIFICATES:
            for file in parse_qs(parts.query).get(name, ()):
                if problem := unreadable(file):
                    yield Finding(path, "error", f"{name}: {problem}")
