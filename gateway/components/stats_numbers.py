"""The numbers of ``/__stats``: how they are counted, and their names (krakend-metrics)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from time import perf_counter
from typing import Literal, TypeAlias

import msgspec

from ..core.observed import Observation
from ..core.proxy import Part, Request
from ..telemetry.periods import Distribution, PeriodCount, Periods, summary
from .otel.meter import CallOutcome, outcome_of

NANOSECONDS = 1e9
"""Of a second: the unit of durations."""
PERCENTILES = {"50": 0.5, "75": 0.75, "95": 0.95, "99": 0.99, "999": 0.999}
"""Name and share. (rcrowley/go-metrics, exp)"""
SHARES = tuple(PERCENTILES.values())
SUFFIXES = (
    *(f"{name}-percentile" for name in PERCENTILES),
    *("count", "max", "mean", "min", "std-dev"),
)
"""The ends of the keys of a distribution, sorted."""
OUTCOMES = [(complete, error) for complete in (False, True) for error in (False, True)]
"""Each ``complete`` with each ``error``."""

LayerName: TypeAlias = Literal["pipe", "backend"]
"""A pipe is an endpoint or an agent."""

_PLACEHOLDER = re.compile(r"\{([^{}]+)\}")


def backend_name(url_pattern: str) -> str:
    """A path of a backend as KrakenD has it inside: ``/users/{id}`` is ``/users/{{.Id}}``. Without
    the query string: it may be a secret, and KrakenD would show it."""
    path = url_pattern.partition("?")[0]
    name = _PLACEHOLDER.sub(lambda found: f"{{{{.{found[1][0].upper()}{found[1][1:]}}}}}", path)
    return name if name.startswith("/") else f"/{name}"


class ResponseStats:
    """The responses of the endpoints that have one path."""

    def __init__(self, periods: Periods, closed: PeriodCount) -> None:
        self.seconds, self.sizes = Distribution(), Distribution()
        self.statuses: dict[int, int] = {}
        self._periods = periods
        self._closed = closed

    def report(self, status: int, size: int, seconds: float, seen: Observation) -> None:
        """A :data:`gateway.core.observed.Report`."""
        period = self._periods.now()
        self._closed.add(period)
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self.sizes.add(size, period)
        self.seconds.add(seconds * NANOSECONDS, period)


class CallStats:
    """The requests to one endpoint, agent or backend, or to an endpoint and its only backend."""

    def __init__(self, periods: Periods) -> None:
        self.clock = periods.clock
        self._period_at = periods.at
        self._distributions: dict[CallOutcome, Distribution] = {}

    def observe(self, request: Request, part: Part | None, seconds: float) -> None:
        """A :data:`gateway.core.observed_parts.ObservePart`."""
        outcome = outcome_of(request, part)
        distribution = self._distributions.get(outcome)
        if distribution is None:
            distribution = self._distributions[outcome] = Distribution()
        distribution.add(seconds * NANOSECONDS, self._period_at(self.clock()))

    def having(self, *, complete: bool, error: bool) -> Iterator[Distribution]:
        """KrakenD counts a request whose client has gone as an error."""
        for outcome, distribution in self._distributions.copy().items():
            has_error = outcome.error or outcome.canceled
            if (outcome.complete, has_error) == (complete, error):
                yield distribution


class Stats:
    """All numbers of a gateway. ``collection_time``: seconds of a period."""

    def __init__(self, collection_time: float, clock: Callable[[], float] = perf_counter) -> None:
        self._periods = Periods(collection_time, clock)
        self._closed = PeriodCount()
        self._responses: dict[str, ResponseStats] = {}
        self._calls: dict[tuple[LayerName, str], list[CallStats]] = {}

    def responses_of(self, route: str) -> ResponseStats:
        """``route``: ``/users/:id``."""
        if route not in self._responses:
            self._responses[route] = ResponseStats(self._periods, self._closed)
        return self._responses[route]

    def calls_of(self, *names: tuple[LayerName, str]) -> CallStats:
        """Numbers of one pipe, of one branch, or of both. All numbers of a name are added up when
        they are read."""
        calls = CallStats(self._periods)
        for name in names:
            self._calls.setdefault(name, []).append(calls)
        return calls

    def text(self) -> bytes:
        """One JSON object, with a line for each key, sorted, as Go's expvar writes it."""
        lines = ",\n".join(text for _, text in sorted(self._lines()))
        return f"{{\n{lines}\n}}\n".encode()

    def _lines(self) -> Iterator[tuple[str, str]]:
        """Keys and their lines. The lines of a distribution are one text, whose key is the first:
        no other key sorts between them."""
        period = self._periods.now()
        now, last, before = self._closed.read(period)
        for name in ("connected", "disconnected"):
            yield _line(f"krakend.router.{name}", now)
            yield _line(f"krakend.router.{name}-gauge", last)
            yield _line(f"krakend.router.{name}-total", before)
        for route, responses in self._responses.items():
            key = f"krakend.router.response.{route}"
            yield _line(f"{key}.status", 0)
            for status, count in responses.statuses.copy().items():
                yield _line(f"{key}.status.{status}.count", count)
            yield _distribution_lines(f"{key}.size", (responses.sizes,), period)
            yield _distribution_lines(f"{key}.time", (responses.seconds,), period)
        for (layer, name), parts in self._calls.items():
            yield from _call_lines(f"layer.{layer}.name.{name}", parts, period)


def _call_lines(key: str, parts: Iterable[CallStats], period: int) -> Iterator[tuple[str, str]]:
    for complete, error in OUTCOMES:
        found = [each for part in parts for each in part.having(complete=complete, error=error)]
        outcome = f"{key}.complete.{_bool(complete)}.error.{_bool(error)}"
        count = sum(each.total for each in found)
        yield _line(f"krakend.proxy.requests.{outcome}", count)
        yield _distribution_lines(f"krakend.proxy.latency.{outcome}", found, period)


def _line(key: str, value: int) -> tuple[str, str]:
    return key, f"{_quoted(key)}: {value}"


def _distribution_lines(
    key: str, distributions: Iterable[Distribution], period: int
) -> tuple[str, str]:
    values = summary(distributions, period, SHARES)
    start = _quoted(key)[:-1]
    numbers = (
        *values.percentiles,
        values.count,
        values.largest,
        values.mean,
        values.smallest,
        values.deviation,
    )
    pairs = zip(SUFFIXES, map(_number, numbers), strict=True)
    return f"{key}.", ",\n".join(f'{start}.{suffix}": {number}' for suffix, number in pairs)


def _number(value: float) -> int | float:
    """With one digit after the point: a nanosecond needs no more."""
    rounded = round(value, 1)
    return int(rounded) if rounded == int(rounded) else rounded


def _bool(value: bool) -> str:
    return "true" if value else "false"


def _quoted(text: str) -> str:
    return msgspec.json.encode(text).decode()
