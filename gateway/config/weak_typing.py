"""Scalars as KrakenD's decoder converts them (mapstructure with weak typing). Pure.

Each converter returns the converted value, and whether the file has it in the right type. It raises
TypeError or ValueError when the value cannot be converted.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from decimal import Decimal
from typing import NamedTuple, TypeAlias

from .units import parse_duration

Convert: TypeAlias = Callable[[object], tuple[object, bool]]

MAX_INTEGER = 2**63 - 1
BOOLEANS = {
    **dict.fromkeys(("1", "t", "T", "true", "True", "TRUE"), True),
    **dict.fromkeys(("0", "f", "F", "false", "False", "FALSE", ""), False),
}
"""The strings that Go's ``strconv.ParseBool`` accepts, and the empty string, which is false."""

_INTEGER = re.compile(r"[+-]?(0[xX][0-9a-fA-F_]+|0[bB][01_]+|0[oO]?[0-7_]+|[1-9][0-9_]*|0)")
_FLOAT = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def to_string(value: object) -> tuple[str, bool]:
    if isinstance(value, str):
        return value, True
    if isinstance(value, bool):
        return str(int(value)), False
    if isinstance(value, float) and math.isfinite(value):
        return f"{Decimal(repr(value)):f}".removesuffix(".0"), False
    if not isinstance(value, int):
        raise TypeError
    return str(value), False


def to_integer(value: object) -> tuple[int, bool]:
    if isinstance(value, str):
        return _bounded(parse_integer(value) if value else 0), False
    if not isinstance(value, int | float):
        raise TypeError
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError
    return _bounded(int(value)), not isinstance(value, bool) and value == int(value)


def to_float(value: object) -> tuple[float, bool]:
    if isinstance(value, str):
        if value and not _FLOAT.fullmatch(value):
            raise ValueError
        number = float(value or 0)
    elif isinstance(value, int | float):
        number = float(value) if abs(value) <= MAX_INTEGER or isinstance(value, float) else math.inf
    else:
        raise TypeError
    if not math.isfinite(number):
        raise ValueError
    return number, not isinstance(value, bool | str)


def to_bool(value: object) -> tuple[bool, bool]:
    if isinstance(value, bool):
        return value, True
    if isinstance(value, int | float):
        return bool(value), False
    if not isinstance(value, str) or value not in BOOLEANS:
        raise TypeError
    return BOOLEANS[value], False


def to_duration(value: object) -> tuple[float, bool]:
    """Seconds. A number is a number of nanoseconds, as in Go."""
    if isinstance(value, str):
        return parse_duration(value), True
    nanoseconds, _ = to_integer(value)
    return nanoseconds / 1e9, nanoseconds == 0


def parse_integer(text: str) -> int:
    """In Go's notation: ``0x1f``, ``0b1``, ``0o17``, ``017``, ``1_000``. Raises ValueError."""
    if not _INTEGER.fullmatch(text) or len(text) > 80:
        raise ValueError
    is_octal = re.match(r"[+-]?0[0-7_]", text)
    return int(text.replace("_", ""), 8 if is_octal else 0)


def _bounded(number: int) -> int:
    if not -MAX_INTEGER - 1 <= number <= MAX_INTEGER:
        raise ValueError
    return number


class Scalar(NamedTuple):
    """``expected``: for messages. ``zero``: Go's zero value of the type."""

    expected: str
    convert: Convert
    zero: object


SCALARS = {
    "str": Scalar("a string", to_string, ""),
    "int": Scalar("a whole number", to_integer, 0),
    "float": Scalar("a number", to_float, 0.0),
    "bool": Scalar("true or false", to_bool, False),
    "duration": Scalar('a duration such as "2s"', to_duration, 0.0),
}
"""By the name of the type."""
