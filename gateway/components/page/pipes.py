"""The pipes of endpoints as boxes: what a request passes. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from ...amqp.settings import DEFAULT_EXCHANGE, ConsumerSettings, ProducerSettings
from ...config.findings import on_one_line
from ...config.proxy import proxy_settings
from ...config.structs import Backend, Endpoint
from ...core.component import Catalog
from .state import Box, PipeState


def pipe_of(endpoint: Endpoint, catalog: Catalog) -> PipeState:
    extra = endpoint.extra_config
    is_sequential = proxy_settings(endpoint).sequential
    merge = "sequential" if is_sequential else "merge" if len(endpoint.backend) > 1 else "single"
    return PipeState(
        tuple(Box("guard", row.namespace) for row in catalog.guards if row.namespace in extra),
        tuple(tuple(_boxes(backend, catalog)) for backend in endpoint.backend),
        merge,
        tuple(
            Box("stage", row.namespace)
            for row in catalog.endpoint_stages
            if row.namespace in extra and row.endpoint_stage is not None
        ),
    )


def _boxes(backend: Backend, catalog: Catalog) -> Iterator[Box]:
    """The source, then the stages around it, the innermost first."""
    yield _source(backend, catalog)
    for row in (*catalog.transports, *catalog.backend_stages):
        if row.namespace in backend.extra_config:
            yield Box("stage", row.namespace)
    if proxy_settings(backend).shadow:
        yield Box("stage", "shadow")


def _source(backend: Backend, catalog: Catalog) -> Box:
    for row in catalog.rows_of(backend):
        if row.backend is not None and not row.is_default:
            settings = backend.extra_config[row.namespace]
            if isinstance(settings, ConsumerSettings):
                return Box("queue", settings.name)
            if isinstance(settings, ProducerSettings):
                return Box("exchange", settings.exchange or DEFAULT_EXCHANGE)
            return Box("other", row.namespace)
    host = on_one_line(backend.host[0]) if backend.host else ""
    return Box("http", host + backend.url_pattern.partition("?")[0])  # a query may have a key
