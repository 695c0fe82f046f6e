"""Counts the responses of each endpoint, for the page: a few additions for each response.

The numbers are plain and only grow; what a second or a minute had is the difference of two readings
(``history.py``).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from math import sqrt

from ...config.structs import Endpoint
from ...core.asgi import Scope
from ...core.observed import CLIENT_GONE, FOUND, Report

BUCKETS_PER_DECADE = 5
"""The bounds are 1, 1.6, 2.5, 4, 6.3, 10 ...: a percentile is at most 12 % away from the exact one
where the values of a bucket are spread evenly."""

BOUNDS = tuple(round(10 ** (step / BUCKETS_PER_DECADE - 4), 9) for step in range(31))
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

    def report(self, status: int, size: int, seconds: float) -> None:
        """A :data:`gateway.core.observed.Report`."""
        self.outcomes[OUTCOME_OF[status]] += 1
        self.buckets[bisect_left(BOUNDS, seconds)] += 1


class ResponseCounts:
    """The counts of all endpoints, in their order, and last those of requests that have none."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        keys = [(each.method, each.endpoint) for each in endpoints]
        self.all = [EndpointCounts() for _ in (*keys, None)]
        self._unmatched = self.all[-1].report
        self._reports: dict[tuple[str, str], Report] = {
            key: counts.report for key, counts in zip(keys, self.all, strict=False)
        }

    def observe(self, scope: Scope) -> Report:
        """A :data:`gateway.core.observed.Observer`."""
        found = scope[FOUND]
        if found:
            return self._report_of(scope["method"], found[0])

        def report(status: int, size: int, seconds: float) -> None:
            path = found[0] if found else ""
            self._report_of(scope["method"], path)(status, size, seconds)

        return report

    def _report_of(self, method: str, path: str) -> Report:
        return self._reports.get((method, path), self._unmatched)


def percentile(buckets: Sequence[int], share: float) -> float | None:
    """The value below which ``share`` of the values are, in seconds; None: there is no value."""
    count = sum(buckets)
    if not count:
        return None
    rank, below = share * count, 0
    for number, each in enumerate(buckets):
        if each and below + each >= rank:
            return _within(number, (rank - below) / each)
        below += each
    return BOUNDS[-1]


def _within(number: int, share: float) -> float:
    """A value in a bucket, on a logarithmic scale: so are the bounds."""
    if number >= len(BOUNDS):
        return BOUNDS[-1]
    upper = BOUNDS[number]
    lower = BOUNDS[number - 1] if number else upper / sqrt(BOUNDS[1] / BOUNDS[0])
    return float(lower * (upper / lower) ** share)


def highest(buckets: Sequence[int]) -> float | None:
    """The upper bound of the highest bucket that has a value."""
    for number in range(len(buckets) - 1, -1, -1):
        if buckets[number]:
            return BOUNDS[min(number, len(BOUNDS) - 1)]
    return None
