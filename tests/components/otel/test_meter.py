"""Meters: which series an outcome is counted in, without a gateway."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from gateway.components.otel.meter import (
    PARTIAL,
    SUCCEEDED,
    CallOutcome,
    Meter,
    OutcomeSeries,
    measured,
    outcome_of,
    with_outcome,
)
from gateway.core.proxy import COMPLETE, INCOMPLETE, PARTS_FAILED, Branch, Part, Request, Response
from gateway.errors import BreakerOpen, DeadlineExceeded, GatewayError, QueueEmpty
from gateway.telemetry.metrics import Family, FamilySample, Labels, Sample

from ...core.test_observed_parts import Gone

BOUNDS = (1.0, 2.0)
REQUEST = Request("GET", "/", {})
NULL = Response(None, INCOMPLETE)


def family(name: str = "a", kind: str = "histogram") -> Family:
    return Family(name, "counter" if kind == "counter" else "histogram", bounds=BOUNDS)


def counts(sample: FamilySample) -> dict[Labels, int]:
    return {each.labels: sum(each.counts) for each in sample.samples}


@pytest.mark.parametrize(
    ("part", "outcome"),
    [
        (Response({}, COMPLETE), SUCCEEDED),
        (Response({}, INCOMPLETE), PARTIAL),
        (Response({}, PARTS_FAILED), CallOutcome(error=True, error_type="backend_failed")),
        (DeadlineExceeded(), CallOutcome(error=True, error_type="timeout")),
        (BreakerOpen(), CallOutcome(error=True, error_type="breaker_open")),
        (QueueEmpty(), CallOutcome(error=True, error_type="queue_empty")),
    ],
)
def test_the_outcome_of_a_part(part: Part, outcome: CallOutcome) -> None:
    assert outcome_of(REQUEST, part) == outcome


def test_krakend_has_no_type_of_an_error() -> None:
    assert outcome_of(REQUEST, DeadlineExceeded()).labels() == {
        "error": "true",
        "canceled": "false",
        "complete": "false",
    }


def test_a_request_is_counted_once_in_each_family() -> None:
    first, second = family(), family()
    meter = Meter([with_outcome(first, {"x": "1"}), with_outcome(second, {"y": "2"})], BOUNDS)
    branch = measured(meter)(Branch(now=lambda request: Response({})))
    assert branch.now is not None
    assert branch.now(Request("GET", "/", {})) is not None
    success = (("canceled", "false"), ("complete", "true"), ("error", "false"))
    assert counts(first.sample()) == {(*success, ("x", "1")): 1}
    assert counts(second.sample()) == {(*success, ("y", "2")): 1}


def test_a_series_is_the_sum_of_its_outcomes() -> None:
    """Of a queue: a request without a message is no error, but one of KrakenD's labels."""
    whole = family()

    def name(outcome: CallOutcome) -> Mapping[str, str]:
        return {}

    meter = Meter([OutcomeSeries(whole, name)], BOUNDS)
    gone = Request("GET", "/", {})
    gone.client = Gone()
    meter.observe(REQUEST, Response({}), 0.5)
    meter.observe(REQUEST, NULL, 1.5)
    meter.observe(gone, None, 3.5)
    (sample,) = whole.sample().samples
    assert sample == Sample((), 5.5, (1, 1, 1))


def test_a_counter_is_how_many_values_its_histograms_have() -> None:
    consumed = family(kind="counter")

    def name(outcome: CallOutcome) -> Mapping[str, str] | None:
        return {"q": "1"} if outcome is SUCCEEDED else None

    meter = Meter([OutcomeSeries(consumed, name)], BOUNDS)
    assert consumed.sample().samples == ()
    meter.observe(REQUEST, Response({}), 0.5)
    meter.observe(REQUEST, Response({}), 7)
    meter.observe(REQUEST, NULL, 1)
    assert consumed.sample().samples == (Sample((("q", "1"),), 2),)


def test_meters_share_a_series() -> None:
    """Two endpoints of one queue."""
    durations = family()
    meters = [
        Meter([OutcomeSeries(durations, lambda outcome: {"q": "1"})], BOUNDS) for _ in range(2)
    ]
    for meter in meters:
        meter.observe(REQUEST, Response({}), 0.5)
    assert counts(durations.sample()) == {(("q", "1"),): 2}


def test_a_failure_is_passed_on() -> None:
    def fail(request: Request) -> Response:
        raise QueueEmpty

    durations = family()
    branch = measured(Meter([with_outcome(durations, {})], BOUNDS))(Branch(now=fail))
    assert branch.now is not None
    with pytest.raises(GatewayError):
        branch.now(Request("GET", "/", {}))
    assert list(counts(durations.sample()).values()) == [1]


def test_what_is_not_measured_is_not_wrapped() -> None:
    branch = Branch(now=lambda request: None)
    assert measured(None)(branch) is branch
