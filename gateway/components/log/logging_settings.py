"""``telemetry/logging``: how much is logged, where to, and how the lines look."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from msgspec import Struct

from ...config.findings import Finding
from ...core.component import Component, Place
from ...core.rule import Rule, where_root_lacks
from .patterns import LinePatternError, PatternFormatter

LEVELS = {
    "DEBUG": logging.DEBUG,
    "INFO": logging.INFO,
    "WARNING": logging.WARNING,
    "ERROR": logging.ERROR,
    "CRITICAL": logging.CRITICAL,
}
FACILITIES = tuple(f"local{number}" for number in range(8))


class LoggingSettings(Struct, frozen=True, kw_only=True):
    level: str = ""
    """The lowest level that is logged: DEBUG, INFO, WARNING, ERROR or CRITICAL."""
    prefix: str = ""
    """Stands before each line, and before each line of syslog."""
    stdout: bool = False
    """Whether the log is written to standard output."""
    syslog: bool = False
    """Whether the log is sent to the syslog service of the machine (``/dev/log``)."""
    syslog_facility: str = "local3"
    """``local0`` to ``local7``."""
    format: str = "default"
    """``default``, ``logstash``, ``custom``, and ``json``, which KrakenD does not know."""
    custom_format: str = ""
    """The pattern of a line, with ``format`` custom: such as ``%{time} %{level} %{message}``."""

    @property
    def level_number(self) -> int:
        """KrakenD logs every line when it does not know the level."""
        return LEVELS.get(self.level.upper(), logging.DEBUG)


FORMATS = ("default", "logstash", "custom", "json")


def verify(settings: LoggingSettings) -> Iterator[tuple[str, str]]:
    """KrakenD does not start with such a pattern, either."""
    if settings.format == "custom":
        try:
            PatternFormatter(settings.custom_format)
        except LinePatternError as error:
            yield "custom_format", str(error)


def findings(settings: LoggingSettings, place: Place) -> Iterator[Finding]:
    if settings.level.upper() not in LEVELS:
        text = f'expected {", ".join(LEVELS)}, found "{settings.level}": every line is logged'
        yield place.warning(text, "level")
    if settings.format not in FORMATS:
        text = f'expected {", ".join(FORMATS)}, found "{settings.format}": taken as default'
        yield place.warning(text, "format")
    elif settings.format == "json":
        yield place.hint("only this gateway knows json: KrakenD takes it as default", "format")
    if settings.syslog and settings.syslog_facility not in FACILITIES:
        text = f'expected local0 to local7, found "{settings.syslog_facility}": taken as local3'
        yield place.warning(text, "syslog_facility")
    if not place.service.router.disable_access_log:
        yield place.hint("there is no access log yet: only failed requests have a line")
    has_gelf = "telemetry/gelf" in place.service.extra_config
    if not (settings.stdout or settings.syslog or has_gelf):
        yield place.warning("nothing is logged: set stdout, syslog or telemetry/gelf")


COMPONENT = Component(
    "telemetry/logging",
    LoggingSettings,
    aliases=("github_com/devopsfaith/krakend-gologging",),
    service=True,
    verify=verify,
    findings=findings,
    advice=(
        Rule(
            "4.3.1",
            "MEDIUM",
            "Configure the log (telemetry/logging).",
            where_root_lacks(LoggingSettings),
        ),
    ),
)
