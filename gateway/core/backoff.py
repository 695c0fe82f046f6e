"""Seconds to wait before each next attempt, as endless iterators.

The names and shapes are KrakenD's (lura ``backoff``); the cap is ours: there, one hour of
outage may mean another hour until the next attempt.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import count, repeat

MAX_PAUSE = 30.0


def linear() -> Iterator[float]:
    """0, 1, 2 ... seconds."""
    return (min(float(attempt), MAX_PAUSE) for attempt in count())


def exponential() -> Iterator[float]:
    """1, 2, 4, 8 ... seconds."""
    return (min(2.0**attempt, MAX_PAUSE) for attempt in _exponents())


def constant() -> Iterator[float]:
    """One second each time (KrakenD's "fallback")."""
    return repeat(1.0)


def with_jitter(pauses: Iterator[float]) -> Iterator[float]:
    """Each pause changed by up to a third, so that many clients do not come at once."""
    return (pause * random.uniform(0.67, 1.33) for pause in pauses)  # noqa: S311


def _exponents() -> Iterator[int]:
    # 2**5 is beyond the cap already; the exponent need not grow for ever.
    return (min(attempt, 5) for attempt in count())


BACKOFFS: dict[str, Callable[[], Iterator[float]]] = {
    "linear": linear,
    "linear-jitter": lambda: with_jitter(linear()),
    "exponential": exponential,
    "exponential-jitter": lambda: with_jitter(exponential()),
    "fallback": constant,
}
"""KrakenD's ``backoff_strategy`` names. An unknown name means "fallback" there."""
