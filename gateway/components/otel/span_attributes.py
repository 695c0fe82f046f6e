"""What several spans say in the same words: static attributes, headers, methods."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ...config.structs import Service
from ...core.asgi import Headers
from ...telemetry.spans import Attributes as SpanAttributes
from ..log.heads import Secrets
from .measures import METHODS
from .settings import Attributes

HIDDEN_HEADERS = frozenset(
    {"authorization", "cookie", "proxy-authorization", "set-cookie", "x-api-key"}
)
"""Headers with credentials: no span has them, whatever the settings say."""


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
        hidden = {name.lower() for name in skipped} | HIDDEN_HEADERS | Secrets(service).headers
        self._hidden = {name.encode() for name in hidden}

    def request(self, headers: Headers) -> SpanAttributes:
        return self._named("http.request.header.", headers)

    def response(self, headers: Headers) -> SpanAttributes:
        return self._named("http.response.header.", headers)

    def _named(self, prefix: str, headers: Sequence[tuple[bytes, bytes]]) -> SpanAttributes:
        found: dict[bytes, list[str]] = {}
        for name, value in headers:
            name = name.lower()
            if name not in self._hidden:
                found.setdefault(name, []).append(value.decode(errors="replace"))
        return {prefix + name.decode(errors="replace"): values for name, values in found.items()}


def build_reported(
    reports: bool, skipped: Iterable[str], service: Service
) -> ReportedHeaders | None:
    """None: no headers are reported."""
    return ReportedHeaders(skipped, service) if reports else None
