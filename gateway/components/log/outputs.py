"""Where the lines of the log go, from the configuration."""

from __future__ import annotations

import logging
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import SysLogHandler
from pathlib import Path
from select import PIPE_BUF, select
from typing import Protocol

from ...config.structs import Service
from ...telemetry.log_thread import LineThread, LogThread
from ...telemetry.logs import escape_record, get_logger
from . import gelf, logging_settings, logstash
from .access_log import ACCESS_LOG
from .gelf import GelfSettings, build_gelf_handler
from .json_lines import JsonFormatter, LogstashEventFormatter, LogstashFormatter
from .logging_settings import FACILITIES, LoggingSettings
from .losses import Losses
from .patterns import DEFAULT, PatternFormatter

STANDARD = "%(asctime)s %(levelname)s %(name)s: %(message)s"
"""The lines without ``telemetry/logging``, on standard error."""
SYSLOG = "/dev/log"

QUIET = ("aiormq", "asyncio", "coredis", "quic", "http3")
"""Loggers of libraries. The gateway logs their problems itself, on one line, not as tracebacks."""


class LogStream(Protocol):
    """A text stream."""

    def write(self, text: str) -> object: ...


class Nowhere:
    """The place of a standard stream that the process does not have."""

    def write(self, text: str) -> None: ...


class Descriptor:
    """A text stream that writes to a file descriptor at once.

    ``sys.stdout`` has a lock: a thread that is blocked in it would keep the process from ending.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._most = _whole_bytes(number)

    def write(self, text: str) -> None:
        """Write whole lines at a time, as many as the output takes at once: so lines of several
        threads and processes do not mix."""
        data = text.encode(errors="backslashreplace")
        view = memoryview(data)  # a slice of it copies nothing
        start, size = 0, len(data)
        while start < size:
            end = start + self._most
            if end < size:
                end = data.rfind(b"\n", start, end) + 1 or data.find(b"\n", start) + 1 or size
            try:
                start += os.write(self._number, view[start:end])
            except BlockingIOError:
                select((), (self._number,), ())


def _whole_bytes(number: int) -> int:
    """How many bytes one write puts into the output together while others write to it, too."""
    try:
        is_file = stat.S_ISREG(os.fstat(number).st_mode)
    except OSError:
        is_file = False
    return sys.maxsize if is_file else PIPE_BUF


class StreamHandler(logging.Handler):
    """Writes lines to a stream. Unlike the standard library's it holds no lock meanwhile."""

    def __init__(self, stream: LogStream, formatter: logging.Formatter) -> None:
        super().__init__()
        self._stream = stream
        self.setFormatter(formatter)

    def emit(self, record: logging.LogRecord) -> None:
        self._stream.write(f"{self.format(record)}\n")


class SyslogHandler(SysLogHandler):
    """It connects again when the service is back. Standard error says when lines are lost."""

    def __init__(self, address: str, facility: int) -> None:
        super().__init__(address, facility)
        self._losses = Losses(f"telemetry/logging: syslog ({address})")

    def emit(self, record: logging.LogRecord) -> None:
        self._failed = False
        super().emit(record)
        self._losses.note(is_lost=self._failed)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        self._failed = True


@contextmanager
def open_log(
    service: Service | None = None,
    *,
    level: int | None = None,
    stdout: LogStream | None = None,
    stderr: LogStream | None = None,
) -> Iterator[None]:
    """The log of this process goes where ``telemetry/logging`` says, in a thread.

    Without these settings, and without a ``service``, it goes to standard error from INFO on.
    ``level`` replaces the level of the configuration. ``stdout``, ``stderr``: for tests.
    """
    settings = _settings(service)
    output = stdout or _standard(sys.stdout, 1)
    handlers = _handlers(service, settings, output, stderr or _standard(sys.stderr, 2))
    thread = LogThread(handlers)
    thread.addFilter(escape_record)  # for the loggers of libraries, which do not escape
    access_thread = _access_handler(service, settings, output)
    access_log = logging.getLogger(ACCESS_LOG)
    access_log.addHandler(access_thread)
    access_log.propagate = False
    root = logging.getLogger()
    levels = {name: logging.getLogger(name).level for name in (*QUIET, ACCESS_LOG, "")}
    root.addHandler(thread)
    if level is None:
        level = logging.INFO if settings is None else settings.level_number
    root.setLevel(level)
    access_log.setLevel(logging.INFO)
    quiet = logging.WARNING if level <= logging.DEBUG else logging.CRITICAL
    for name in QUIET:
        logging.getLogger(name).setLevel(quiet)
    try:
        yield
    finally:
        access_log.removeHandler(access_thread)
        access_log.propagate = True
        access_thread.close()  # it may report lines that were dropped
        root.removeHandler(thread)
        thread.close()
        for name, before in levels.items():
            logging.getLogger(name).setLevel(before)


def _standard(stream: object, number: int) -> LogStream:
    """``stream``: Python's; None: the process was started without it, and the number may belong to
    a socket."""
    return Nowhere() if stream is None else Descriptor(number)


def _settings(service: Service | None) -> LoggingSettings | None:
    if service is None:
        return None
    return service.extra_config.get(logging_settings.COMPONENT.namespace)


def _handlers(
    service: Service | None, settings: LoggingSettings | None, stdout: LogStream, stderr: LogStream
) -> list[logging.Handler]:
    if service is None or settings is None:
        return [StreamHandler(stderr, logging.Formatter(STANDARD))]
    gelf_settings = _gelf_settings(service)
    handlers: list[logging.Handler] = []
    if settings.stdout:
        handlers.append(StreamHandler(stdout, _formatter(settings, service)))
    if gelf_settings is not None:
        handlers.append(build_gelf_handler(gelf_settings))
    if settings.syslog:
        handlers.append(_syslog(settings, stderr))
    return handlers


def _gelf_settings(service: Service) -> GelfSettings | None:
    return service.extra_config.get(gelf.COMPONENT.namespace)


def _access_handler(
    service: Service | None, settings: LoggingSettings | None, stdout: LogStream
) -> logging.Handler:
    """The access log goes to standard output, or to GELF if the other lines go only there."""
    if service is None or settings is None:
        return logging.NullHandler()
    gelf_settings = _gelf_settings(service)
    if gelf_settings is not None and not settings.stdout:
        return LogThread([build_gelf_handler(gelf_settings)])
    return LineThread(stdout.write, get_logger("gateway.log").warning)


def _formatter(settings: LoggingSettings, service: Service) -> logging.Formatter:
    if logstash.COMPONENT.namespace in service.extra_config:
        return LogstashEventFormatter(settings.prefix)
    if settings.format == "json":
        return JsonFormatter()
    if settings.format == "logstash":
        return LogstashFormatter()
    if settings.format == "custom":
        return PatternFormatter(settings.custom_format)
    return PatternFormatter(DEFAULT, settings.prefix)


def _syslog(settings: LoggingSettings, stderr: LogStream) -> logging.Handler:
    facility = settings.syslog_facility if settings.syslog_facility in FACILITIES else "local3"
    if not Path(SYSLOG).exists():
        stderr.write(
            f"telemetry/logging: this machine has no syslog ({SYSLOG}): the log goes to standard "
            "error\n"
        )
        return StreamHandler(stderr, logging.Formatter(STANDARD))
    handler = SyslogHandler(SYSLOG, SysLogHandler.facility_names[facility])
    handler.ident = f"{settings.prefix or 'gateway'}: "
    handler.setFormatter(PatternFormatter("%{level} > %{message}"))
    return handler
