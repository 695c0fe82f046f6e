"""``telemetry/logstash``: the lines of ``telemetry/logging`` are events for Logstash, in JSON."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from ...config.findings import Finding
from ...core.component import Component, Place


class LogstashSettings(Struct, frozen=True, kw_only=True):
    enabled: bool = True
    """No effect: the namespace has its effect when it is present, as in KrakenD."""


def findings(settings: LogstashSettings, place: Place) -> Iterator[Finding]:
    if "telemetry/logging" not in place.service.extra_config:
        yield place.warning("has no effect without telemetry/logging")
    if not settings.enabled:
        text = "has no effect, as in KrakenD: leave out the namespace to have other lines"
        yield place.warning(text, "enabled")


COMPONENT = Component(
    "telemetry/logstash",
    LogstashSettings,
    aliases=("github_com/devopsfaith/krakend-logstash",),
    service=True,
    findings=findings,
)
