"""Patterns of log lines, such as ``%{time} %{level:.4s} %{message}`` (go-logging, format.go)."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from datetime import datetime
from itertools import count
from pathlib import PurePath
from typing import TypeAlias

from .go_time import build_time_format

DEFAULT = " %{time:2006/01/02 - 15:04:05.000} %{color}▶ %{level:.6s}%{color:reset} %{message}"
"""KrakenD's pattern without ``format``. A line is the prefix, and then this pattern."""

DEFAULT_TIME = "2006-01-02T15:04:05.999Z07:00"
PROGRAM = "gateway"

FormatRecord: TypeAlias = Callable[[logging.LogRecord], object]

COLOURS = {
    logging.DEBUG: "36",
    logging.WARNING: "33",
    logging.ERROR: "31",
    logging.CRITICAL: "35",
}
"""Of terminals: cyan, yellow, red, magenta. INFO has none."""


class LinePatternError(ValueError):
    """A pattern that cannot be used. Its text says why."""


def _number() -> FormatRecord:
    numbers = count(1)
    return lambda record: next(numbers)


def _place(record: logging.LogRecord) -> str:
    return f"{record.pathname}:{record.lineno}"


VALUES: dict[str, Callable[[], FormatRecord]] = {
    "id": _number,
    "pid": lambda: lambda record: record.process,
    "level": lambda: lambda record: record.levelname,
    "module": lambda: lambda record: record.name,
    "program": lambda: lambda record: PROGRAM,
    "message": lambda: message_of,
    "longfile": lambda: _place,
    "shortfile": lambda: lambda record: PurePath(_place(record)).name,
    "longpkg": lambda: lambda record: record.name,
    "shortpkg": lambda: lambda record: record.name,
    "longfunc": lambda: lambda record: record.funcName,
    "shortfunc": lambda: lambda record: record.funcName,
    "callpath": lambda: lambda record: record.funcName,
}
"""The variables, except for ``time`` and ``color``."""

_VARIABLE = re.compile(r"%\{([a-z]+)(?::(.*?[^\\]))?\}")
_LAYOUT = re.compile(r"[-+ 0#]*\d*(?:\.\d*)?[sdvq]")


def message_of(record: logging.LogRecord) -> str:
    """The message, and the traceback behind it."""
    text = record.getMessage()
    if record.exc_text is None and record.exc_info:
        record.exc_text = logging.Formatter().formatException(record.exc_info)
    return f"{text}\n{record.exc_text}" if record.exc_text else text


def time_of(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created).astimezone()


class PatternFormatter(logging.Formatter):
    """Writes lines in a pattern, each behind ``prefix``. Raises :class:`LinePatternError`."""

    def __init__(self, pattern: str, prefix: str = "") -> None:
        super().__init__()
        if not _VARIABLE.search(pattern):
            raise LinePatternError("expected a pattern with variables, such as %{message}")
        self._pieces: list[str | FormatRecord] = [prefix] if prefix else []
        end = 0
        for found in _VARIABLE.finditer(pattern):
            self._pieces += [pattern[end : found.start()], _build_variable(found[1], found[2])]
            end = found.end()
        self._pieces.append(pattern[end:])

    def format(self, record: logging.LogRecord) -> str:
        return "".join(
            [piece if isinstance(piece, str) else str(piece(record)) for piece in self._pieces]
        )


def _build_variable(name: str, layout: str | None) -> FormatRecord:
    if name == "time":
        write = build_time_format(layout or DEFAULT_TIME)
        return lambda record: write(time_of(record))
    if name == "color":
        return _build_colour(layout)
    if name not in VALUES:
        known = ", ".join(sorted((*VALUES, "time", "color")))
        raise LinePatternError(f'"{name}" is no variable: there are {known}')
    value = VALUES[name]()
    if layout is None:
        return value
    if not _LAYOUT.fullmatch(layout):
        raise LinePatternError(f'expected a layout such as ".4s" or "04d", found "{layout}"')
    directive = "%" + layout[:-1] + layout[-1].replace("v", "s").replace("q", "r")
    try:
        directive % VALUES[name]()(_SAMPLE)
    except (TypeError, ValueError):
        raise LinePatternError(f'the layout "{layout}" does not suit "{name}"') from None
    return lambda record: directive % value(record)


def _build_colour(layout: str | None) -> FormatRecord:
    if layout == "reset":
        return lambda record: "\x1b[0m"
    bold = ";1" if layout == "bold" else ""

    def colour(record: logging.LogRecord) -> str:
        code = COLOURS.get(record.levelno)
        return f"\x1b[{code}{bold}m" if code else ""

    return colour


_SAMPLE = logging.LogRecord("gateway", logging.INFO, "file.py", 1, "message", (), None, "function")
