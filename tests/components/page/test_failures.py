"""What is kept of a failed request."""

from __future__ import annotations

from gateway.components.page.failures import MAX_REASON_LENGTH, FailureNotes
from gateway.core.proxy import Request


def test_a_failure_has_the_ids_of_its_request_and_no_body() -> None:
    trace = b"4bf92f3577b34da6a3ce929d0e0e4736"
    headers = [
        (b"x-request-id", b"abc"),
        (b"traceparent", b"00-" + trace + b"-00f067aa0ba902b7-01"),
    ]
    notes = FailureNotes(worker=2, samples=5, clock=lambda: 17.0)
    notes.note("GET /a", 502, "no", Request("GET", "/a", {}, headers, body=b"secret"))
    [failure] = notes.take()
    assert (failure.id, failure.endpoint, failure.time) == ("2-1", "GET /a", 17.0)
    assert (failure.status, failure.reason) == (502, "no")
    assert (failure.request_id, failure.trace_id) == ("abc", trace.decode())
    assert "secret" not in repr(failure)
    assert notes.take() == []


def test_a_reason_has_no_logins_and_no_values_of_query_strings() -> None:
    notes = FailureNotes(0, 5)
    notes.note("GET /a", 500, "http://me:it'ssecret@h/?code=secret", None)
    [failure] = notes.take()
    assert failure.reason == "http://***@h/?code=***"


def test_malformed_ids_are_left_out() -> None:
    headers = [(b"traceparent", b"00-zz-1-01")]
    notes = FailureNotes(0, 5)
    notes.note("GET /a", 502, "no", Request("GET", "/a", {}, headers))
    notes.note("GET /a", 502, "no", None)
    assert [(each.request_id, each.trace_id) for each in notes.take()] == [("", "")] * 2


def test_an_endpoint_with_many_failures_hides_no_other_one() -> None:
    notes = FailureNotes(0, samples=3)
    notes.note("GET /b", 502, "no", None)
    for number in range(1000):
        notes.note("GET /a", 502, f"{number}", None)
    assert [each.reason for each in notes.take()] == ["no", "997", "998", "999"]


def test_a_long_reason_is_cut() -> None:
    notes = FailureNotes(0, 3)
    notes.note("GET /a", 502, "x" * 100_000, None)
    assert len(notes.take()[0].reason) == MAX_REASON_LENGTH
