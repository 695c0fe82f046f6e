"""Token buckets, each of them one number: when it will be full again. Pure.

That number says as much as tokens and the time of the last refill do (GCRA, ITU-T I.371). Whole
nanoseconds keep it exact: never more than ``capacity + rate * t`` requests pass in any time t.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple, Protocol

SECOND = 1_000_000_000
MAX_INTERVAL = 10**18
"""Nanoseconds for one token, at most (KrakenD's smallest rate: 1e-9)."""
MAX_DEPTH = 2**62
"""Nanoseconds until an empty bucket is full, at most: what 64 bits have room for."""

MAX_BUCKETS = 100_000
"""Buckets of one limit. Each takes some 150 bytes."""

Clock = Callable[[], int]


class Rate(NamedTuple):
    """One token every ``interval`` ns; an empty bucket is full after ``depth`` ns."""

    interval: int
    depth: int


def rate_of(per_second: float, capacity: int) -> Rate | None:
    """The rate of a limit; None: there is none. ``capacity`` below 1: what a second brings."""
    if not per_second > 0:
        return None
    if capacity < 1:
        capacity = int(max(1.0, min(per_second, SECOND)))
    interval = max(1, math.ceil(min(SECOND / per_second, MAX_INTERVAL)))
    return Rate(interval, min(interval * capacity, MAX_DEPTH))


def taken(full_at: int, now: int, rate: Rate) -> int | None:
    """When the bucket is full after one more token was taken; None: it is empty."""
    full_at = max(full_at, now) + rate.interval
    return full_at if full_at - now <= rate.depth else None


class Left(NamedTuple):
    """What a bucket holds. ``limit``, ``remaining``: tokens. ``full_in``, ``next_in``: seconds,
    rounded up, until it is full, and until it has a token.
    """

    limit: int
    remaining: int
    full_in: int
    next_in: int


def left(full_at: int, now: int, rate: Rate) -> Left:
    """What is left in a bucket that is full at ``full_at``."""
    missing = max(0, full_at - now)
    return Left(
        rate.depth // rate.interval,
        max(0, rate.depth - missing) // rate.interval,
        -(-missing // SECOND),
        -(-max(0, missing + rate.interval - rate.depth) // SECOND),
    )


class Store(Protocol):
    """Where buckets are kept, by keys that say all: the limit and the client."""

    def take(self, key: bytes, rate: Rate) -> bool:
        """Take a token, if there is one."""
        ...

    def put_back(self, key: bytes, rate: Rate) -> None:
        """A token that was not needed."""

    def look(self, key: bytes, rate: Rate) -> Left:
        """What is left; takes nothing."""
        ...


class Buckets:
    """Buckets of this process, the most recently asked ones.

    Full ones are forgotten, they are as good as new. With ``most`` that are not full the one that
    was not asked for the longest time is, as well.
    """

    def __init__(self, clock: Clock = time.monotonic_ns, most: int = MAX_BUCKETS) -> None:
        self._clock = clock
        self._most = most
        self._full_at: OrderedDict[bytes, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, key: bytes, rate: Rate) -> bool:
        now = self._clock()
        before = self._full_at.pop(key, 0)
        after = taken(before, now, rate)
        self._full_at[key] = before if after is None else after  # the last in the order
        self._forget(now)
        return after is not None

    def put_back(self, key: bytes, rate: Rate) -> None:
        if key in self._full_at:
            self._full_at[key] -= rate.interval

    def look(self, key: bytes, rate: Rate) -> Left:
        return left(self._full_at.get(key, 0), self._clock(), rate)

    def _forget(self, now: int) -> None:
        """At most one bucket comes with a request, so two at a time are enough."""
        for _ in range(2):
            oldest = next(iter(self._full_at))
            if self._full_at[oldest] > now and len(self._full_at) <= self._most:
                return
            del self._full_at[oldest]
