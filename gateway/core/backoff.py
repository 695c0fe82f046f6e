"""Backoff strategies: endless iterators of the seconds before each next attempt.

Names and strategies are KrakenD's (lura ``backoff``). The maximum is not: in KrakenD the pause may
grow to an hour after an hour of outage.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import count, repeat

MAX_PAUSE = 30.0
"""Seconds."""


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
    """Each pause is changed by up to a third, so that clients do not all connect at once."""
    return (pause * random.uniform(0.67, 1.33) for pause in pauses)  # noqa: S311


def _exponents() -> Iterator[int]:
    # 2**5 is above the maximum already.
    return (min(attempt, 5) for attempt in count())


BACKOFFS: dict[str, Callable[[], Iterator[float]]] = {
    "fallback": constant,
    "linear": linear,
    "linear-jitter": lambda: with_jitter(linear()),
    "exponential": exponential,
    "exponential-jitter": lambda: with_jitter(exponential()),
}
"""KrakenD's ``backoff_strategy`` names, the fastest first: that one counts where several backends
share a connection. An unknown name means "fallback", as in KrakenD."""
