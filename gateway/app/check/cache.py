"""Traps of ``qos/http-cache``. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from ...components.http_cache import CacheSettings
from ...config.findings import Finding
from ...config.structs import Backend, Endpoint

NAMESPACE = "qos/http-cache"
BROKERS = ("backend/amqp/consumer", "backend/amqp/producer")


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
    if "*" in endpoint.input_headers and not backend.input_headers:
        yield 'every header of a client tells requests apart ("*"): little is answered from memory'
