"""Builds what sends metrics and traces to collectors of OpenTelemetry, for each of them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from ...config.structs import Service
from ...core.component import Assembly
from ...telemetry.metrics import FamilySample
from . import runtime
from .exporters import Collector, OtlpExporter
from .otlp_metrics import MAX_TIMEOUT, MIN_TIMEOUT, OtlpReports
from .otlp_spans import TRACES_TIMEOUT, OtlpSpans, build_batching
from .security import headers_of
from .settings import OtelSettings


def build_otlp(settings: OtelSettings, service: Service, assembly: Assembly) -> None:
    """The libraries are imported only if there is a collector."""
    registry, tracer = assembly.metrics, assembly.tracer
    metrics = () if registry is None else settings.otlp_of_metrics
    buffers = () if tracer is None else tracer.buffers
    traces = [*zip(settings.otlp_of_traces, buffers, strict=True)] if buffers else []
    if not metrics and not traces:
        return
    from .otlp_library import build_resource, open_metrics_sender, open_spans_sender

    def read() -> Iterator[FamilySample]:
        """As in KrakenD, metrics of the process and of Python are for Prometheus only."""
        assert registry is not None
        hidden = runtime.PROCESS, runtime.PYTHON
        return (each for each in registry.samples() if not each.name.startswith(hidden))

    def collector(exporter: OtlpExporter, url: str, timeout: float) -> Collector:
        return Collector(url, timeout, exporter.use_http, headers_of(exporter, service))

    resource = build_resource(settings.target(service), assembly.worker, assembly.workers)
    for number, each in enumerate(metrics):
        period = settings.period_of(each)
        to = collector(each, each.metrics_url, max(MIN_TIMEOUT, min(period, MAX_TIMEOUT)))
        opens = partial(open_metrics_sender, to, resource)
        assembly.resource(("otlp", number), partial(OtlpReports, each, period, read, opens))
    batching = build_batching()
    for number, (each, buffer) in enumerate(traces):
        to = collector(each, each.traces_url, TRACES_TIMEOUT)
        sends = partial(open_spans_sender, to, resource)
        assembly.resource(
            ("otlp traces", number), partial(OtlpSpans, each, buffer, batching, sends)
        )
