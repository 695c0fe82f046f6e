"""Token buckets. A bucket is one number: the time at which it is full again. Pure.

This number replaces the count of tokens and the time of the last refill (GCRA, ITU-T I.371). Whole
nanoseconds keep it exact: at most ``capacity + rate * t`` requests pass in any time t.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple, Protocol

SECOND = 1_000_000_000
MAX_TOKEN_INTERVAL = 10**18
"""Nanoseconds for one token (KrakenD's smallest rate: 1e-9)."""
MAX_REFILL_TIME = 2**62
"""Nanoseconds until an empty bucket is full: the time then fits into 64 bits."""

MAX_BUCKETS = 100_000
"""Buckets of one limit in the memory of this process. Each takes about 150 bytes."""

Clock = Callable[[], int]


class Rate(NamedTuple):
    """One token every ``interval`` ns; an empty bucket is full after ``depth`` ns."""

    interval: int
    depth: int


def rate_of(per_second: float, capacity: int) -> Rate | None:
    """None: there is no limit. ``capacity`` below 1: the tokens of one second, at least one."""
    if not per_second > 0:
        return None
    if capacity < 1:
        capacity = int(max(1.0, min(per_second, SECOND)))
    interval = max(1, math.ceil(min(SECOND / per_second, MAX_TOKEN_INTERVAL)))
    return Rate(interval, min(interval * capacity, MAX_REFILL_TIME))


def take_token(full_at: int, now: int, rate: Rate) -> int | None:
    """The time at which the bucket is full after one more token is taken; None: it is empty."""
    full_at = max(full_at, now) + rate.interval
    return full_at if full_at - now <= rate.depth else None


class BucketState(NamedTuple):
    """``limit``: tokens of a full bucket. ``remaining``: tokens that it has now. ``full_in``,
    ``next_in``: seconds, rounded up, until it is full, and until it has a token.
    """

    limit: int
    remaining: int
    full_in: int
    next_in: int


def bucket_state(full_at: int, now: int, rate: Rate) -> BucketState:
    """The state of a bucket that is full at ``full_at``."""
    missing = max(0, full_at - now)
    return BucketState(
        rate.depth // rate.interval,
        max(0, rate.depth - missing) // rate.interval,
        -(-missing // SECOND),
        -(-max(0, missing + rate.interval - rate.depth) // SECOND),
    )


class Store(Protocol):
    """Where buckets are stored. A key names the limit and the client."""

    def take(self, key: bytes, rate: Rate) -> bool:
        """Take a token; False: the bucket has none."""
        ...

    def put_back(self, key: bytes, rate: Rate) -> None:
        """Give a token back that was not used."""

    def state(self, key: bytes, rate: Rate) -> BucketState:
        """The state of the bucket; takes no token."""
        ...


class Buckets:
    """The buckets of one limit in the memory of this process.

    A full bucket is forgotten, because a new one is full too. Of more than ``max_buckets`` buckets
    the one that was not used for the longest time is forgotten as well.
    """

    def __init__(self, clock: Clock = time.monotonic_ns, max_buckets: int = MAX_BUCKETS) -> None:
        self._clock = clock
        self._max_buckets = max_buckets
        self._full_at: OrderedDict[bytes, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, key: bytes, rate: Rate) -> bool:
        now = self._clock()
        before = self._full_at.pop(key, 0)
        after = take_token(before, now, rate)
        self._full_at[key] = before if after is None else after  # the most recently used one
        self._forget(now)
        return after is not None

    def put_back(self, key: bytes, rate: Rate) -> None:
        if key in self._full_at:
            self._full_at[key] -= rate.interval

    def state(self, key: bytes, rate: Rate) -> BucketState:
        return bucket_state(self._full_at.get(key, 0), self._clock(), rate)

    def _forget(self, now: int) -> None:
        """A request adds at most one bucket, so two steps are enough to shrink again."""
        for _ in range(2):
            oldest = next(iter(self._full_at))
            if self._full_at[oldest] > now and len(self._full_at) <= self._max_buckets:
                return
            del self._full_at[oldest]
