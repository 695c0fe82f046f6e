"""Times as Go's ``time.Format`` writes them, for a layout such as ``2006/01/02 - 15:04:05.000``."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import TypeAlias

FormatTime: TypeAlias = Callable[[datetime], str]


def _offset(colon: str, *, zulu: bool = False) -> FormatTime:
    def offset(time: datetime) -> str:
        text = time.strftime("%z") or "+0000"
        return "Z" if zulu and text == "+0000" else f"{text[:3]}{colon}{text[3:5]}"

    return offset


def _strftime(directive: str) -> FormatTime:
    return lambda time: time.strftime(directive)


WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)

PIECES: dict[str, FormatTime] = {
    "January": lambda time: MONTHS[time.month - 1],
    "Jan": lambda time: MONTHS[time.month - 1][:3],
    "Monday": lambda time: WEEKDAYS[time.weekday()],
    "Mon": lambda time: WEEKDAYS[time.weekday()][:3],
    "2006": _strftime("%Y"),
    "002": _strftime("%j"),
    "Z07:00": _offset(":", zulu=True),
    "Z0700": _offset("", zulu=True),
    "-07:00": _offset(":"),
    "-0700": _offset(""),
    "MST": lambda time: time.tzname() or "UTC",
    "01": _strftime("%m"),
    "02": _strftime("%d"),
    "03": _strftime("%I"),
    "04": _strftime("%M"),
    "05": _strftime("%S"),
    "06": _strftime("%y"),
    "15": _strftime("%H"),
    "PM": lambda time: "AM" if time.hour < 12 else "PM",
    "pm": lambda time: "am" if time.hour < 12 else "pm",
    "_2": lambda time: f"{time.day:2}",
    "1": lambda time: str(time.month),
    "2": lambda time: str(time.day),
    "3": lambda time: str(time.hour % 12 or 12),
    "4": lambda time: str(time.minute),
    "5": lambda time: str(time.second),
}
"""The pieces of a layout (Go, time/format.go). Of two that fit, the first one counts."""

_PIECE = re.compile(r"[.,]0+(?!\d)|[.,]9+(?!\d)|" + "|".join(map(re.escape, PIECES)))


def build_time_format(layout: str) -> FormatTime:
    """The function that writes a time in this layout. Digits below a microsecond are zeros."""
    pieces: list[FormatTime] = []
    end = 0
    for found in _PIECE.finditer(layout):
        if text := layout[end : found.start()]:
            pieces.append(_text(text))
        piece = found[0]
        pieces.append(PIECES.get(piece) or _fraction(piece))
        end = found.end()
    if text := layout[end:]:
        pieces.append(_text(text))
    return lambda time: "".join([piece(time) for piece in pieces])


def _text(text: str) -> FormatTime:
    return lambda time: text


def _fraction(piece: str) -> FormatTime:
    """``.000`` writes as many digits, ``.999`` leaves out zeros at the end."""
    size = len(piece) - 1

    def fraction(time: datetime) -> str:
        digits = f"{time.microsecond:06}000"[:size]
        if piece[1] == "0":
            return piece[0] + digits
        digits = digits.rstrip("0")
        return piece[0] + digits if digits else ""

    return fraction
