"""What ``audit`` says about metrics and traces. The numbers are KrakenD's."""

from __future__ import annotations

from ...config.structs import Service
from ...core.families import MetricsSettings, settings_of
from ...core.rule import Rule, when, where_root_lacks
from .settings import OtelSettings


def _lacks_name(service: Service) -> bool:
    settings = settings_of(service, OtelSettings)
    return settings is not None and not (settings.service_name or service.name)


def _has_traces(service: Service) -> bool:
    settings = settings_of(service, OtelSettings)
    return settings is not None and bool(settings.otlp_of_traces) and settings.trace_sample_rate > 0


def _has_several(service: Service) -> bool:
    return sum(isinstance(each, MetricsSettings) for each in service.extra_config.values()) > 1


ADVICE = (
    Rule(
        "4.1.1",
        "MEDIUM",
        "Let the gateway count what it does, so that it can be watched (telemetry/opentelemetry).",
        where_root_lacks(MetricsSettings),
    ),
    Rule(
        "4.1.2",
        "MEDIUM",
        "Give the configuration a name: metrics and traces have it (name, or service_name of "
        "telemetry/opentelemetry).",
        lambda service: when(_lacks_name(service)),
    ),
    Rule(
        "4.1.3",
        "HIGH",
        "Use only one namespace for metrics: each of them counts every request.",
        lambda service: when(_has_several(service)),
    ),
    Rule(
        "4.2.1",
        "MEDIUM",
        "Send traces to a collector, so that the path of a request can be seen "
        "(exporters.otlp of telemetry/opentelemetry).",
        lambda service: when(not _has_traces(service)),
    ),
)
