"""Numbers of a period of time, which begin at zero in the next one.

No timer runs: a caller that adds a number or reads it says in which period that is. Nothing here
knows where the numbers are shown.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from math import expm1, log, log1p, sqrt
from time import perf_counter

from msgspec import Struct

BUCKET_GROWTH = 1.04
"""How much larger each bucket's bound is than the one before: a percentile that is read of the
buckets is at most 2 % away from the exact one."""

_BUCKETS_PER_E = 1 / log(BUCKET_GROWTH)


class Periods:
    """Time, divided in periods of ``seconds``. Their numbers begin with 0."""

    def __init__(self, seconds: float, clock: Callable[[], float] = perf_counter) -> None:
        self.clock = clock
        self._seconds = seconds
        self._start = clock()

    def at(self, time: float) -> int:
        """The number of the period; ``time``: what ``clock`` has returned."""
        return int((time - self._start) / self._seconds)

    def now(self) -> int:
        return self.at(self.clock())


class Distribution:
    """The values of one period, in buckets; none is negative.

    About 1,000 buckets are enough for any duration in nanoseconds, and only those that have values
    use memory. ``past``: how many values there were in the periods before.
    """

    __slots__ = ("buckets", "largest", "past", "period", "smallest", "squares", "sum")

    def __init__(self) -> None:
        self.period = self.past = 0
        self._clear()

    def _clear(self) -> None:
        self.buckets: dict[int, int] = {}
        self.sum = self.squares = self.largest = 0.0
        self.smallest = float("inf")

    def add(self, value: float, period: int) -> None:
        if period != self.period:
            self.past += sum(self.buckets.values())
            self.period = period
            self._clear()
        self.sum += value
        self.squares += value * value
        if value < self.smallest:
            self.smallest = value
        if value > self.largest:
            self.largest = value
        bucket = int(log1p(value) * _BUCKETS_PER_E)
        buckets = self.buckets
        buckets[bucket] = buckets.get(bucket, 0) + 1

    @property
    def total(self) -> int:
        """How many values there were in all periods."""
        return self.past + sum(self.buckets.values())


class DistributionSummary(Struct, frozen=True):
    """The values of several distributions in one period. All zero if there was none."""

    count: int = 0
    smallest: float = 0
    largest: float = 0
    mean: float = 0
    deviation: float = 0
    """The standard deviation."""
    percentiles: tuple[float, ...] = ()
    """Those that were asked for, in that order."""


def summary(
    distributions: Iterable[Distribution], period: int, shares: Sequence[float]
) -> DistributionSummary:
    """``shares``: of the percentiles: 0.5 for the median."""
    present = [each for each in distributions if each.period == period and each.buckets]
    if not present:
        return DistributionSummary(percentiles=(0,) * len(shares))
    buckets: Counter[int] = Counter()
    for each in present:
        buckets.update(each.buckets)
    count = buckets.total()
    smallest = min(each.smallest for each in present)
    largest = max(each.largest for each in present)
    numbers = sorted(buckets)
    counts = [*accumulate(buckets[number] for number in numbers)]

    def value(rank: int) -> float:
        """The value of that rank from 1 on: the smallest and the largest one are known exactly."""
        if rank >= count:
            return largest
        middle = expm1((numbers[bisect_left(counts, rank)] + 0.5) / _BUCKETS_PER_E)
        return smallest if rank <= 1 else min(max(middle, smallest), largest)

    def percentile(share: float) -> float:
        """Between two values, as KrakenD takes it (rcrowley/go-metrics, SamplePercentiles)."""
        position = share * (count + 1)
        rank = int(position)
        below = value(rank)
        return below + (position - rank) * (value(rank + 1) - below)

    mean = sum(each.sum for each in present) / count
    variance = sum(each.squares for each in present) / count - mean * mean
    return DistributionSummary(
        count,
        smallest,
        largest,
        mean,
        sqrt(max(variance, 0)),
        tuple(percentile(share) for share in shares),
    )


class PeriodCount:
    """A count for each period."""

    def __init__(self) -> None:
        self._period = self._count = self._last = self._before = 0

    def add(self, period: int) -> None:
        if period != self._period:
            self._enter(period)
        self._count += 1

    def read(self, period: int) -> tuple[int, int, int]:
        """The count of this period, of the last one, and of all before this one."""
        if period != self._period:
            self._enter(period)
        return self._count, self._last, self._before

    def _enter(self, period: int) -> None:
        self._last = self._count if period == self._period + 1 else 0
        self._before += self._count
        self._period, self._count = period, 0
