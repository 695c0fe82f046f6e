"""Durations in Go's notation ("2s") as seconds. Pure. No other module parses them."""

from __future__ import annotations

import re

UNITS = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "μs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
}
MAX_DURATION = 2**63 / 1e9
"""Seconds: the largest duration in Go's 64 bits of nanoseconds, 292 years."""

_PART = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")


def parse_duration(text: str) -> float:
    """Seconds of "1h30m", "150ms", "-1.5s", "0". Raises ValueError. (Go, time.ParseDuration)"""
    sign = -1.0 if text[:1] == "-" else 1.0
    rest = text[1:] if text[:1] in ("-", "+") else text
    if rest == "0":
        return 0.0
    seconds = 0.0
    at = 0
    while at < len(rest):
        part = _PART.match(rest, at)
        if part is None:
            break
        seconds += float(part[1]) * UNITS[part[2]]
        at = part.end()
    if not rest or at < len(rest) or seconds > MAX_DURATION:
        raise ValueError('a duration such as "2s", "150ms" or "1h30m"')
    return sign * seconds
