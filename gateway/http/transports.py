"""The transport of each HTTP backend, and the client that all of them share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from ..config.structs import Backend, Endpoint
from ..core.component import Assembly
from ..tls.policy import client_tls
from .client import HttpClient, Sender
from .dial import dial_timed
from .observed import ObservedConnection, ObservingClient, RequestObserver
from .pool import PoolSettings
from .settings import HttpClientSettings
from .traced import RequestSpans, TracedRedirecting
from .transport import Redirecting, Transport

CLIENT = "backend/http/client"
MAX_IDLE_PER_HOST = 250


def build_transport(
    backend: Backend, endpoint: Endpoint, assembly: Assembly, *, unpacks_all: bool, streams: bool
) -> Transport:
    """The gateway's client, wrapped in the stages of the backend's ``extra_config``."""
    service = assembly.service
    options = backend.extra_config.get(CLIENT) or HttpClientSettings()
    transport = _build_innermost(
        backend,
        endpoint,
        assembly,
        accepts_gzip=not service.disable_compression and backend.method.upper() != "HEAD",
        unpacks_all=unpacks_all,
        resends_body=options.send_body_on_redirect,
        max_bytes=service.gateway.max_answer_bytes,
        closes=service.disable_keep_alives,
        streams=streams,
        helpers=assembly.helpers,
    )
    for row in assembly.catalog.transports:
        settings = backend.extra_config.get(row.namespace)
        if settings is not None and row.transport is not None:
            transport = row.transport(settings, backend, endpoint, assembly)(transport)
    return transport


def _build_innermost(
    backend: Backend, endpoint: Endpoint, assembly: Assembly, **options: Any
) -> Transport:
    client, tracer = share_client(assembly), assembly.tracer
    observers: list[RequestObserver] = [
        observer
        for build, settings in assembly.at_root(lambda row: row.request_observer)
        if (observer := build(settings, backend, endpoint, assembly)) is not None
    ]
    sender = _observing(client, observers)
    if tracer is None:
        return Redirecting(sender, **options)
    spans: RequestSpans | None = None
    if tracer.records:
        for build, settings in assembly.at_root(lambda row: row.request_spans):
            spans = build(settings, backend, endpoint, assembly)
    observing = sender if spans is None else _observing(client, [*observers, spans])
    return TracedRedirecting(sender, tracer=tracer, spans=spans, observing=observing, **options)


def _observing(client: HttpClient, observers: Sequence[RequestObserver]) -> Sender:
    return ObservingClient(client, observers) if observers else client


def share_client(assembly: Assembly) -> HttpClient:
    """The client of the gateway, with the settings at the root of the configuration."""
    service = assembly.service
    settings = PoolSettings(
        dial_time=service.dialer_timeout,
        header_time=service.response_header_timeout,
        keepalive_interval=service.dialer_keep_alive,
        keeps_connections=not service.disable_keep_alives,
        idle_time=service.idle_connection_timeout,
        max_idle=service.max_idle_connections_per_host or MAX_IDLE_PER_HOST,
        max_body_bytes=service.gateway.max_answer_bytes,
        tls=client_tls(service),
    )
    if _observes_requests(assembly):
        settings = replace(settings, connection=ObservedConnection, dial=dial_timed)
    return assembly.resource(
        "http", lambda: HttpClient(assembly.side, settings, service.max_idle_connections)
    )


def _observes_requests(assembly: Assembly) -> bool:
    has_spans = assembly.tracer is not None and assembly.tracer.records
    return (
        assembly.metrics is not None and any(assembly.at_root(lambda row: row.request_observer))
    ) or (has_spans and any(assembly.at_root(lambda row: row.request_spans)))
