"""Latency by rate, and the saturation point: the highest rate that a candidate sustains.

Pure functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from msgspec import Struct

from .document import GATEWAY, RAW_AMQP, Document, Named, Run

SUSTAINED = 0.97
"""A rate is sustained when at least this part of it is achieved: the last responses of a step may
come after its end."""

SATURATED_P99_TIMES, SATURATED_P99_MS = 10.0, 10.0
"""Above the saturation point p99 is more than this many times the lowest p99, and this many ms."""

SATURATED_P50_TIMES, SATURATED_P50_MS = 3.0, 1.0
"""The same for the median, which short stalls of the machine hardly change."""


class SweepPoint(Struct, frozen=True):
    """A step of a sweep; milliseconds, medians over the repetitions."""

    offered: float
    achieved: float
    p50: float
    p99: float
    p999: float
    is_valid: bool


class Sweep(Struct, frozen=True):
    """``saturation_point``: the highest rate that the candidate sustains; None when there is none.
    ``requests``: count of those in the valid steps.

    ``half``: the measurement at half of the saturation point of each repetition. ``confirm``: the
    broker's time to confirm at that rate, while the baseline responds to as many requests."""

    scenario: str
    candidate: str
    points: list[SweepPoint]
    saturation_point: float | None
    half: SweepPoint | None
    confirm: SweepPoint | None
    requests: int


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
    confirm = _half(document, scenario, RAW_AMQP) if candidate.name == GATEWAY else None
    steps = [run for runs in by_repetition.values() for run in runs]
    return Sweep(
        scenario,
        candidate.name,
        points,
        saturation_point_of(points),
        half,
        confirm,
        requests=sum(run.requests for run in steps if not run.refused),
    )


def _half(document: Document, scenario: str, candidate: str) -> SweepPoint | None:
    halves = [
        run
        for run in document.runs
        if (run.scenario, run.candidate, run.mode) == (scenario, candidate, "half")
    ]
    halves = [run for run in halves if not run.refused] or halves
    return point_of(halves) if halves else None


def point_of(steps: Sequence[Run]) -> SweepPoint:
    """The same step of several repetitions, at least one. Refused runs are left out, unless most of
    them were refused."""
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
    """Successful responses a second. A candidate that rejects requests does not sustain a rate."""
    responded = run.requests - run.statuses.get(0, 0)
    return run.rate * (run.requests - run.failures) / responded if responded else 0.0


def saturation_point_of(points: Sequence[SweepPoint]) -> float | None:
    """The last rate before the first that is not sustained. A single step whose latency is above a
    limit is a stall of the machine; two in a row are not."""
    valid = [point for point in points if point.is_valid]
    if not valid:
        return None
    most_p50 = max(SATURATED_P50_MS, SATURATED_P50_TIMES * min(point.p50 for point in valid))
    most_p99 = max(SATURATED_P99_MS, SATURATED_P99_TIMES * min(point.p99 for point in valid))
    saturation_point = None
    was_late = False
    for point in valid:
        is_late = point.p50 > most_p50 or point.p99 > most_p99
        if point.achieved < SUSTAINED * point.offered or (is_late and was_late):
            break
        if not is_late:
            saturation_point = point.offered
        was_late = is_late
    return saturation_point
