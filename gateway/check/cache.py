"""Traps of ``qos/http-cache``. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from ..config.findings import Finding
from ..config.structs import Backend, Endpoint
from ..http.cache import CacheSettings

NAMESPACE = "qos/http-cache"
BROKERS = ("backend/amqp/consumer", "backend/amqp/producer")

HARMLESS = {
    *("accept", "authorization", "cache-control", "content-length", "content-type", "cookie"),
    *("if-match", "if-modified-since", "if-none-match", "if-range", "if-unmodified-since", "range"),
    *("user-agent", "x-forwarded-for", "x-forwarded-host", "x-forwarded-via"),
}
"""Headers that the cache looks at, or that say nothing of who asks."""


def check_cache(backend: Backend, endpoint: Endpoint, path: str) -> Iterator[Finding]:
    """Remarks on the cache of one backend; ``path``: of the backend."""
    settings = backend.extra_config.get(NAMESPACE)
    if isinstance(settings, CacheSettings):
        for text in _remarks(settings, backend, endpoint):
            yield Finding(f'{path}.extra_config["{NAMESPACE}"]', "warning", text)


def _remarks(settings: CacheSettings, backend: Backend, endpoint: Endpoint) -> Iterator[str]:
    if any(name in backend.extra_config for name in BROKERS):
        yield "messages are not kept: it has no effect"
        return
    if backend.method != "GET" and not settings.shared:
        yield f"only answers to GET are kept, this is a {backend.method}: it has no effect"
    if (settings.max_items > 0) != (settings.max_size > 0):
        yield "max_items and max_size have an effect only together"
    headers = backend.input_headers or endpoint.input_headers
    others = sorted(name for name in headers if name.lower() not in HARMLESS)
    if others:
        yield (
            f"clients that send another {', '.join(others)} get the same answer, "
            "unless the backend names it in Vary"
        )
