"""What ``audit`` says about metrics. The numbers are KrakenD's."""

from __future__ import annotations

from ...config.structs import Service
from ...core.families import MetricsSettings
from ...core.rule import Rule, when, where_root_lacks


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
        "4.1.3",
        "HIGH",
        "Use only one namespace for metrics: each of them counts every request.",
        lambda service: when(_has_several(service)),
    ),
)
