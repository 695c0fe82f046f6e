"""Measures the requests of endpoints and backends: one clock reading before, one after.

One measurement counts for all series that have the same duration and outcome.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from msgspec import Struct

from ...core.observed_parts import observed_parts
from ...core.proxy import COMPLETE, INCOMPLETE, P, Part, Request, Response
from ...errors import DeadlineExceeded
from ...telemetry.metrics import Family, Histogram

BACKEND_FAILED = "backend_failed"
"""The type of the error of a response to which a backend did not contribute."""

CANCELED_BY_CLIENT = "canceled"


class CallOutcome(Struct, frozen=True):
    """How a request to an endpoint or to a backend has ended. The first three: the names of
    KrakenD's labels. ``error_type``: as OpenTelemetry's ``error.type``; "" for none."""

    error: bool = False
    canceled: bool = False
    complete: bool = False
    error_type: str = ""

    def labels(self) -> dict[str, str]:
        """KrakenD's labels."""
        names = ("error", "canceled", "complete")
        return {name: str(getattr(self, name)).lower() for name in names}


SUCCEEDED, PARTIAL = CallOutcome(complete=True), CallOutcome()
CANCELED = CallOutcome(canceled=True, error_type=CANCELED_BY_CLIENT)


def outcome_of(request: Request, part: Part | None) -> CallOutcome:
    """``part``: None if the request has ended without one."""
    if isinstance(part, Response):
        if part.completeness is COMPLETE:
            return SUCCEEDED
        if part.completeness is INCOMPLETE:
            return PARTIAL
        return CallOutcome(error=True, error_type=BACKEND_FAILED)
    if part is None:
        if request.client.is_gone:
            return CANCELED
        return CallOutcome(error=True, error_type=DeadlineExceeded.error_type)
    return CallOutcome(error=True, error_type=part.name_of_type)


NameSeries: TypeAlias = Callable[[CallOutcome], Mapping[str, str] | None]
"""The labels of the series in which an outcome is counted; None: it is not counted."""


class OutcomeSeries(NamedTuple):
    """The series of one family in which a meter counts."""

    family: Family
    labels: NameSeries


def with_outcome(family: Family, labels: Mapping[str, str]) -> OutcomeSeries:
    """One series for each outcome, with KrakenD's labels."""
    return OutcomeSeries(family, lambda outcome: {**labels, **outcome.labels()})


class Meter:
    """Measures the requests of one endpoint or backend, or of both at once.

    Each outcome has one histogram, which is part of a series of every family. ``bounds``: of its
    buckets.
    """

    def __init__(self, series: Iterable[OutcomeSeries], bounds: Sequence[float]) -> None:
        self._series = tuple(series)
        self._bounds = bounds
        self._histograms: dict[CallOutcome, Histogram] = {}
        self._succeeded = self._make(SUCCEEDED)

    def observe(self, request: Request, part: Part | None, seconds: float) -> None:
        """A :data:`gateway.core.observed_parts.ObservePart`."""
        if isinstance(part, Response) and part.completeness is COMPLETE:
            # Nearly every request: without a look-up, and as Histogram.observe without a call.
            succeeded = self._succeeded
            succeeded.counts[bisect_left(self._bounds, seconds)] += 1
            succeeded.sum += seconds
            return
        outcome = outcome_of(request, part)
        histogram = self._histograms.get(outcome)
        if histogram is None:
            histogram = self._histograms[outcome] = self._make(outcome)
        histogram.observe(seconds)

    def _make(self, outcome: CallOutcome) -> Histogram:
        histogram = Histogram(self._bounds)
        for family, name in self._series:
            labels = name(outcome)
            if labels is not None:
                family.include(labels, histogram)
        return histogram


def measured(meter: Meter | None) -> Callable[[P], P]:
    """What wraps a pipe or a branch. None: it is not measured."""

    def wrap(branch: P) -> P:
        return branch if meter is None else observed_parts(branch, meter.observe)

    return wrap
