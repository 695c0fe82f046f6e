"""Times and durations in the lines of the access log and the log of backends."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime

from .go_time import build_time_format

HTTPD_LAYOUT = "02/Jan/2006:15:04:05 -0700"
LAYOUTS = {
    "": "2006/01/02 - 15:04:05.000",
    "ansic": "Mon Jan _2 15:04:05 2006",
    "unixdate": "Mon Jan _2 15:04:05 MST 2006",
    "rfc822": "02 Jan 06 15:04 MST",
    "rfc822z": "02 Jan 06 15:04 -0700",
    "rfc850": "Monday, 02-Jan-06 15:04:05 MST",
    "rfc1123": "Mon, 02 Jan 2006 15:04:05 MST",
    "rfc1123z": "Mon, 02 Jan 2006 15:04:05 -0700",
    "rfc3339": "2006-01-02T15:04:05Z07:00",
    "rfc3339nano": "2006-01-02T15:04:05.999999999Z07:00",
    "kitchen": "3:04PM",
    "datetime": "2006-01-02 15:04:05",
}
"""Names of layouts (Go, time/format.go), in lower case. "": the default of KrakenD Enterprise."""


class Clock:
    """The present time as text. It is made anew once in ``step`` seconds: 0.3 us less for each
    line."""

    def __init__(self, write: Callable[[float], str], step: float = 0.001) -> None:
        self._write = write
        self._step = step
        self._until = 0.0
        self._from = 0.0
        self._text = ""

    def __call__(self) -> str:
        now = time.time()
        if not self._from <= now < self._until:  # the clock of the machine may be set back
            self._from = now
            self._until = (int(now / self._step) + 1) * self._step
            self._text = self._write(now)
        return self._text


def build_clock(layout: str) -> Clock:
    """``layout``: a name of :data:`LAYOUTS`, or one of Go."""
    write = build_time_format(LAYOUTS.get(layout.lower(), layout))
    return Clock(lambda at: write(datetime.fromtimestamp(at).astimezone()))


def _utc(at: float) -> str:
    milliseconds = int(at * 1000)
    second = time.gmtime(milliseconds // 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', second)}.{milliseconds % 1000:03}Z"


utc_time = Clock(_utc)
gin_time = Clock(lambda at: time.strftime("%Y/%m/%d - %H:%M:%S", time.localtime(at)), 1)


def gin_duration(seconds: float) -> str:
    """As gin shortens it: to 10 µs above 1 ms, to 10 ms above 1 s, to 10 s above 1 min."""
    if seconds < 1e-3:
        return duration(seconds)
    step = 1e-5 if seconds < 1 else 1e-2 if seconds <= 60 else 10
    return duration(int(seconds / step + 1e-9) * step)


def duration(seconds: float) -> str:
    """As Go writes it: ``4.529µs``, ``1.5ms``, ``2m3.25s``."""
    nanoseconds = round(seconds * 1e9)
    if nanoseconds < 1_000:
        return f"{nanoseconds}ns"
    if nanoseconds < 1_000_000:
        return f"{_digits(nanoseconds / 1e3, 3)}µs"
    if nanoseconds < 1_000_000_000:
        return f"{_digits(nanoseconds / 1e6, 6)}ms"
    minutes, rest = divmod(nanoseconds, 60_000_000_000)
    text = f"{_digits(rest / 1e9, 9)}s"
    if not minutes:
        return text
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{text}" if hours else f"{minutes}m{text}"


def _digits(number: float, places: int) -> str:
    return f"{number:.{places}f}".rstrip("0").rstrip(".")


LATENCIES: dict[str, Callable[[float], str]] = {
    "latency": lambda seconds: f"{seconds:.3f}s",
    "latencyMs": lambda seconds: f"{seconds * 1e3:.3f}ms",
    "latencyUs": lambda seconds: f"{seconds * 1e6:.3f}us",
    "latencyNs": lambda seconds: f"{seconds * 1e9:.0f}ns",
}
"""As KrakenD Enterprise writes the variables of these names."""
