"""What the reports of all workers add up to: the totals since the start, and a point for each
second. Pure: the caller says which second it is.

A report has counters that only grow. A point is the difference of two of them; a worker that was
started again begins at zero, and takes nothing away.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterable, Sequence
from math import isnan, nan
from operator import add, sub
from typing import Any

from msgspec.structs import replace

from ...telemetry.parts import MessageCounts
from .counting import BOUNDS, DIGITS, OUTCOMES, times_of
from .failures import LastFailures
from .report import WorkerDetails, WorkerReport
from .state import RATE_SECONDS, RECENT_SECONDS, ChartSeries

MARK_INTERVAL = 15
"""Seconds between two copies of the counts of all endpoints: windows begin at a copy, so the last
minute has up to so much more."""

MAX_REPORT_AGE = 3
"""Seconds. A worker whose last report is older is not up."""

COUNTED = ("ok", "empty", "client_errors", "server_errors", "gone")
"""ChartSeries of outcomes, in their order."""
MESSAGES = MessageCounts._fields
TIMES = ("p50", "p99", "max")
GAUGES = ("in_flight", "lag")

NO_TIMES = (nan, nan, nan)


class EndpointTotals:
    """The responses of one endpoint since the start, of all workers. ``frozen``: a copy of the
    totals that is still right."""

    __slots__ = ("buckets", "frozen", "outcomes")

    def __init__(self) -> None:
        self.outcomes = [0] * OUTCOMES
        self.buckets = [0] * (len(BOUNDS) + 1)
        self.frozen: CountsMark | None = None

    def add(self, outcomes: Iterable[int], buckets: Iterable[int]) -> None:
        self.outcomes = [*map(add, self.outcomes, outcomes)]
        self.buckets = [*map(add, self.buckets, buckets)]
        self.frozen = None

    def mark(self) -> CountsMark:
        """The totals now. Equal ones are one object: an endpoint without requests costs nothing."""
        if self.frozen is None:
            self.frozen = CountsMark(self.outcomes, self.buckets)
        return self.frozen


class CountsMark:
    """The totals of an endpoint at one time."""

    __slots__ = ("buckets", "outcomes")

    def __init__(self, outcomes: Sequence[int], buckets: Sequence[int]) -> None:
        self.outcomes = tuple(outcomes)
        self.buckets = tuple(buckets)


NOTHING = CountsMark((0,) * OUTCOMES, (0,) * (len(BOUNDS) + 1))


class _Before:
    """The counters of the last report of one life of a worker."""

    __slots__ = ("buckets", "life", "messages", "outcomes", "second")

    def __init__(self, life: int, endpoints: int) -> None:
        self.life = life
        self.second = 0
        self.outcomes = [[*NOTHING.outcomes] for _ in range(endpoints)]
        self.buckets = [[*NOTHING.buckets] for _ in range(endpoints)]
        self.messages = MessageCounts()


class _Point:
    """The numbers of one second, until it is complete."""

    def __init__(self) -> None:
        self.outcomes: Sequence[int] = NOTHING.outcomes
        self.buckets: Sequence[int] = NOTHING.buckets
        self.messages: Sequence[int] = MessageCounts()


class GatewayHistory:
    """``endpoints``: how many counts a report has. ``length``: points that are kept. ``samples``:
    failures of each endpoint that are kept.

    ``last``: the second of the last point; 0: there is none. ``first``: that of the oldest one.
    ``past``: of the last seconds, and the workers that were up.
    """

    def __init__(self, endpoints: int, length: int, samples: int) -> None:
        self.length = length
        self.last = self.first = 0
        self.past: deque[tuple[int, list[WorkerReport]]] = deque(maxlen=RATE_SECONDS + 1)
        self.failures = LastFailures(samples)
        self.totals = [EndpointTotals() for _ in range(endpoints)]
        self._reports: dict[int, WorkerReport] = {}
        self._before: dict[int, _Before] = {}
        self._series = {
            name: array("f", bytes(4 * length)) for name in ChartSeries.__struct_fields__
        }
        # All endpoints of one second, then those of the next one: a second is cleared at once.
        self._recent = array("f", bytes(4 * endpoints * RECENT_SECONDS))
        self._nothing_recent = array("f", bytes(4 * endpoints))
        self._marks: deque[tuple[int, list[CountsMark]]] = deque(maxlen=length // MARK_INTERVAL + 2)

    # Once a second.

    def advance(self, second: int, own: WorkerReport, others: Sequence[WorkerReport] = ()) -> None:
        """Add a point. Without effect if there is one of that second."""
        if second <= self.last:
            return
        is_first = not self.last
        self._clear(second)
        if not self._marks or second - self._marks[-1][0] >= MARK_INTERVAL:
            self._marks.append((second - 1, [each.mark() for each in self.totals]))
        point = _Point()
        for report in (own, *others):
            # At the start of this process the others have counted for a long time already.
            self._add(report, None if is_first and report is not own else point)
        self.past.append((second, self.up))
        self._write(second, COUNTED, point.outcomes)
        self._write(second, MESSAGES, point.messages)
        self._write(second, TIMES, times_of(point.buckets) or NO_TIMES)
        lag = max((each.lag for each in self.up), default=0.0)
        self._write(second, GAUGES, (sum(each.in_flight for each in self.up), lag))

    def _clear(self, second: int) -> None:
        """Begin a second. Seconds for which there was no time are empty."""
        first_new = max(self.last + 1, second - self.length + 1) if self.last else second
        self.first = max(self.first or second, second - self.length + 1)
        for each in range(first_new, second):
            self._write(each, self._series, (0,) * len(self._series))
            self._write(each, (*TIMES, *GAUGES), (nan,) * (len(TIMES) + len(GAUGES)))
        for each in range(max(first_new, second - RECENT_SECONDS + 1), second + 1):
            start = self._recent_place(each)
            self._recent[start : start + len(self.totals)] = self._nothing_recent
        self.last = second

    def _recent_place(self, second: int) -> int:
        return second % RECENT_SECONDS * len(self.totals)

    def _add(self, report: WorkerReport, point: _Point | None) -> None:
        """Add what a worker has counted since its last report. ``point``: None: not of this
        second."""
        before = self._before.get(report.worker)
        if before is None or before.life != report.life:
            before = self._before[report.worker] = _Before(report.life, len(self.totals))
        self._reports[report.worker] = report
        if report.second <= before.second or len(report.outcomes) != len(self.totals):
            return  # no new report, or one of another configuration
        failures = (failure for when, failure in report.failures if when > before.second)
        self.failures.add(self.last, failures)
        before.second = report.second
        if report.outcomes != before.outcomes:
            self._add_responses(report, before, point)
        if point is not None:  # under Trio another thread counts: a number may be seen too early
            new = (max(0, each) for each in map(sub, report.messages, before.messages))
            point.messages = [*map(add, point.messages, new)]
        before.messages = report.messages

    def _add_responses(self, report: WorkerReport, before: _Before, point: _Point | None) -> None:
        place = self._recent_place(self.last)
        for number, outcomes in enumerate(report.outcomes):
            old = before.outcomes[number]
            if outcomes == old:
                continue
            buckets = report.buckets[number]
            added = [*map(sub, outcomes, old)]
            spread = [*map(sub, buckets, before.buckets[number])]
            # Copies: those of this process go on to grow.
            before.outcomes[number], before.buckets[number] = outcomes[:], buckets[:]
            self.totals[number].add(added, spread)
            if point is not None:
                self._recent[place + number] += sum(added)
                point.outcomes = [*map(add, point.outcomes, added)]
                point.buckets = [*map(add, point.buckets, spread)]

    def _write(self, second: int, names: Iterable[str], values: Sequence[float]) -> None:
        place = second % self.length
        for name, value in zip(names, values, strict=True):
            self._series[name][place] = value

    # What a page asks for.

    def put_details(self, worker: int, details: WorkerDetails) -> None:
        """Of the last report of a worker, which had none."""
        self._reports[worker] = replace(self._reports[worker], details=details)
        self.past[-1] = self.last, self.up

    def for_rates(self) -> tuple[int, list[WorkerReport]]:
        """The oldest second of the last ones whose reports have details, and these reports."""
        found = (each for each in self.past if all(report.details for report in each[1]))
        return next(found, (self.last, []))

    @property
    def up(self) -> list[WorkerReport]:
        """The last reports of the workers that are up, by their numbers."""
        return [each for each in self.workers if self.last - each.second <= MAX_REPORT_AGE]

    @property
    def workers(self) -> list[WorkerReport]:
        """The last report of each worker."""
        return [report for _, report in sorted(self._reports.items())]

    def after(self, since: int) -> range:
        """The seconds of the points after ``since``; all if ``since`` is not one of the points."""
        is_known = self.first <= since <= self.last
        return range(since + 1 if is_known else self.first, self.last + 1)

    def series(self, seconds: range) -> ChartSeries:
        """Of the 32 bits of a number only :data:`.counting.DIGITS` digits are meant."""
        places = [second % self.length for second in seconds]
        found: dict[str, list[Any]] = {
            name: [values[place] for place in places] for name, values in self._series.items()
        }
        for name in (*TIMES, *GAUGES):
            found[name] = [None if isnan(each) else round(each, DIGITS) for each in found[name]]
        return ChartSeries(**found)

    def recent(self, seconds: range) -> list[list[float]]:
        """Requests in each of the last ``seconds``, by endpoint."""
        wanted = seconds[-RECENT_SECONDS:]
        if not wanted:
            return [[] for _ in self.totals]
        return [*map(list, zip(*map(self._requests_of, wanted), strict=True))]

    def rates(self) -> Sequence[float]:
        """Requests in the last second, by endpoint."""
        return self._requests_of(self.last)

    def _requests_of(self, second: int) -> Sequence[float]:
        place = self._recent_place(second)
        return self._recent[place : place + len(self.totals)]

    def marks(self, seconds: int) -> list[CountsMark]:
        """The totals of each endpoint about so many seconds ago."""
        start = self._marks[0][1]
        for when, marks in self._marks:
            if when > self.last - seconds:
                break
            start = marks
        return start
