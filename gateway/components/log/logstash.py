"""``telemetry/logstash``: the lines of ``telemetry/logging`` are events for Logstash, in JSON."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from ...config.findings import Finding
from ...core.component import Component, Place
from .logging_settings import warn_without_logging


class LogstashSettings(Struct, frozen=True, kw_only=True):
    enabled: bool = True
    """No effect: the namespace has its effect when it is present, as in KrakenD."""


def findings(settings: LogstashSettings, place: Place) -> Iterator[Finding]:
    yield from warn_without_logging(place)
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
