"""Patterns of log lines, beside those of KrakenD 2.13.8."""

from __future__ import annotations

import logging
import re
import sys

import pytest

from gateway.components.log.patterns import DEFAULT, LinePatternError, PatternFormatter


def record(level: int = logging.ERROR, text: str = "a %s", *args: object) -> logging.LogRecord:
    made = logging.LogRecord("gateway.x", level, "/a/b/c.py", 7, text, args, None, "func")
    made.created = 1_796_000_000.25
    made.process = 42
    return made


def test_the_default_pattern_has_the_prefix_and_a_colour() -> None:
    line = PatternFormatter(DEFAULT, "[KRAKEND]").format(record(logging.DEBUG, "text"))
    date = r"\d{4}/\d\d/\d\d - \d\d:\d\d:\d\d\.250"
    assert re.fullmatch(rf"\[KRAKEND\] {date} \x1b\[36m▶ DEBUG\x1b\[0m text", line)


@pytest.mark.parametrize(
    ("level", "colour"),
    [
        (logging.DEBUG, "\x1b[36m"),
        (logging.INFO, ""),
        (logging.WARNING, "\x1b[33m"),
        (logging.ERROR, "\x1b[31m"),
        (logging.CRITICAL, "\x1b[35m"),
    ],
)
def test_each_level_has_its_colour(level: int, colour: str) -> None:
    assert PatternFormatter("%{color}x%{color:reset}").format(record(level)) == f"{colour}x\x1b[0m"
    bold = colour.replace("m", ";1m")
    assert PatternFormatter("%{color:bold}x").format(record(level)) == f"{bold}x"


@pytest.mark.parametrize(
    ("pattern", "line"),
    [
        ("%{level} > %{message}", "ERROR > a 1"),
        ("%{level:.4s}|%{level:-7s}|%{level:7v}", "ERRO|ERROR  |  ERROR"),
        ("%{pid} %{pid:05d} %{program}", "42 00042 gateway"),
        ("%{module} %{shortfile} %{longfile}", "gateway.x c.py:7 /a/b/c.py:7"),
        ("%{shortfunc}() {%{message}} %", "func() {a 1} %"),
    ],
)
def test_variables(pattern: str, line: str) -> None:
    assert PatternFormatter(pattern).format(record(logging.ERROR, "a %s", 1)) == line


def test_ids_count_the_lines() -> None:
    formatter = PatternFormatter("%{id:03d}")
    assert [formatter.format(record()) for _ in range(3)] == ["001", "002", "003"]


def test_a_traceback_stands_behind_the_message() -> None:
    failed = record(logging.ERROR, "failed")
    try:
        raise ValueError("why")
    except ValueError:
        failed.exc_info = sys.exc_info()
    first, *_, last = PatternFormatter("%{message}").format(failed).splitlines()
    assert (first, last) == ("failed", "ValueError: why")


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("text", "expected a pattern with variables, such as %{message}"),
        ("%{foo}", '"foo" is no variable: there are callpath, color, id'),
        ("%{pid:.4x}", 'expected a layout such as ".4s" or "04d", found ".4x"'),
        ("%{message:04d}", 'the layout "04d" does not suit "message"'),
    ],
)
def test_a_bad_pattern_says_why(pattern: str, problem: str) -> None:
    with pytest.raises(LinePatternError, match=re.escape(problem)):
        PatternFormatter(pattern)
