"""Reports of workers, made by hand."""

from __future__ import annotations

from gateway.components.page.counting import BOUNDS, EndpointCounts
from gateway.components.page.failures import Failure
from gateway.components.page.report import OtherResource, WorkerReport
from gateway.telemetry.parts import StatePart


def counts(*responses: tuple[int, float]) -> EndpointCounts:
    """Status and seconds of each response."""
    counted = EndpointCounts()
    for status, seconds in responses:
        counted.report(status, 0, seconds)
    return counted


def report(
    second: int,
    *counted: EndpointCounts,
    worker: int = 0,
    life: int = 1,
    parts: tuple[StatePart, ...] = (),
    denied: dict[str, int] | None = None,
    breakers: tuple[tuple[str, str, int], ...] = (),
    failures: tuple[tuple[int, Failure], ...] = (),
    in_flight: int = 0,
    lag: float = 0.0,
    is_stopping: bool = False,
) -> WorkerReport:
    """``counted``: of the endpoints; the lists are those of the counts, not copies."""
    return WorkerReport(
        worker,
        1000 + worker,
        life,
        second,
        0.0,
        not is_stopping,
        is_stopping,
        in_flight,
        lag,
        [each.outcomes for each in counted],
        [each.buckets for each in counted],
        [*parts],
        denied or {},
        [*breakers],
        [OtherResource("keys", True, "", {})],
        [*failures],
    )


BUCKETS = len(BOUNDS) + 1
