"""Medians and ratios of several runs of one candidate with one scenario. Pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from statistics import median

from msgspec import Struct

from .accounting import Accounting, combined
from .document import Document, Run
from .load.histogram import curve
from .load.validity import failures

THROUGHPUT = ("closed", "agents", "direct")
LATENCY = ("open", "waiting", "recovery")


class Spread(Struct, frozen=True):
    """The lowest, median and highest value of several repetitions."""

    low: float
    median: float
    high: float

    @property
    def noise(self) -> float:
        """Half of the range, as a part of the median."""
        return (self.high - self.low) / 2 / self.median if self.median else 0.0


class Latencies(Struct, frozen=True):
    """Milliseconds."""

    p50: Spread
    p90: Spread
    p99: Spread
    p999: Spread
    max: Spread


class Cell(Struct, frozen=True):
    """A candidate with a scenario. Only valid runs are included; ``refused`` has the reasons of the
    others.

    - ``cpu``: microseconds per request at maximum throughput; at a fixed rate for scenarios that
      have no such run. ``steady_cpu``: at the fixed rate.
    - ``offered``, ``achieved``: requests a second while latency was measured.
    - ``curve``: percentile and milliseconds of all valid runs together.
    - ``statuses``: count of responses by status, of refused runs too; 0 for no response.
    - ``requests``: count at maximum throughput. ``steady_requests``: at the fixed rate.
    - ``gap``: the longest time without a successful response, seconds (recovery).
    - Ratios: multiples of the baseline. Each repetition is compared with the baseline of the same
      repetition, so that a change of the machine is in both.
    """

    scenario: str
    candidate: str
    rate: Spread | None
    cpu: Spread | None
    offered: float
    achieved: float
    latency: Latencies | None
    broker_cpu: Spread | None
    resident: int
    start: Spread | None
    accounting: Accounting | None
    statuses: dict[int, int]
    refused: list[str]
    curve: list[tuple[float, float]]
    requests: int = 0
    steady_requests: int = 0
    gap: Spread | None = None
    steady_cpu: Spread | None = None
    cpu_ratio: Spread | None = None
    steady_cpu_ratio: Spread | None = None
    p99_ratio: Spread | None = None

    @property
    def failures(self) -> int:
        """How many requests have no 2xx response."""
        return failures(self.statuses)

    @property
    def has_curve(self) -> bool:
        return len(self.curve) > 1


def cells(document: Document) -> list[Cell]:
    """In the order of scenarios and candidates."""
    baselines = baselines_of(document)
    return [
        cell
        for scenario in document.scenarios
        for candidate in document.candidates
        if (cell := _cell(document, scenario.name, candidate.name, baselines)) is not None
    ]


def unmeasured(document: Document) -> list[tuple[str, str, str]]:
    """Scenario, candidate and mode for which every run was refused; without sweeps, of which some
    steps always are."""
    counts: dict[tuple[str, str, str], bool] = {}
    for run in document.runs:
        if run.mode not in ("sweep", "k6"):
            key = run.scenario, run.candidate, run.mode
            counts[key] = counts.get(key, False) or not run.refused
    return [key for key, is_counted in counts.items() if not is_counted]


def baselines_of(document: Document) -> dict[tuple[str, str], str]:
    """By scenario and candidate: the baseline of that candidate; "" for none."""
    return {
        (scenario.name, candidate.name): candidate.baseline
        and (scenario.baseline or candidate.baseline)
        for scenario in document.scenarios
        for candidate in document.candidates
    }


def _cell(
    document: Document, scenario: str, candidate: str, baselines: dict[tuple[str, str], str]
) -> Cell | None:
    runs = _runs_of(document, scenario, candidate)
    if not runs:
        return None
    lives = [
        life for life in document.lives if (life.scenario, life.candidate) == (scenario, candidate)
    ]
    fast, steady = _fast(runs), _steady(runs)
    fastest = fast if any(run.mode in THROUGHPUT for run in runs) else steady
    baseline = _runs_of(document, scenario, baselines[scenario, candidate])
    broker = [run.broker_cpu for run in fastest if run.broker_cpu is not None]
    accountings = [life.accounting for life in lives if life.accounting is not None]
    return Cell(
        scenario=scenario,
        candidate=candidate,
        rate=spread(run.rate for run in fast),
        cpu=_cpu(fastest),
        offered=median(run.offered for run in steady) if steady else 0.0,
        achieved=median(run.rate for run in steady) if steady else 0.0,
        latency=_latencies(steady),
        broker_cpu=spread(broker),
        resident=max(run.resident for run in runs),
        start=spread(life.start for life in lives),
        accounting=combined(accountings),
        statuses=_statuses(run for run in runs if run.mode != "sweep"),
        refused=[f"{run.mode}: {run.refused}" for run in runs if run.refused],
        curve=curve([run.histogram for run in steady]),
        requests=sum(run.requests for run in fast),
        steady_requests=sum(run.requests for run in steady),
        gap=spread(run.longest_gap for run in steady if run.mode == "recovery"),
        steady_cpu=_cpu(steady),
        cpu_ratio=_ratio(fast, _fast(baseline), _cpu_of),
        steady_cpu_ratio=_ratio(steady, _steady(baseline), _cpu_of),
        p99_ratio=_ratio(steady, _steady(baseline), _p99_of),
    )


def _runs_of(document: Document, scenario: str, candidate: str) -> list[Run]:
    return [
        run
        for run in document.runs
        if (run.scenario, run.candidate) == (scenario, candidate) and run.mode != "k6"
    ]


def _fast(runs: Sequence[Run]) -> list[Run]:
    return [run for run in runs if run.mode in THROUGHPUT and not run.refused]


def _steady(runs: Sequence[Run]) -> list[Run]:
    return [run for run in runs if run.mode in LATENCY and not run.refused]


def _ratio(
    runs: Sequence[Run], baseline: Sequence[Run], figure: Callable[[Run], float]
) -> Spread | None:
    """A ``figure`` of 0 was not measured."""
    baselines = {run.repetition: figure(run) for run in baseline}
    return spread(
        figure(run) / other
        for run in runs
        if (other := baselines.get(run.repetition)) and figure(run)
    )


def _cpu_of(run: Run) -> float:
    return run.cpu


def _p99_of(run: Run) -> float:
    return run.latency.p99 if run.latency is not None else 0.0


def _cpu(runs: Iterable[Run]) -> Spread | None:
    """A value of 0 was not measured."""
    return spread(run.cpu for run in runs if run.cpu)


def spread(values: Iterable[float]) -> Spread | None:
    """None when there are no values."""
    each = list(values)
    return Spread(min(each), median(each), max(each)) if each else None


def _latencies(runs: Sequence[Run]) -> Latencies | None:
    seen = [run.latency for run in runs if run.latency is not None]
    if not seen:
        return None
    names = ("p50", "p90", "p99", "p999", "max")
    spreads = [spread(getattr(each, name) for each in seen) for name in names]
    return Latencies(*(each for each in spreads if each is not None))


def _statuses(runs: Iterable[Run]) -> dict[int, int]:
    total: Counter[int] = Counter()
    for run in runs:
        total.update(run.statuses)
    return dict(total)
