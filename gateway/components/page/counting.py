"""Counts the responses of each endpoint, for the page: a few additions for each response.

The numbers are plain and only grow; what a second or a minute had is the difference of two readings
(``history.py``).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import NamedTuple

from ...config.structs import Endpoint
from ...core.counted import CountResponse
from ...core.observed import CLIENT_GONE

BUCKETS_PER_DECADE = 5
"""The bounds are 1, 1.6, 2.5, 4, 6.3, 10 ...: a percentile is at most 12 % away from the exact one
where the values of a bucket are spread evenly."""

BUCKET_GROWTH: float = 10 ** (1 / BUCKETS_PER_DECADE)

DIGITS = 6
"""Of seconds: microseconds."""

BOUNDS = tuple(round(10 ** (step / BUCKETS_PER_DECADE - 4), DIGITS) for step in range(31))
"""Upper bounds of the buckets, in seconds: from 0.1 ms to 100 s."""

OK, EMPTY, CLIENT_ERRORS, SERVER_ERRORS, GONE = range(5)
"""Places in the outcomes of an endpoint."""

OUTCOMES = 5
MAX_STATUS = 1000
NO_CONTENT = 204


def _outcome_of(status: int) -> int:
    if status == CLIENT_GONE:
        return GONE
    if status == NO_CONTENT:
        return EMPTY
    return SERVER_ERRORS if status >= 500 else CLIENT_ERRORS if status >= 400 else OK


OUTCOME_OF = tuple(map(_outcome_of, range(MAX_STATUS)))
"""By status: a look-up instead of up to four comparisons."""


class EndpointCounts:
    """The responses of one endpoint. ``outcomes``: how many of each outcome; ``buckets``: how many
    took so long: one more than :data:`BOUNDS`."""

    __slots__ = ("buckets", "outcomes")

    def __init__(self) -> None:
        self.outcomes = [0] * OUTCOMES
        self.buckets = [0] * (len(BOUNDS) + 1)

    def count(self, status: int, seconds: float) -> None:
        """A :data:`gateway.core.counted.CountResponse`."""
        self.outcomes[OUTCOME_OF[status]] += 1
        self.buckets[bisect_left(BOUNDS, seconds)] += 1


class EndpointCounters:
    """The counts of all endpoints, in their order, and last those of requests that no endpoint has
    got. A :class:`gateway.core.counted.ResponseCounter`."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        self._by_name = {(each.method, each.endpoint): EndpointCounts() for each in endpoints}
        self.unmatched = EndpointCounts()
        self.all = [*self._by_name.values(), self.unmatched]

    def counter_of(self, endpoint: Endpoint) -> CountResponse:
        return self._by_name[endpoint.method, endpoint.endpoint].count

    def count_unmatched(self, status: int) -> None:
        """They have no time: nothing had to be waited for."""
        self.unmatched.outcomes[OUTCOME_OF[status]] += 1


class ResponseTimes(NamedTuple):
    """Seconds. ``max``: the upper bound of the highest bucket that has a value."""

    p50: float
    p99: float
    max: float


def times_of(buckets: Sequence[int]) -> ResponseTimes | None:
    """None: there is no response."""
    until = [*accumulate(buckets)]
    count = until[-1]
    if not count:
        return None

    def percentile(share: float) -> float:
        rank = share * count
        number = bisect_left(until, rank)
        below = until[number] - buckets[number]
        return _within(number, (rank - below) / buckets[number])

    highest = BOUNDS[min(bisect_left(until, count), len(BOUNDS) - 1)]
    return ResponseTimes(percentile(0.5), percentile(0.99), highest)


def _within(number: int, share: float) -> float:
    """A value in a bucket, on a logarithmic scale: so are the bounds."""
    if number >= len(BOUNDS):
        return BOUNDS[-1]
    factor: float = BUCKET_GROWTH ** (share - 1)
    return round(BOUNDS[number] * factor, DIGITS)
