"""What is said about several runs of one candidate with one scenario. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from statistics import median

from msgspec import Struct

from .account import Account, together
from .document import GATEWAY, TAP, Document, Named, Run
from .load.histogram import curve

THROUGHPUT = ("closed", "agents", "direct")
LATENCY = ("open", "waiting", "recovery")

KEPT_UP = 0.97
"""Part of the offered rate that is achieved by who keeps up: the ends of a step are blurred."""

KNEE_TIMES, KNEE_MS = 10.0, 10.0
"""Beyond the knee p99 is more than so many times the lowest one, and so many ms."""

KNEE_MEDIAN_TIMES, KNEE_MEDIAN_MS = 3.0, 1.0
"""The same of the median, which stalls of the machine hardly move: most of the time is waiting."""


class Spread(Struct, frozen=True):
    """Of several repetitions."""

    least: float
    median: float
    most: float

    @property
    def noise(self) -> float:
        """Half of the way from least to most, as a part of the median."""
        return (self.most - self.least) / 2 / self.median if self.median else 0.0


class Latencies(Struct, frozen=True):
    """Milliseconds."""

    p50: Spread
    p90: Spread
    p99: Spread
    p999: Spread
    max: Spread


class Cell(Struct, frozen=True):
    """A candidate with a scenario. Only valid runs count; ``refused`` says why others do not.

    ``cpu``: microseconds per request where as many as possible were answered, else at a fixed
    rate; ``steady_cpu``: at the fixed rate. ``offered``, ``achieved``: requests a second while
    latency was measured. ``curve``: percentile and milliseconds of all valid runs together.
    ``gap``: the longest without a good answer, seconds (recovery). Ratios: times the floor, each
    repetition beside its own, which ran within seconds; what drifts on a machine is in both.
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
    account: Account | None
    failures: dict[int, int]
    refused: list[str]
    curve: list[tuple[float, float]]
    gap: Spread | None = None
    steady_cpu: Spread | None = None
    cpu_ratio: Spread | None = None
    steady_cpu_ratio: Spread | None = None
    p99_ratio: Spread | None = None

    @property
    def has_curve(self) -> bool:
        return len(self.curve) > 1


class SweepPoint(Struct, frozen=True):
    """A step of a sweep; milliseconds, medians over the repetitions."""

    offered: float
    achieved: float
    p50: float
    p99: float
    p999: float
    is_valid: bool


class Sweep(Struct, frozen=True):
    """``knee``: the highest rate that the candidate keeps up with; None when it is not seen.
    ``half``: what was measured at half of the knee of each repetition. ``beside``: what the
    broker takes there to confirm, beside a floor that answers as many requests."""

    scenario: str
    candidate: str
    points: list[SweepPoint]
    knee: float | None
    half: SweepPoint | None
    beside: SweepPoint | None


def cells(document: Document) -> list[Cell]:
    """In the order of scenarios and candidates."""
    floors = floors_of(document)
    return [
        cell
        for scenario in document.scenarios
        for candidate in document.candidates
        if (cell := _cell(document, scenario.name, candidate.name, floors)) is not None
    ]


def unmeasured(document: Document) -> list[tuple[str, str, str]]:
    """Scenario, candidate and mode of which every run was refused. Some steps of a sweep always
    are."""
    counts: dict[tuple[str, str, str], bool] = {}
    for run in document.runs:
        if run.mode not in ("sweep", "k6"):
            key = run.scenario, run.candidate, run.mode
            counts[key] = counts.get(key, False) or not run.refused
    return [key for key, is_counted in counts.items() if not is_counted]


def floors_of(document: Document) -> dict[tuple[str, str], str]:
    """By scenario and candidate, with whom that is compared; "" for nobody."""
    return {
        (scenario.name, candidate.name): candidate.floor and (scenario.floor or candidate.floor)
        for scenario in document.scenarios
        for candidate in document.candidates
    }


def _cell(
    document: Document, scenario: str, candidate: str, floors: dict[tuple[str, str], str]
) -> Cell | None:
    runs = _runs_of(document, scenario, candidate)
    if not runs:
        return None
    lives = [
        life for life in document.lives if (life.scenario, life.candidate) == (scenario, candidate)
    ]
    fast, steady = _fast(runs), _steady(runs)
    fastest = fast if any(run.mode in THROUGHPUT for run in runs) else steady
    beside = _runs_of(document, scenario, floors[scenario, candidate])
    broker = [run.broker_cpu for run in fastest if run.broker_cpu is not None]
    accounts = [life.account for life in lives if life.account is not None]
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
        account=together(accounts),
        failures=_failures(run for run in runs if run.mode != "sweep"),
        refused=[f"{run.mode}: {run.refused}" for run in runs if run.refused],
        curve=curve([run.histogram for run in steady]),
        gap=spread(run.longest_gap for run in steady if run.mode == "recovery"),
        steady_cpu=_cpu(steady),
        cpu_ratio=_ratio(fast, _fast(beside), _cpu_of),
        steady_cpu_ratio=_ratio(steady, _steady(beside), _cpu_of),
        p99_ratio=_ratio(steady, _steady(beside), _p99_of),
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
    runs: Sequence[Run], beside: Sequence[Run], figure: Callable[[Run], float]
) -> Spread | None:
    """``figure`` 0 is for not measured."""
    floors = {run.repetition: figure(run) for run in beside}
    return spread(
        figure(run) / floor for run in runs if (floor := floors.get(run.repetition)) and figure(run)
    )


def _cpu_of(run: Run) -> float:
    return run.cpu


def _p99_of(run: Run) -> float:
    return run.latency.p99 if run.latency is not None else 0.0


def _cpu(runs: Iterable[Run]) -> Spread | None:
    """0 is for not measured."""
    return spread(run.cpu for run in runs if run.cpu)


def spread(values: Iterable[float]) -> Spread | None:
    """None of no values."""
    each = list(values)
    return Spread(min(each), median(each), max(each)) if each else None


def _latencies(runs: Sequence[Run]) -> Latencies | None:
    seen = [run.latency for run in runs if run.latency is not None]
    if not seen:
        return None
    names = ("p50", "p90", "p99", "p999", "max")
    spreads = [spread(getattr(each, name) for each in seen) for name in names]
    return Latencies(*(each for each in spreads if each is not None))


def _failures(runs: Iterable[Run]) -> dict[int, int]:
    total: Counter[int] = Counter()
    for run in runs:
        total.update({s: n for s, n in run.statuses.items() if not 200 <= s < 300})
    return dict(total)


def sweeps(document: Document) -> list[Sweep]:
    return [
        sweep
        for scenario in document.scenarios
        for candidate in document.candidates
        if (sweep := _sweep(document, scenario.name, candidate)) is not None
    ]


def _sweep(document: Document, scenario: str, candidate: Named) -> Sweep | None:
    by_repetition: dict[int, list[Run]] = {}
    for run in document.runs:
        if (run.scenario, run.candidate, run.mode) == (scenario, candidate.name, "sweep"):
            by_repetition.setdefault(run.repetition, []).append(run)
    if not by_repetition:
        return None
    points = [point_of(steps) for steps in zip(*by_repetition.values(), strict=True)]
    half = _half(document, scenario, candidate.name)
    beside = _half(document, scenario, TAP) if candidate.name == GATEWAY else None
    return Sweep(scenario, candidate.name, points, knee_of(points), half, beside)


def _half(document: Document, scenario: str, candidate: str) -> SweepPoint | None:
    halves = [
        run
        for run in document.runs
        if (run.scenario, run.candidate, run.mode) == (scenario, candidate, "half")
    ]
    halves = [run for run in halves if not run.refused] or halves
    return point_of(halves) if halves else None


def point_of(steps: Sequence[Run]) -> SweepPoint:
    """The same step of several repetitions, one at least. What was refused counts only where
    most of them were."""
    is_valid = sum(not run.refused for run in steps) * 2 > len(steps)
    steps = [run for run in steps if not (is_valid and run.refused)]
    latencies = [run.latency for run in steps if run.latency is not None]
    return SweepPoint(
        offered=median(run.offered for run in steps),
        achieved=median(_good_rate(run) for run in steps),
        p50=median(each.p50 for each in latencies) if latencies else 0.0,
        p99=median(each.p99 for each in latencies) if latencies else 0.0,
        p999=median(each.p999 for each in latencies) if latencies else 0.0,
        is_valid=is_valid,
    )


def _good_rate(run: Run) -> float:
    """Of its answers, those that were asked for: who refuses work does not keep up with it."""
    answered = run.requests - run.statuses.get(0, 0)
    return run.rate * (run.requests - run.failures) / answered if answered else 0.0


def knee_of(points: Sequence[SweepPoint]) -> float | None:
    """The last rate before the first that was not kept up with. One step whose latency alone is
    beyond a bound is a stall, two in a row are not."""
    valid = [point for point in points if point.is_valid]
    if not valid:
        return None
    most_p50 = max(KNEE_MEDIAN_MS, KNEE_MEDIAN_TIMES * min(point.p50 for point in valid))
    most_p99 = max(KNEE_MS, KNEE_TIMES * min(point.p99 for point in valid))
    knee = None
    was_late = False
    for point in valid:
        is_late = point.p50 > most_p50 or point.p99 > most_p99
        if point.achieved < KEPT_UP * point.offered or (is_late and was_late):
            break
        if not is_late:
            knee = point.offered
        was_late = is_late
    return knee
