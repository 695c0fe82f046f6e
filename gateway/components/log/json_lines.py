"""Log lines that are JSON objects."""

from __future__ import annotations

import logging
import socket
from datetime import UTC

import msgspec

from ...telemetry.logs import escape
from .patterns import message_of, time_of

FIELDS = "fields"
"""The attribute of a record with further fields: ``log.info(..., extra={FIELDS: {...}})``."""

_encode = msgspec.json.Encoder().encode


def fields_of(record: logging.LogRecord) -> dict[str, object]:
    """The further fields of a record."""
    fields: dict[str, object] = getattr(record, FIELDS, {})
    return {
        name: escape(value) if isinstance(value, str) else value for name, value in fields.items()
    }


class JsonFormatter(logging.Formatter):
    """``{"time", "level", "logger", "message", ...}``: the time in UTC, and further fields."""

    def format(self, record: logging.LogRecord) -> str:
        time = time_of(record).astimezone(UTC)
        line = {
            "time": time.isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": message_of(record),
        }
        return _encode({**line, **fields_of(record)}).decode()


class LogstashFormatter(logging.Formatter):
    """KrakenD's ``format: "logstash"``. There a quote in a message breaks the line."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "@timestamp": time_of(record).isoformat(timespec="milliseconds"),
            "@version": 1,
            "level": record.levelname,
            "message": message_of(record),
            "module": record.name,
        }
        return _encode(line).decode()


class LogstashEventFormatter(logging.Formatter):
    """KrakenD's ``telemetry/logstash``. ``module``: its value, the prefix of the log."""

    def __init__(self, module: str) -> None:
        super().__init__()
        self._module = module
        self._host = socket.gethostname()

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "@timestamp": time_of(record).isoformat(timespec="microseconds"),
            "@version": 1,
            "host": self._host,
            "level": record.levelname,
            "message": message_of(record),
            "module": self._module,
        }
        return _encode(line).decode()
