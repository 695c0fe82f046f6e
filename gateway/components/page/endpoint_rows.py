"""The rows of endpoints. Pure.

A row is made again only if its endpoint had a response, or if one is older than its window now:
with 100 endpoints of which few are used that is most of the work.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import sub
from typing import TypeAlias

import msgspec
from msgspec import Raw

from ...config.structs import Endpoint
from ...core.component import Catalog
from ...core.failures import name_of
from .counting import times_of
from .history import CountsMark, GatewayHistory
from .pipes import pipe_of
from .state import RECENT_SECONDS, EndpointState, Outcomes, PipeState

Marks: TypeAlias = tuple[CountsMark, CountsMark, CountsMark]
"""The totals of an endpoint now, a minute ago, and at the beginning of the history."""

NO_PIPE = PipeState((), (), "single", ())


class EndpointRows:
    """One for each endpoint, and the last one for requests that have none."""

    def __init__(
        self, endpoints: Iterable[Endpoint], catalog: Catalog, history: GatewayHistory
    ) -> None:
        self._history = history
        self._names = [
            (name_of(each), each.method, each.endpoint, pipe_of(each, catalog))
            for each in endpoints
        ]
        self._names.append(("", "", "", NO_PIPE))
        self._pipes = [Raw(msgspec.json.encode(pipe)) for *_, pipe in self._names]
        self._made: dict[int, tuple[Marks, EndpointState]] = {}

    def rows(self, seconds: range) -> list[EndpointState]:
        """With the requests of ``seconds``. They are good until the next call."""
        history = self._history
        now = [each.mark() for each in history.totals]
        minute, whole = history.marks(RECENT_SECONDS), history.marks(history.length)
        for number, marks in enumerate(zip(now, minute, whole, strict=True)):
            made = self._made.get(number)
            if made is None or made[0] != marks:
                self._made[number] = marks, self._row(number, *marks)
        rows = [self._made[number][1] for number in range(len(now))]
        for row, recent, rate in zip(rows, history.recent(seconds), history.rates(), strict=True):
            row.recent, row.rate = recent, rate
        return rows

    def _row(
        self, number: int, now: CountsMark, minute: CountsMark, whole: CountsMark
    ) -> EndpointState:
        name, method, path, _ = self._names[number]
        spread = [*map(sub, now.buckets, minute.buckets)]
        times = times_of(spread)
        return EndpointState(
            id=name,
            method=method,
            path=path,
            rate=0,
            recent=[],
            total=Outcomes(*now.outcomes),
            minute=Outcomes(*map(sub, now.outcomes, minute.outcomes)),
            p50=times and times.p50,
            p99=times and times.p99,
            max=times and times.max,
            counts=[] if now is whole else [*map(sub, now.buckets, whole.buckets)],
            pipe=self._pipes[number],
        )
