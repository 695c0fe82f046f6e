"""``telemetry/logging``: how much is logged, where to, and how the lines look."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

from msgspec import Struct

from ...config.findings import Finding
from ...config.structs import Backend, Endpoint, Own, Service, changed
from ...core.component import Assembly, Component, Place
from ...core.failures import name_of
from ...core.observed import Observer
from ...core.observed_parts import observed_parts
from ...core.proxy import Branch
from ...core.rule import Rule, where_root_lacks
from ...http.observed import RequestObserver
from .access_log import AccessFormat, build_access_observer, build_format
from .access_variables import AccessVariables
from .backend_log import BackendLog, BackendLogSettings, HttpBackendLog, build_part_log
from .heads import Secrets
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
    """The beginning of each line, also in syslog."""
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
    access_log_format: str = "default"
    """``default``, ``httpdCommon``, ``httpdCombined``, ``json`` or ``custom``. Of KrakenD
    Enterprise."""
    access_log_custom_format: str = ""
    """The pattern of a line, with ``access_log_format`` custom: such as ``%{statusCode} %{uri}``.
    Of KrakenD Enterprise."""
    access_log_missing_key_marker: str = "-"
    """The text in place of a value that a request does not have. Of KrakenD Enterprise."""
    access_log_sample: Own[float] = 1.0
    """The share of the responses below status 400 that have a line: 1 for all, 0.01 for one in a
    hundred. All others always have one."""

    backend: BackendLogSettings | None = None
    """A line for each request to a backend. At the root: of all backends; at a backend: its own
    settings for it. Of KrakenD Enterprise."""

    @property
    def level_number(self) -> int:
        """KrakenD logs every line when it does not know the level."""
        return LEVELS.get(self.level.upper(), logging.DEBUG)

    @property
    def access_format(self) -> AccessFormat:
        return AccessFormat(
            self.access_log_format,
            self.access_log_custom_format,
            self.access_log_missing_key_marker,
        )


FORMATS = ("default", "logstash", "custom", "json")


ACCESS_FORMATS = ("default", "httpdCommon", "httpdCombined", "httpdCombine", "json", "custom")


def build_observer(
    settings: LoggingSettings, service: Service, assembly: Assembly
) -> Observer | None:
    return build_access_observer(
        settings.access_format, settings.prefix, service, sample=settings.access_log_sample
    )


def reads_requests(settings: LoggingSettings) -> bool:
    return settings.access_format.reads_requests


def build_request_observer(
    settings: LoggingSettings, backend: Backend, endpoint: Endpoint, assembly: Assembly
) -> RequestObserver | None:
    lines = _backend_log(settings, backend, endpoint, assembly)
    return None if lines is None else HttpBackendLog(lines)


def build_branch_observer(
    settings: LoggingSettings, backend: Backend, endpoint: Endpoint, assembly: Assembly
) -> Callable[[Branch], Branch]:
    lines = _backend_log(settings, backend, endpoint, assembly)
    observe = None if lines is None else build_part_log(lines, backend)
    return lambda branch: branch if observe is None else observed_parts(branch, observe)


def _backend_log(
    root: LoggingSettings, backend: Backend, endpoint: Endpoint, assembly: Assembly
) -> BackendLog | None:
    """The log of a backend, by its own settings or by those of the root; None: it has none."""
    own: LoggingSettings = backend.extra_config.get(COMPONENT.namespace, root)
    settings = own.backend or root.backend
    if settings is None:
        return None
    secrets = assembly.shared(Secrets, lambda: Secrets(assembly.service))
    return BackendLog(settings, name_of(endpoint), secrets)


def verify(settings: LoggingSettings) -> Iterator[tuple[str, str]]:
    """KrakenD does not start with such a pattern, either."""
    if settings.format == "custom":
        try:
            PatternFormatter(settings.custom_format)
        except LinePatternError as error:
            yield "custom_format", str(error)
    try:
        build_format(settings.access_format, AccessVariables())
    except LinePatternError as error:
        yield "access_log_custom_format", str(error)
    if settings.backend is not None:
        try:
            BackendLog(settings.backend, "", Secrets())
        except LinePatternError as error:
            yield "backend.custom_format", str(error)
    if not 0 <= settings.access_log_sample <= 1:
        yield "access_log_sample", f"expected 0 to 1, found {settings.access_log_sample:g}"


def findings(settings: LoggingSettings, place: Place) -> Iterator[Finding]:
    yield from _backend_log_findings(settings, place)
    if place.backend is not None:
        return
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
    if settings.access_log_format not in ACCESS_FORMATS:
        known = ", ".join(ACCESS_FORMATS)
        text = f'expected {known}, found "{settings.access_log_format}": taken as default'
        yield place.warning(text, "access_log_format")
    has_gelf = "telemetry/gelf" in place.service.extra_config
    if not (settings.stdout or settings.syslog or has_gelf):
        yield place.warning("nothing is logged: set stdout, syslog or telemetry/gelf")


def _backend_log_findings(settings: LoggingSettings, place: Place) -> Iterator[Finding]:
    if place.backend is not None:
        yield from warn_without_logging(place)
        if others := sorted(changed(settings) - {"backend"}):
            text = f"only backend has an effect at a backend, not {', '.join(others)}"
            yield place.warning(text)
    if settings.backend is None:
        return
    level = settings.backend.log_with_level
    if level.upper() not in LEVELS:
        text = f'expected {", ".join(LEVELS)}, found "{level}": taken as INFO'
        yield place.warning(text, "backend.log_with_level")
    root = place.service.extra_config.get(COMPONENT.namespace)
    level_number = LEVELS.get(level.upper(), logging.INFO)
    if isinstance(root, LoggingSettings) and level_number < root.level_number:
        text = f"no line is written: level, at the root, is {root.level}"
        yield place.warning(text, "backend.log_with_level")


def has_access_log(service: Service) -> bool:
    return COMPONENT.namespace in service.extra_config and not service.router.disable_access_log


def without_access_log(service: Service) -> Iterator[Finding]:
    """KrakenD has an access log without any settings. Said only where the file shows an
    interest in it: by its telemetry, or by paths without a line. ``check -d`` and ``audit`` say it
    always."""
    extra, router = service.extra_config, service.router
    has_telemetry = any(name.startswith("telemetry/") for name in extra)
    is_expected = has_telemetry or router.logger_skip_paths
    if is_expected and not router.disable_access_log and COMPONENT.namespace not in extra:
        text = f"there is no access log: {COMPONENT.namespace} turns it on"
        yield Finding("$.extra_config", "hint", text)


COMPONENT = Component(
    "telemetry/logging",
    LoggingSettings,
    aliases=("github_com/devopsfaith/krakend-gologging",),
    service=True,
    verify=verify,
    findings=findings,
    overall=without_access_log,
    observer=build_observer,
    branch_observer=build_branch_observer,
    request_observer=build_request_observer,
    read_on=frozenset({"backend"}),
    reads_requests=reads_requests,
    advice=(
        Rule(
            "4.3.1",
            "MEDIUM",
            "Configure the log (telemetry/logging). Without it there is no access log.",
            where_root_lacks(LoggingSettings),
        ),
    ),
)


def warn_without_logging(place: Place) -> Iterator[Finding]:
    """The warning of a namespace that changes only the lines of ``telemetry/logging``."""
    if COMPONENT.namespace not in place.service.extra_config:
        yield place.warning(f"has no effect without {COMPONENT.namespace}")
