"""``telemetry/opentelemetry``: metrics for Prometheus and collectors, under KrakenD's names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_address

from anyio.lowlevel import checkpoint

from ...config.findings import Finding
from ...config.structs import Backend, Endpoint, Service, changed
from ...core.asgi import ASGIApp, AsgiResponse, Receive, Scope, Send, send_answer, text
from ...core.component import MAX_PORT, Assembly, Component, ListenAddress, Listener, Place
from ...core.observed import Observer
from ...core.proxy import Branch, Pipe
from ...http.observed import RequestObserver
from ...telemetry.metrics import Labels, Registry
from ...telemetry.propagation import Propagation
from ...telemetry.tracing import Tracer
from .. import proxy
from . import runtime
from .advice import ADVICE
from .client_measures import build_client_meter
from .client_spans import build_request_spans
from .exporters import Exporters
from .measures import PipeMeters, build_response_meter
from .meter import measured
from .otlp import build_otlp
from .otlp_checks import otlp_traps, verify_otlp
from .otlp_spans import build_buffer
from .pipe_spans import traced_branch, traced_pipe
from .prometheus import CONTENT_TYPE, exposition
from .readings import collect_readings
from .server_spans import build_traces
from .settings import (
    NAMESPACE,
    RESERVED,
    ExportersOverride,
    Histograms,
    OtelSettings,
    are_bounds,
)
from .shared_metrics import ReadMetrics, open_metrics

PATH = "/metrics"
PIECES_AT_ONCE = 1_000
"""Pieces of text that are made in one turn of the event loop, in about 1 ms."""


def registry_of(settings: OtelSettings, assembly: Assembly) -> Registry | None:
    """None: these settings read no metrics, even if others do."""
    return assembly.metrics if settings.uses_metrics else None


def build_tracer(settings: OtelSettings, propagation: Propagation) -> Tracer:
    """With a buffer of spans for each collector that gets traces."""
    return Tracer(
        propagation,
        [build_buffer() for _ in settings.otlp_of_traces],
        settings.trace_sample_rate,
        ignores_clients=settings.client_layer.disable_propagation,
        skips=settings.skips,
    )


def build_observer(settings: OtelSettings, service: Service, assembly: Assembly) -> Observer | None:
    """Called once for a gateway, so it also adds the gateway's own metrics."""
    registry = registry_of(settings, assembly)
    if registry is None:
        return None
    collect_readings(assembly, registry)
    if settings.client_layer.disable_metrics:
        return None
    return build_response_meter(settings, service, registry)


def build_pipe_observer(
    settings: OtelSettings, endpoint: Endpoint, assembly: Assembly
) -> Callable[[Pipe], Pipe]:
    if is_alone(endpoint, assembly):  # measured and traced with its backend
        return measured(None)
    wrap = traced_pipe(settings, endpoint, assembly)
    registry = registry_of(settings, assembly)
    if registry is None:
        return wrap
    meter = _share_meters(settings, registry, assembly).of_endpoint(endpoint)
    return lambda pipe: wrap(measured(meter)(pipe))


def build_branch_observer(
    settings: OtelSettings, backend: Backend, endpoint: Endpoint, assembly: Assembly
) -> Callable[[Branch], Branch]:
    alone = is_alone(endpoint, assembly)
    wrap = traced_branch(settings, backend, endpoint, assembly, is_alone=alone)
    registry = registry_of(settings, assembly)
    if registry is None:
        return wrap
    meters = _share_meters(settings, registry, assembly)
    meter = meters.of_backend(backend, endpoint, is_alone=alone)
    return lambda branch: wrap(measured(meter)(branch))


def _share_meters(settings: OtelSettings, registry: Registry, assembly: Assembly) -> PipeMeters:
    """One for all endpoints and backends of a gateway."""
    return assembly.shared(PipeMeters, lambda: PipeMeters(settings, registry, assembly))


def build_request_observer(
    settings: OtelSettings, backend: Backend, endpoint: Endpoint, assembly: Assembly
) -> RequestObserver | None:
    registry = registry_of(settings, assembly)
    if registry is None:
        return None
    return build_client_meter(settings, backend, endpoint, registry)


def is_alone(endpoint: Endpoint, assembly: Assembly) -> bool:
    """Whether the endpoint has one backend, and nothing around it: then both have always the same
    duration and the same outcome."""
    rows = assembly.catalog.rows_of(endpoint)
    return (
        len(endpoint.backend) == 1
        and endpoint.concurrent_calls < 2
        and not any(row.endpoint_stage or row is proxy.COMPONENT for row in rows)
    )


class Exporter:
    """What an exporter reads: all metrics of the gateway.

    ``with_process``, ``with_python``: whether those of the process and of Python are included.
    """

    def __init__(
        self,
        settings: OtelSettings,
        service: Service,
        read: ReadMetrics,
        *,
        with_process: bool,
        with_python: bool,
    ) -> None:
        self._read = read
        hidden = {runtime.PROCESS: not with_process, runtime.PYTHON: not with_python}
        self._hidden = tuple(prefix for prefix, is_hidden in hidden.items() if is_hidden)
        self._target: Labels = tuple(settings.target(service).items())

    async def text(self) -> bytes:
        """In the format of Prometheus. The text is made in turns of the event loop, so that other
        requests are handled meanwhile: of 4,000 series it takes 100 ms. Reading the numbers is one
        turn."""
        families = [each for each in self._read() if not each.name.startswith(self._hidden)]
        pieces = []
        for piece in exposition(families, self._target):
            pieces.append(piece)
            if not len(pieces) % PIECES_AT_ONCE:
                await checkpoint()
        return "".join(pieces).encode()

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves ``/metrics``."""
        if scope["path"] != PATH:
            await send_answer(send, text(404, "404 page not found", charset=False))
            return
        headers = [(b"content-type", CONTENT_TYPE)]
        await send_answer(send, AsgiResponse(200, headers, await self.text()))


def build_management(
    settings: OtelSettings, service: Service, assembly: Assembly
) -> Mapping[str, ASGIApp]:
    """It is called once in each worker: so what all exporters read is made here.

    Without a port that shows the metrics, a worker stores none for the others: collectors get those
    of each worker from itself.
    """
    build_otlp(settings, service, assembly)
    registry = registry_of(settings, assembly)
    if registry is None:
        return {}
    with_process = any(each.process_metrics for each in settings.prometheus)
    with_python = any(each.go_metrics for each in settings.prometheus)
    if with_process:
        runtime.add_process_metrics(registry)
    if with_python:
        runtime.add_python_metrics(registry)
    if not settings.prometheus and service.gateway.management_port is None:
        return {}
    read = open_metrics(registry, assembly)
    exporter = Exporter(settings, service, read, with_process=with_process, with_python=with_python)
    return {PATH: exporter.app}


def build_listeners(
    settings: OtelSettings, service: Service, assembly: Assembly
) -> Iterator[Listener]:
    """The first worker has the ports, and reports for all."""
    registry = registry_of(settings, assembly)
    if registry is None or assembly.worker:
        return
    read = open_metrics(registry, assembly)
    for each in settings.prometheus:
        exporter = Exporter(
            settings,
            service,
            read,
            with_process=each.process_metrics,
            with_python=each.go_metrics,
        )
        yield Listener(*each.listens_on, exporter.app)


def addresses(settings: OtelSettings, service: Service) -> Iterator[ListenAddress]:
    for number, each in settings.numbered_prometheus:
        yield ListenAddress(f"exporters.prometheus[{number}].port", *each.listens_on)


def verify(settings: OtelSettings) -> Iterator[tuple[str, str]]:
    for number, each in settings.numbered_prometheus:
        key = f"exporters.prometheus[{number}]"
        if not 0 <= each.port <= MAX_PORT:
            yield f"{key}.port", f"expected a port from 1 to {MAX_PORT}, found {each.port}"
        host, _ = each.listens_on
        if not _is_listen_host(host):
            text = f'expected an IP address such as 127.0.0.1, found "{host}"'
            yield f"{key}.{'listen_ip' if each.listen_ip else 'host'}", text
    yield from verify_otlp(settings)


def _is_listen_host(host: str) -> bool:
    """Whether it is an IP address, ``localhost``, or empty for every address."""
    try:
        return host in ("", "localhost") or bool(ip_address(host))
    except ValueError:
        return False


def _bounds_traps(settings: OtelSettings) -> Iterator[tuple[str, str]]:
    """Bounds that no histogram can have: key and text."""
    found = settings.histograms or Histograms()
    for name in found.__struct_fields__:
        if not are_bounds(getattr(found, name)):
            text = "expected numbers, each larger than the one before: the default is used"
            yield f"histograms.{name}", text


def _rate_traps(settings: OtelSettings) -> Iterator[tuple[str, str]]:
    """Rates that are not possible: key and text."""
    override = settings.exporters_override or ExportersOverride()
    rates = {
        "trace_sample_rate": settings.trace_sample_rate,
        "exporters_override.trace_sample_rate": override.trace_sample_rate,
    }
    for key, rate in rates.items():
        if rate is not None and not 0 <= rate <= 1:
            yield key, f"expected 0 to 1, found {rate:g}: it counts as {min(max(rate, 0), 1):g}"


def _override_traps(override: ExportersOverride) -> Iterator[tuple[str, str]]:
    """Keys of an endpoint that have no effect: key and text."""
    for name in sorted(changed(override) - {"trace_sample_rate"}):
        yield (
            f"exporters_override.{name}",
            "no effect: the exporters are the same for all endpoints",
        )


def _whereabouts(settings: OtelSettings, service: Service) -> Iterator[tuple[str, str]]:
    """Where the metrics are, and which exporter is off: key and text."""
    exporters = settings.exporters or Exporters()
    for number, each in enumerate(exporters.prometheus or ()):
        key = f"exporters.prometheus[{number}]"
        if each.disable_metrics:
            yield key, "off: disable_metrics"
            continue
        host, port = each.listens_on
        yield key, f"{PATH} is on port {port} of {host or 'every address'}"
    management_port = service.gateway.management_port
    if management_port is not None and settings.uses_metrics:
        yield "", f"{PATH} is on management_port, too: {management_port}"
    elif not settings.uses_metrics:
        yield "", "no exporter reads the metrics, so nothing is counted"


def findings(settings: OtelSettings, place: Place) -> Iterator[Finding]:
    for key in settings.reserved_labels:
        yield place.warning(f"no label: {RESERVED} is that of the bounds of histograms", key)
    yield from place.warnings(_rate_traps(settings))
    if settings.exporters_override is not None:
        if place.endpoint is None or place.backend is not None:
            yield place.warning("no effect here, only in an endpoint", "exporters_override")
        yield from place.warnings(_override_traps(settings.exporters_override))
    if place.endpoint is not None:
        return
    if settings.otlp_of_traces and not settings.trace_sample_rate:
        text = (
            "0: only requests whose client is traced have spans; KrakenD would trace all requests"
        )
        yield place.hint(text, "trace_sample_rate")
    yield from place.warnings((*otlp_traps(settings), *_bounds_traps(settings)))
    yield from (place.hint(text, key) for key, text in _whereabouts(settings, place.service))
    if any(each.go_metrics for each in settings.prometheus):
        text = "go_metrics: there are metrics of Python in place of those of Go: python_info, "
        yield place.hint(f"{text}python_gc_...", "exporters.prometheus")


COMPONENT = Component(
    NAMESPACE,
    OtelSettings,
    service=True,
    read_on=frozenset({"endpoint", "backend"}),
    verify=verify,
    findings=findings,
    uses_metrics=lambda settings, _: settings.uses_metrics,
    tracer=build_tracer,
    traces=build_traces,
    observer=build_observer,
    pipe_observer=build_pipe_observer,
    branch_observer=build_branch_observer,
    request_observer=build_request_observer,
    request_spans=build_request_spans,
    management=build_management,
    listeners=build_listeners,
    addresses=addresses,
    advice=ADVICE,
)
