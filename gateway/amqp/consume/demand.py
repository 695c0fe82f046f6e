"""How many messages the requests of a queue need: the decisions about the prefetch. Pure.

``prefetch_count`` is only the upper bound. A message in the buffer of a gateway that gets no
request is missing elsewhere: other replicas do not get it. And a quorum queue of RabbitMQ 4.0 to
4.2 counts its return, and deletes it after 20.
"""

from __future__ import annotations

from collections import deque
from math import ceil, inf
from typing import NamedTuple

RARE_INTERVAL = 1.0
"""Seconds. With at most one request in this time, requests are rare: each gets exactly one message,
and no message is fetched in advance."""

COUNTED_TIME = 2.0
"""Seconds. A prefetch of more than twice the requests of this time is too large."""

COVERED_PAUSE = 0.2
"""Seconds. RabbitMQ 3.10 under load delivers nothing for 40 to 190 ms, about once a second. A
buffer with the messages for this time hides that (docs/performance.md)."""

MIN_RATE_TIME = 0.25
"""Seconds. The requests of a shorter time are no rate: they may be a single burst."""

MARK_INTERVAL = 0.02
"""Seconds between two counts that are remembered, at least."""

MAX_MOMENT = 0.1
"""Seconds. Messages that were settled in this time may say how soon others are settled."""


class Mark(NamedTuple):
    """The numbers at one time: of all requests, and of all settled messages."""

    time: float
    requests: int
    settled: int


class Demand:
    """Counts the requests of one queue in the last seconds.

    ``time``: seconds of any monotonic clock. ``count``: the number of all requests until then.
    """

    def __init__(self, time: float, count: int) -> None:
        self.last_request_at = time
        self._now = Mark(time, count, 0)
        self._marks = deque([self._now])
        self._short_at = -inf

    def note(self, time: float, count: int, waiting: int, settled: int) -> None:
        """Set the present numbers. ``waiting``: requests that wait for a message. ``settled``: all
        settled messages."""
        if waiting or count != self._now.requests:
            self.last_request_at = time
        marks = self._marks
        if time - marks[-1].time >= MARK_INTERVAL and self._now is not marks[-1]:
            marks.append(self._now)
        self._now = Mark(time, count, settled)
        while len(marks) > 1 and marks[1].time <= time - COUNTED_TIME:
            marks.popleft()

    def is_rare(self, time: float, count: int) -> bool:
        """Whether there was at most one request in the last second."""
        return count - self._mark(time - RARE_INTERVAL).requests <= 1

    def are_settled_soon(self, unsettled: int) -> bool:
        """Whether as many messages were settled in the last moments: then these are too, soon."""
        now, mark = self._now, self._mark(self._now.time - MARK_INTERVAL)
        return now.time - mark.time < MAX_MOMENT and now.settled - mark.settled >= unsettled

    def larger_prefetch(self, prefetch: int, waiting: int) -> int:
        """The next prefetch when all of ``prefetch`` is in use, and ``waiting`` requests still wait
        for a message."""
        self._short_at = self._now.time
        return max(2 * prefetch, prefetch + waiting, self._covering_prefetch)

    def later_prefetch(self, prefetch: int) -> int:
        """The next prefetch when no request waits: larger only if requests have waited in the last
        second, because their rate was not known then."""
        if self._now.time - self._short_at > RARE_INTERVAL:
            return prefetch
        return max(prefetch, self._covering_prefetch)

    @property
    def _covering_prefetch(self) -> int:
        """The messages for :data:`COVERED_PAUSE`."""
        now = self._now
        return ceil(
            COVERED_PAUSE
            * max(
                (now.requests - mark.requests) / max(MIN_RATE_TIME, now.time - mark.time)
                for mark in self._marks
            )
        )

    def smaller_prefetch(self, prefetch: int, in_use: int) -> int:
        """The next prefetch; ``prefetch`` itself unless it is far too large, or requests are rare.

        ``in_use``: requests that hold a message or wait for one.
        """
        now = self._now
        if self.is_rare(now.time, now.requests):
            return min(prefetch, max(1, in_use))
        needed = max(1, in_use, now.requests - self._mark(now.time - COUNTED_TIME).requests)
        return needed if prefetch > 2 * needed else prefetch

    def _mark(self, time: float) -> Mark:
        """The last mark that is not after ``time``; the first one if all are after it."""
        chosen = self._marks[0]
        for mark in self._marks:
            if mark.time > time:
                break
            chosen = mark
        return chosen
