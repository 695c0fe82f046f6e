"""Metrics as the data of OpenTelemetry's SDK, and its exporters, which encode and send them.

Nothing else of the SDK is used: the gateway counts for itself. (:mod:`gateway.telemetry.metrics`)
"""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextvars import ContextVar
from time import time_ns
from typing import cast

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from ...telemetry.logs import get_logger
from ...telemetry.metrics import FamilySample, Sample

SCOPE = "hutch-gateway"
"""The scope of families that name none."""
LOGGERS = (
    "opentelemetry.exporter.otlp.proto.http.metric_exporter",
    "opentelemetry.exporter.otlp.proto.grpc.exporter",
)
"""The exporters say only there why a report failed."""

CUMULATIVE = AggregationTemporality.CUMULATIVE
ABSENT = cast(float, None)
"""In place of a minimum and a maximum, which the gateway does not know."""

_RETRY = re.compile(r",? retrying in [\d.]+s\.?")

_logged: ContextVar[list[str]] = ContextVar("logged")
"""What the library has logged during the report of this thread."""


def build_resource(target: Mapping[str, str], worker: int, workers: int) -> Resource:
    """What the metrics are of. ``target``: names and values. The environment can add more
    (OTEL_RESOURCE_ATTRIBUTES), also ``service.instance.id``, which is random otherwise."""
    attributes = dict(target)
    if environment := target.get("deployment.environment"):
        attributes["deployment.environment.name"] = environment  # the name since 1.27
    resource = Resource.create(attributes)
    if workers > 1:
        name = "service.instance.id"
        instance = str(resource.attributes[name])
        resource = resource.merge(Resource({name: f"{instance}-{worker}"}))
    return resource


class OtlpSender:
    """An exporter of OpenTelemetry, and what its data begin with.

    Headers, certificates and compression are those of OpenTelemetry's environment variables.
    ``timeout``: seconds, with the library's own attempts to repeat.
    """

    def __init__(self, url: str, resource: Resource, timeout: float, *, use_http: bool) -> None:
        self._resource = resource
        self._start = time_ns()
        for name in LOGGERS:
            filters = get_logger(name).filters
            if _keep not in filters:
                filters.insert(0, _keep)  # before a filter of the library, which drops lines
        self._exporter = build_exporter(url, timeout, use_http=use_http)

    def send(self, families: Sequence[FamilySample]) -> str:
        """Blocks. Returns why the collector has not got them; "" if it has."""
        reasons: list[str] = []
        _logged.set(reasons)
        data = metrics_data(families, self._resource, self._start, time_ns())
        if self._exporter.export(data) is MetricExportResult.SUCCESS:
            return ""
        return reasons[0] if reasons else "no reason is known"

    def close(self) -> None:
        """Also ends a report that waits for its next attempt."""
        self._exporter.shutdown()


def build_exporter(url: str, timeout: float, *, use_http: bool) -> MetricExporter:
    """The exporter of that protocol. Each has a library of its own."""
    if use_http:
        from opentelemetry.exporter.otlp.proto.http import metric_exporter as http

        return http.OTLPMetricExporter(url, timeout=timeout)
    from opentelemetry.exporter.otlp.proto.grpc import metric_exporter as grpc

    is_plain = url.startswith("http://")
    return grpc.OTLPMetricExporter(url, insecure=is_plain, timeout=timeout)


def _keep(record: logging.LogRecord) -> bool:
    """A filter: what is logged during a report is its reason, and does not pass."""
    logged = _logged.get(None)
    if logged is None:
        return True
    error = next((each for each in record.args or () if isinstance(each, BaseException)), None)
    text = record.getMessage() if error is None else _root_of(error)
    logged.append(_RETRY.sub("", text))
    return False


def _root_of(error: BaseException) -> str:
    """The first of the errors that led to this one: the others repeat it, and are long."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return str(error) or type(error).__name__


def metrics_data(
    families: Iterable[FamilySample], resource: Resource, start: int, now: int
) -> MetricsData:
    """``start``, ``now``: nanoseconds since 1970: since when is counted, and when it was read."""
    scopes: dict[str, list[Metric]] = defaultdict(list)
    for family in families:
        scopes[family.scope or SCOPE].append(_metric(family, start, now))
    metrics = [
        ScopeMetrics(InstrumentationScope(name), scope, "") for name, scope in scopes.items()
    ]
    return MetricsData([ResourceMetrics(resource, metrics, "")])


def _metric(family: FamilySample, start: int, now: int) -> Metric:
    data: Sum | Gauge | Histogram
    if family.kind == "histogram":
        points = [_histogram(each, family.bounds, start, now) for each in family.samples]
        data = Histogram(points, CUMULATIVE)
    elif family.kind == "counter":
        data = Sum([_number(each, start, now) for each in family.samples], CUMULATIVE, True)
    else:
        data = Gauge([_number(each, start, now) for each in family.samples])
    return Metric(family.name, family.help, family.unit, data)


def _number(sample: Sample, start: int, now: int) -> NumberDataPoint:
    return NumberDataPoint(dict(sample.labels), start, now, sample.value)


def _histogram(sample: Sample, bounds: Sequence[float], start: int, now: int) -> HistogramDataPoint:
    return HistogramDataPoint(
        dict(sample.labels),
        start,
        now,
        count=sum(sample.counts),
        sum=sample.value,
        bucket_counts=sample.counts,
        explicit_bounds=bounds,
        min=ABSENT,
        max=ABSENT,
    )
