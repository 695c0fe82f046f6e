"""``telemetry/opentelemetry``: metrics for Prometheus, under KrakenD's names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise

from ...config.findings import Finding
from ...config.structs import Backend, Endpoint, Service
from ...core.asgi import ASGIApp, AsgiResponse, Receive, Scope, Send, send_answer, text
from ...core.component import Assembly, Component, Listener, Place
from ...core.observed import Observer
from ...core.proxy import Branch, Pipe
from ...core.version import VERSION
from ...http.observed import RequestObserver
from ...telemetry.metrics import Labels, Registry
from .. import proxy
from .client_measures import build_client_meter
from .measures import PipeMeters, build_response_meter, measured
from .prometheus import CONTENT_TYPE, exposition
from .settings import NAMESPACE, OtelSettings

PATH = "/metrics"
MAX_PORT = 65535


def build_observer(settings: OtelSettings, service: Service, assembly: Assembly) -> Observer | None:
    if assembly.metrics is None or settings.client_layer.disable_metrics:
        return None
    return build_response_meter(settings, service, assembly.metrics)


def build_pipe_observer(
    settings: OtelSettings, endpoint: Endpoint, assembly: Assembly
) -> Callable[[Pipe], Pipe]:
    if assembly.metrics is None or _is_alone(endpoint, assembly):
        return measured(None)
    return measured(PipeMeters(settings, assembly.metrics).of_endpoint(endpoint))


def build_branch_observer(
    settings: OtelSettings, backend: Backend, endpoint: Endpoint, assembly: Assembly
) -> Callable[[Branch], Branch]:
    if assembly.metrics is None:
        return measured(None)
    is_alone = _is_alone(endpoint, assembly)
    meters = PipeMeters(settings, assembly.metrics)
    return measured(meters.of_backend(backend, endpoint, is_alone=is_alone))


def build_request_observer(
    settings: OtelSettings, backend: Backend, endpoint: Endpoint, assembly: Assembly
) -> RequestObserver | None:
    if assembly.metrics is None:
        return None
    return build_client_meter(settings, backend, endpoint, assembly.metrics)


def _is_alone(endpoint: Endpoint, assembly: Assembly) -> bool:
    """Whether the endpoint has one backend, and nothing around it: then both have always the same
    duration and the same outcome."""
    rows = assembly.catalog.rows_of(endpoint)
    return (
        len(endpoint.backend) == 1
        and endpoint.concurrent_calls < 2
        and not any(row.endpoint_stage or row is proxy.COMPONENT for row in rows)
    )


class Exporter:
    """What an exporter reads: all metrics of the gateway."""

    def __init__(self, settings: OtelSettings, service: Service, registry: Registry) -> None:
        self._registry = registry
        target = {
            "deployment.environment": settings.deploy_env,
            "service.name": settings.service_name or service.name or "hutch-gateway",
            "service.version": settings.service_version or VERSION,
        }
        self._target: Labels = tuple((name, value) for name, value in target.items() if value)

    def text(self) -> bytes:
        """In the format of Prometheus."""
        return exposition(self._registry.samples(), self._target)

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves ``/metrics``."""
        if scope["type"] != "http":
            return
        if scope["path"] != PATH:
            await send_answer(send, text(404, "404 page not found", charset=False))
            return
        await send_answer(send, AsgiResponse(200, [(b"content-type", CONTENT_TYPE)], self.text()))


def build_management(
    settings: OtelSettings, service: Service, assembly: Assembly
) -> Mapping[str, ASGIApp]:
    if assembly.metrics is None:
        return {}
    return {PATH: Exporter(settings, service, assembly.metrics).app}


def build_listeners(
    settings: OtelSettings, service: Service, assembly: Assembly
) -> Iterator[Listener]:
    if assembly.metrics is None or assembly.worker:
        return
    for each in settings.prometheus:
        app = Exporter(settings, service, assembly.metrics).app
        yield Listener(each.listen_ip or each.host, each.port or 9090, app)


def verify(settings: OtelSettings) -> Iterator[tuple[str, str]]:
    for number, each in enumerate(settings.prometheus):
        if not 0 <= each.port <= MAX_PORT:
            text = f"expected a port from 1 to {MAX_PORT}, found {each.port}"
            yield f"exporters.prometheus[{number}].port", text
    yield from _unsorted("histograms.time_buckets", settings.buckets.time_buckets)
    yield from _unsorted("histograms.size_buckets", settings.buckets.size_buckets)


def _unsorted(key: str, bounds: tuple[float, ...]) -> Iterator[tuple[str, str]]:
    if not bounds or any(after <= before for before, after in pairwise(bounds)):
        yield key, "expected numbers, each larger than the one before"


def findings(settings: OtelSettings, place: Place) -> Iterator[Finding]:
    if place.endpoint is not None:
        return
    if settings.otlp:
        yield place.warning("is not supported yet: nothing is sent to it", "exporters.otlp")


COMPONENT = Component(
    NAMESPACE,
    OtelSettings,
    service=True,
    read_on=frozenset({"endpoint", "backend"}),
    verify=verify,
    findings=findings,
    uses_metrics=lambda settings: settings.uses_metrics,
    observer=build_observer,
    pipe_observer=build_pipe_observer,
    branch_observer=build_branch_observer,
    request_observer=build_request_observer,
    management=build_management,
    listeners=build_listeners,
)
