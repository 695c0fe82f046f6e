"""The settings of ``telemetry/opentelemetry``, at every level, and which of them hold where."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

from msgspec import Struct

from ...config.structs import Backend, Endpoint, Service
from ...core.families import MetricsSettings
from ...core.version import VERSION
from .exporters import REPORTING_PERIOD, Exporters, OtlpExporter, PrometheusExporter

NAMESPACE = "telemetry/opentelemetry"

TIME_BUCKETS = (
    *(0.0005, 0.001, 0.002, 0.005),
    *(0.01, 0.02, 0.05, 0.075, 0.1, 0.125, 0.15, 0.175, 0.2, 0.25),
    *(0.3, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0, 3.5, 5.0, 10.0),
)
"""Seconds. KrakenD's bounds begin at 0.01: most responses of this gateway are faster."""
SIZE_BUCKETS = (
    *(128.0, 256.0, 512.0, 1024.0, 4096.0, 8192.0, 16384.0, 32768.0, 65536.0),
    *(262144.0, 524288.0, 1048576.0, 4194304.0, 16777216.0, 67108864.0),
)
"""Bytes. KrakenD's bounds."""

SKIPPED = ("/__health", "/__ready", "/__debug/", "/__echo/", "/__stats/")

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


def route_of(path: str) -> str:
    """A path as KrakenD reports it: ``/users/{id}`` is ``/users/:id``."""
    return _PLACEHOLDER.sub(r":\1", path)


def backend_route_of(url_pattern: str) -> str:
    """A path of a backend as KrakenD reports it: names are in lower case. Without the query string:
    it may be a secret, and KrakenD would show it."""
    path = url_pattern.partition("?")[0]
    route = _PLACEHOLDER.sub(lambda found: f":{found[1].lower()}", path)
    return route if route.startswith("/") else f"/{route}"


class Attribute(Struct, frozen=True, kw_only=True):
    """A label with the same value on every series."""

    key: str = ""
    """The name of the label."""
    value: str = ""
    """Its value."""


Attributes = tuple[Attribute, ...]

RESERVED = "le"
"""The label of the bounds of a histogram: Prometheus refuses a scrape with two of them. No other
name is written as this one."""


def are_bounds(numbers: tuple[float, ...]) -> bool:
    """Whether a histogram can have these bounds."""
    return bool(numbers) and all(before < after for before, after in pairwise(numbers))


class Histograms(Struct, frozen=True, kw_only=True):
    time_buckets: tuple[float, ...] = TIME_BUCKETS
    """Upper bounds of durations, in seconds. KrakenD ignores it."""
    size_buckets: tuple[float, ...] = SIZE_BUCKETS
    """Upper bounds of sizes, in bytes. KrakenD ignores it."""


class GlobalLayer(Struct, frozen=True, kw_only=True):
    disable_metrics: bool = False
    """Whether requests of clients are not measured."""
    disable_traces: bool = False
    """Whether requests of clients have no span."""
    disable_propagation: bool = False
    """Whether the trace context of clients is ignored."""
    report_headers: bool = False
    """Whether spans have the headers of requests and responses."""
    skip_headers: tuple[str, ...] = ()
    """Headers that are not reported."""
    metrics_static_attributes: Attributes = ()
    """Labels on every series of this layer."""
    traces_static_attributes: Attributes = ()
    """Attributes on every span of this layer."""
    semantic_convention: str = ""
    """``1.27``: names of metrics by that version of the semantic conventions."""


class ProxyLayer(Struct, frozen=True, kw_only=True):
    disable_metrics: bool = False
    """Whether endpoints are not measured."""
    disable_traces: bool = False
    """Whether endpoints have no span."""
    report_headers: bool = False
    """Whether spans have the headers of requests and responses."""
    skip_headers: tuple[str, ...] = ()
    """Headers that are not reported."""
    metrics_static_attributes: Attributes = ()
    """Labels on every series of this layer."""
    traces_static_attributes: Attributes = ()
    """Attributes on every span of this layer."""


class BackendMetrics(Struct, frozen=True, kw_only=True):
    disable_stage: bool = False
    """Whether backends are not measured."""
    round_trip: bool = False
    """Whether requests to HTTP backends are measured."""
    read_payload: bool = False
    """Whether reading the responses of HTTP backends is measured."""
    detailed_connection: bool = False
    """Whether the phases of a connection are measured: waiting for one, DNS, TLS."""
    static_attributes: Attributes = ()
    """Labels on every series of this layer."""


class BackendTraces(Struct, frozen=True, kw_only=True):
    disable_stage: bool = False
    """Whether backends have no span."""
    round_trip: bool = False
    """Whether requests to HTTP backends have a span."""
    read_payload: bool = False
    """Whether reading the responses of HTTP backends has a span."""
    detailed_connection: bool = False
    """Whether spans have the phases of a connection."""
    static_attributes: Attributes = ()
    """Attributes on every span of this layer."""
    report_headers: bool = False
    """Whether spans have the headers of requests and responses."""
    skip_headers: tuple[str, ...] = ()
    """Headers that are not reported."""


ALL_OF_BACKEND = BackendMetrics(round_trip=True, read_payload=True, detailed_connection=True)
"""What is measured if ``metrics`` is absent: everything. A partial object means: only that."""


ALL_SPANS = BackendTraces(round_trip=True, read_payload=True, detailed_connection=True)
"""The same for ``traces``."""


class BackendLayer(Struct, frozen=True, kw_only=True):
    metrics: BackendMetrics | None = None
    """What is measured of backends; absent: everything."""
    traces: BackendTraces | None = None
    """Which spans backends have; absent: all."""


class Layers(Struct, frozen=True, kw_only=True, rename={"global_": "global"}):
    global_: GlobalLayer | None = None
    """Requests of clients."""
    proxy: ProxyLayer | None = None
    """Endpoints, with all their backends."""
    backend: BackendLayer | None = None
    """Backends."""


class EndpointAttributes(Struct, frozen=True, kw_only=True):
    metrics_static_attributes: Attributes = ()
    """Labels of this endpoint, in addition to those of the service."""
    traces_static_attributes: Attributes = ()
    """Attributes of this endpoint's spans, in addition to those of the service."""


class ExportersOverride(Struct, frozen=True, kw_only=True):
    """Of KrakenD Enterprise."""

    trace_sample_rate: float | None = None
    """Which part of the requests of this endpoint is traced, 0 to 1."""
    trace_exporters: tuple[str, ...] | None = None
    """No effect: each collector gets the spans of all endpoints."""
    metric_exporters: tuple[str, ...] | None = None
    """No effect."""
    metric_reporting_period: int | None = None
    """No effect."""


class OtelSettings(MetricsSettings, frozen=True, kw_only=True, rename={"global_": "global"}):
    """``exporters`` to ``layers``: at the root. ``proxy`` and ``global``: of an endpoint.
    ``backend``: of a backend."""

    exporters: Exporters | None = None
    """Where metrics and traces go."""
    service_name: str = ""
    """Of this service; by default ``name`` of the configuration."""
    service_version: str = ""
    """Of this service; by default the version of the gateway."""
    deploy_env: str = ""
    """The environment, such as ``production``."""
    skip_paths: tuple[str, ...] | None = None
    """Endpoints and paths that are neither measured nor traced; one that ends in ``/`` means all
    paths below, except for ``/`` itself. An empty list means the default, ``[""]`` means none."""
    metric_reporting_period: int = REPORTING_PERIOD
    """Seconds between two reports of metrics to a collector; 0 means the default."""
    trace_sample_rate: float = 1.0
    """Which part of the requests is traced, 0 to 1."""
    histograms: Histograms | None = None
    """Bounds of histograms."""
    layers: Layers | None = None
    """What is measured and traced."""
    proxy: ProxyLayer | None = None
    """Of an endpoint: in place of ``layers.proxy`` of the root."""
    global_: EndpointAttributes | None = None
    """Of an endpoint: in addition to ``layers.global`` of the root."""
    backend: BackendLayer | None = None
    """Of a backend: in place of ``layers.backend`` of the root."""
    exporters_override: ExportersOverride | None = None
    """Of an endpoint: in place of settings of the root."""

    @property
    def prometheus(self) -> tuple[PrometheusExporter, ...]:
        """The exporters that are on."""
        return tuple(each for _, each in self.numbered_prometheus)

    @property
    def numbered_prometheus(self) -> Iterator[tuple[int, PrometheusExporter]]:
        """The exporters that are on, with their positions in the file."""
        exporters = (self.exporters and self.exporters.prometheus) or ()
        return ((at, each) for at, each in enumerate(exporters) if not each.disable_metrics)

    @property
    def otlp(self) -> tuple[OtlpExporter, ...]:
        return (self.exporters and self.exporters.otlp) or ()

    @property
    def otlp_of_metrics(self) -> tuple[OtlpExporter, ...]:
        """The collectors that get metrics."""
        return tuple(each for each in self.otlp if not each.disable_metrics)

    @property
    def otlp_of_traces(self) -> tuple[OtlpExporter, ...]:
        """The collectors that get traces. The tracer has a buffer for each, in this order."""
        return tuple(each for each in self.otlp if not each.disable_traces)

    @property
    def overridden_sample_rate(self) -> float | None:
        """Of an endpoint; None: that of the root holds."""
        override = self.exporters_override
        return None if override is None else override.trace_sample_rate

    def period_of(self, exporter: OtlpExporter) -> int:
        """Seconds between two reports of metrics."""
        own = exporter.custom_metric_reporting_period
        return own or self.metric_reporting_period or REPORTING_PERIOD

    @property
    def client_layer(self) -> GlobalLayer:
        return (self.layers and self.layers.global_) or GlobalLayer()

    @property
    def buckets(self) -> Histograms:
        """The default replaces bounds that are not possible: KrakenD ignores all bounds."""
        found = self.histograms or Histograms()
        return Histograms(
            time_buckets=found.time_buckets if are_bounds(found.time_buckets) else TIME_BUCKETS,
            size_buckets=found.size_buckets if are_bounds(found.size_buckets) else SIZE_BUCKETS,
        )

    @property
    def skipped(self) -> tuple[str, ...]:
        return self.skip_paths or SKIPPED

    @property
    def uses_metrics(self) -> bool:
        """Whether an exporter reads the metrics."""
        return bool(self.prometheus or self.otlp_of_metrics)

    def target(self, service: Service) -> dict[str, str]:
        """What the metrics are of: the names of OpenTelemetry's resource, and their values."""
        names = {
            "deployment.environment": self.deploy_env,
            "service.name": self.service_name or service.name or "hutch-gateway",
            "service.version": self.service_version or VERSION,
        }
        return {name: value for name, value in names.items() if value}

    def skips(self, endpoint: str) -> bool:
        """Whether an endpoint or a path is skipped. Placeholders may be written as in the
        configuration (``{id}``) or as KrakenD reports them (``:id``)."""
        names = endpoint, route_of(endpoint)
        return any(
            each and (each in names or (each[1:].endswith("/") and endpoint.startswith(each)))
            for each in self.skipped
        )

    @property
    def reserved_labels(self) -> Iterator[str]:
        """The keys of static attributes of metrics, at this level, that are dropped."""
        layers = self.layers or Layers()
        lists = {
            "layers.global.metrics_static_attributes": layers.global_,
            "layers.proxy.metrics_static_attributes": layers.proxy,
            "global.metrics_static_attributes": self.global_,
            "proxy.metrics_static_attributes": self.proxy,
        }
        found = {key: each.metrics_static_attributes for key, each in lists.items() if each}
        for key, layer in (("layers.backend", layers.backend), ("backend", self.backend)):
            if layer is not None and layer.metrics is not None:
                found[f"{key}.metrics.static_attributes"] = layer.metrics.static_attributes
        for key, attributes in found.items():
            for number, each in enumerate(attributes):
                if each.key == RESERVED:
                    yield f"{key}[{number}].key"

    def proxy_layer(self, endpoint: Endpoint) -> ProxyLayer:
        own = endpoint.extra_config.get(NAMESPACE)
        if own is not None and own.proxy is not None:
            layer: ProxyLayer = own.proxy
            return layer
        return (self.layers and self.layers.proxy) or ProxyLayer()

    def backend_metrics(self, backend: Backend) -> BackendMetrics:
        layer = self._backend_layer(backend)
        return (layer and layer.metrics) or ALL_OF_BACKEND

    def backend_traces(self, backend: Backend) -> BackendTraces:
        layer = self._backend_layer(backend)
        return (layer and layer.traces) or ALL_SPANS

    def _backend_layer(self, backend: Backend) -> BackendLayer | None:
        own = backend.extra_config.get(NAMESPACE)
        if own is not None and own.backend is not None:
            layer: BackendLayer = own.backend
            return layer
        return None if self.layers is None else self.layers.backend
