"""What several spans say in the same words: static attributes, headers, methods."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ...config.structs import Service
from ...core.asgi import Headers
from ...telemetry.spans import Attributes as SpanAttributes
from ..log.heads import Secrets
from .measures import METHODS
from .settings import Attributes

_CREDENTIALS = re.compile(rb"auth|cookie|token|secret|password|api-?key|session|signature")
"""In the names of headers with credentials: no span has them, whatever the settings say."""
_WITH_URLS = frozenset({b"referer", b"location", b"content-location"})
"""Headers whose query strings may have credentials: spans have them without."""


def static_attributes(*lists: Attributes) -> SpanAttributes:
    """One without a key or a value is dropped, as in KrakenD; of equal keys the last one counts."""
    return {each.key: each.value for each in sum(lists, ()) if each.key and each.value}


def method_attributes(method: str) -> SpanAttributes:
    """A method that is not known is ``_OTHER``, with the method itself beside it."""
    if method in METHODS:
        return {"http.request.method": method}
    return {"http.request.method": "_OTHER", "http.request.method_original": method}


class ReportedHeaders:
    """The headers that the spans of a layer report.

    ``skipped``: names that are left out. Headers with credentials always are, also those of API
    keys.
    """

    def __init__(self, skipped: Iterable[str], service: Service) -> None:
        hidden = {name.lower() for name in skipped} | Secrets(service).headers
        self._hidden = {name.encode() for name in hidden}

    def request(self, headers: Headers) -> SpanAttributes:
        return self._named("http.request.header.", headers)

    def response(self, headers: Headers) -> SpanAttributes:
        return self._named("http.response.header.", headers)

    def _named(self, prefix: str, headers: Sequence[tuple[bytes, bytes]]) -> SpanAttributes:
        found: dict[bytes, list[str]] = {}
        for name, value in headers:
            name = name.lower()
            if name not in self._hidden and not _CREDENTIALS.search(name):
                if name in _WITH_URLS:
                    value = value.partition(b"?")[0]
                found.setdefault(name, []).append(value.decode(errors="replace"))
        return {prefix + name.decode(errors="replace"): values for name, values in found.items()}


def build_reported(
    reports: bool, skipped: Iterable[str], service: Service
) -> ReportedHeaders | None:
    """None: no headers are reported."""
    return ReportedHeaders(skipped, service) if reports else None
