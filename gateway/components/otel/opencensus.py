"""``telemetry/opencensus``: the settings of KrakenD's telemetry before OpenTelemetry. They are read
as those of ``telemetry/opentelemetry`` that mean the same, and the metrics have its names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

import msgspec
from msgspec import Struct

from ...config.findings import Finding
from ...config.structs import Service, changed
from ...core.component import Assembly, Component, ListenAddress, Place
from ...core.families import MetricsSettings
from . import opentelemetry
from .exporters import Exporters, PrometheusExporter
from .meter import measured
from .settings import (
    NAMESPACE,
    BackendLayer,
    BackendMetrics,
    GlobalLayer,
    Layers,
    OtelSettings,
    ProxyLayer,
)

DEFAULT_PORT = 9090
DEFAULT_NAME = "prometheus"
"""Of the exporter, if there is no ``namespace``: ``telemetry/opentelemetry`` wants a name."""

T = TypeVar("T")
"""What a builder returns."""
Args = ParamSpec("Args")


class OpencensusLayers(Struct, frozen=True, kw_only=True):
    router: bool = False
    """Whether requests of clients are measured."""
    pipe: bool = False
    """Whether endpoints are measured."""
    backend: bool = False
    """Whether backends are measured."""


class OpencensusPrometheus(Struct, frozen=True, kw_only=True):
    port: int = 0
    """Where `/metrics` is. 0 is 9090: in KrakenD it is any free port."""
    namespace: str = ""
    """No effect: the metrics have the names of `telemetry/opentelemetry`."""
    tag_host: bool = False
    """No effect."""
    tag_path: bool = False
    """No effect."""
    tag_method: bool = False
    """No effect: the method is always a label."""
    tag_statuscode: bool = False
    """No effect: the status is always a label."""


class OpencensusExporters(Struct, frozen=True, kw_only=True):
    prometheus: OpencensusPrometheus | None = None
    """A port on which Prometheus reads the metrics."""
    zipkin: dict[str, Any] | None = None
    """No effect: nothing is sent to it. The same holds for the other exporters."""
    jaeger: dict[str, Any] | None = None
    """No effect."""
    influxdb: dict[str, Any] | None = None
    """No effect."""
    ocagent: dict[str, Any] | None = None
    """No effect."""
    xray: dict[str, Any] | None = None
    """No effect."""
    stackdriver: dict[str, Any] | None = None
    """No effect."""
    datadog: dict[str, Any] | None = None
    """No effect."""
    logger: dict[str, Any] | None = None
    """No effect."""

    @property
    def others(self) -> Iterator[str]:
        """The names of the exporters that are there and have no effect."""
        for name in self.__struct_fields__:
            if name != "prometheus" and getattr(self, name) is not None:
                yield name


class OpencensusSettings(MetricsSettings, frozen=True, kw_only=True):
    exporters: OpencensusExporters = OpencensusExporters()
    """Where metrics and traces go."""
    enabled_layers: OpencensusLayers | None = None
    """What is measured; absent: everything."""
    sample_rate: int = 0
    """No effect: there are no traces, and metrics are of all requests, in KrakenD, too."""
    reporting_period: int = 0
    """No effect: Prometheus itself says how often it reads."""

    @property
    def translated(self) -> OtelSettings:
        """The settings of ``telemetry/opentelemetry`` that mean the same.
        (KrakenD's documentation, telemetry/prometheus.md, "Migration from OpenCensus")"""
        found = self.exporters.prometheus
        if found is None:
            return OtelSettings()
        exporter = PrometheusExporter(
            name=found.namespace or DEFAULT_NAME,
            port=found.port or DEFAULT_PORT,
            process_metrics=True,
            go_metrics=True,
        )
        return OtelSettings(
            exporters=Exporters(prometheus=(exporter,)), layers=self._translated_layers
        )

    @property
    def _translated_layers(self) -> Layers | None:
        on = self.enabled_layers
        if on is None:
            return None
        return Layers(
            global_=None if on.router else GlobalLayer(disable_metrics=True),
            proxy=None if on.pipe else ProxyLayer(disable_metrics=True),
            backend=None
            if on.backend
            else BackendLayer(metrics=BackendMetrics(disable_stage=True)),
        )


def translated(
    build: Callable[Concatenate[OtelSettings, Args], T], nothing: T
) -> Callable[Concatenate[OpencensusSettings, Args], T]:
    """A builder of ``telemetry/opentelemetry``, for these settings. ``nothing``: what it returns
    if that namespace is there, too."""

    def build_translated(
        settings: OpencensusSettings, /, *args: Args.args, **named: Args.kwargs
    ) -> T:
        assembly = cast(Assembly, args[-1])
        if not has_effect(assembly.service):
            return nothing
        return build(settings.translated, *args, **named)

    return build_translated


def has_effect(service: Service) -> bool:
    return NAMESPACE not in service.extra_config


def uses_metrics(settings: OpencensusSettings, service: Service) -> bool:
    return has_effect(service) and settings.translated.uses_metrics


def addresses(settings: OpencensusSettings, service: Service) -> Iterator[ListenAddress]:
    if has_effect(service):
        for each in opentelemetry.addresses(settings.translated, service):
            yield ListenAddress(_own_key(each.key), each.host, each.port)


def _own_key(key: str) -> str:
    """A key of ``telemetry/opentelemetry`` as it is here."""
    return key.replace("prometheus[0]", "prometheus")


def findings(settings: OpencensusSettings, place: Place) -> Iterator[Finding]:
    if not has_effect(place.service):
        yield place.warning(f"has no effect beside {NAMESPACE}")
        return
    for key, text in opentelemetry.verify(settings.translated):
        yield place.error(text, _own_key(key))
    exporters = settings.exporters
    for name in exporters.others:
        text = "is not supported: nothing is sent to it, and nothing takes its place"
        yield place.warning(text, f"exporters.{name}")
    if exporters.prometheus is None:
        yield place.warning("without exporters.prometheus nothing is measured")
        return
    instead = msgspec.json.encode({NAMESPACE: written(settings.translated)}).decode()
    text = f"is deprecated, and its metrics have the names of {NAMESPACE}: write {instead}"
    yield place.warning(text)
    if unused := ", ".join(_unused(settings, exporters.prometheus)):
        yield place.warning(f"keys without effect, which can be left out: {unused}")
    if not exporters.prometheus.port:
        text = f"missing: {DEFAULT_PORT} is used (KrakenD takes any free port)"
        yield place.warning(text, "exporters.prometheus.port")


def _unused(settings: OpencensusSettings, prometheus: OpencensusPrometheus) -> Iterator[str]:
    for key in sorted(changed(settings) & {"sample_rate", "reporting_period"}):
        yield key
    for key in sorted(changed(prometheus) - {"port"}):
        yield f"exporters.prometheus.{key}"


def written(value: object) -> object:
    """Settings as they are written in a file, without keys that have their default."""
    if isinstance(value, Struct):
        keys = dict(zip(value.__struct_fields__, value.__struct_encode_fields__, strict=True))
        used = changed(value)
        return {key: written(getattr(value, name)) for name, key in keys.items() if name in used}
    return [written(each) for each in value] if isinstance(value, tuple) else value


COMPONENT = Component(
    "telemetry/opencensus",
    OpencensusSettings,
    aliases=("github_com/devopsfaith/krakend-opencensus",),
    service=True,
    findings=findings,
    uses_metrics=uses_metrics,
    observer=translated(opentelemetry.build_observer, None),
    pipe_observer=translated(opentelemetry.build_pipe_observer, measured(None)),
    branch_observer=translated(opentelemetry.build_branch_observer, measured(None)),
    request_observer=translated(opentelemetry.build_request_observer, None),
    management=translated(opentelemetry.build_management, {}),
    listeners=translated(opentelemetry.build_listeners, iter(())),
    addresses=addresses,
)
