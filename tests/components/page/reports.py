"""Reports of workers, made by hand."""

from __future__ import annotations

from gateway.components.page.counting import EndpointCounts
from gateway.components.page.failures import Failure
from gateway.components.page.report import OtherResource, WorkerDetails, WorkerReport
from gateway.telemetry.parts import MessageCounts, StatePart

NO_MESSAGES = MessageCounts()


def counts(*responses: tuple[int, float]) -> EndpointCounts:
    """Status and seconds of each response."""
    counted = EndpointCounts()
    for status, seconds in responses:
        counted.count(status, seconds)
    return counted


def report(
    second: int,
    *counted: EndpointCounts,
    worker: int = 0,
    life: int = 1,
    messages: MessageCounts = NO_MESSAGES,
    parts: tuple[StatePart, ...] = (),
    denied: dict[str, int] | None = None,
    breakers: tuple[tuple[str, str, int], ...] = (),
    failures: tuple[tuple[int, Failure], ...] = (),
    in_flight: int = 0,
    lag: float = 0.0,
) -> WorkerReport:
    """``counted``: of the endpoints; the lists are those of the counts, not copies."""
    others = [OtherResource("keys", True, "", {})]
    return WorkerReport(
        worker,
        1000 + worker,
        life,
        second,
        0.0,
        False,
        in_flight,
        lag,
        messages,
        [each.outcomes for each in counted],
        [each.buckets for each in counted],
        [*failures],
        WorkerDetails(True, [*parts], denied or {}, [*breakers], others),
    )
