"""Failures are lines of the log, and not more of them than a person can read."""

from __future__ import annotations

import logging

import pytest

from gateway.config.structs import AgentPipe, Endpoint
from gateway.core.failures import MAX_REASONS, FailureLog, name_of
from gateway.core.proxy import OutcomeWatcher, Request
from gateway.errors import BrokerUnavailable, GatewayError, QueueEmpty, Refused


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Taken:
    """A message of a request."""

    def __init__(self, shown_id: str) -> None:
        self.shown_id = shown_id

    def watch(self, watcher: OutcomeWatcher) -> None: ...

    def sent(self) -> None: ...

    def acknowledge(self) -> None: ...

    def park(self) -> None: ...

    def give_back(self) -> None: ...


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def failures(clock: Clock, caplog: pytest.LogCaptureFixture) -> FailureLog:
    caplog.set_level(logging.INFO, "gateway.requests")
    return FailureLog("GET /a", clock)


def test_a_line_names_endpoint_status_and_reason(
    failures: FailureLog, caplog: pytest.LogCaptureFixture
) -> None:
    failures.record(BrokerUnavailable("the broker is away"))
    failures.record(Refused(429))
    assert [(each.levelname, each.getMessage()) for each in caplog.records] == [
        ("WARNING", "GET /a: 503: the broker is away"),
        ("INFO", "GET /a: 429: Too Many Requests"),
    ]


def test_a_line_names_the_backend_where_there_are_several(
    failures: FailureLog, caplog: pytest.LogCaptureFixture
) -> None:
    error = GatewayError("no")
    error.backend = "backend[1]"
    failures.record(error)
    assert caplog.messages == ["GET /a: 500: backend[1]: no"]


def test_the_status_is_the_one_that_the_client_gets(
    failures: FailureLog, caplog: pytest.LogCaptureFixture
) -> None:
    failures.record(BrokerUnavailable("away"), status=500)
    failures.record(GatewayError("odd"), status=799)
    assert caplog.messages == ["GET /a: 500: away", "GET /a: 799: odd"]


def test_of_equal_failures_one_a_second_is_a_line_with_the_number_of_the_others(
    failures: FailureLog, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(10):
        failures.record(GatewayError("down"))
        clock.now += 0.05
    failures.record(GatewayError("other"))
    clock.now += 1
    failures.record(GatewayError("down"))
    assert caplog.messages == [
        "GET /a: 500: down",
        "GET /a: 500: other",
        "GET /a: 500: down (and 9 more since the last such line)",
    ]


def test_reasons_that_are_never_the_same_are_bounded_too(
    failures: FailureLog, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(1000):
        failures.record(GatewayError(f"no /{number}"))
    assert len(caplog.messages) == MAX_REASONS
    clock.now += 1
    failures.record(GatewayError("no /1000"))
    assert caplog.messages[-1] == (
        f"GET /a: 500: no /1000 (and {1000 - MAX_REASONS} more since the last such line)"
    )


@pytest.mark.parametrize("error", [QueueEmpty(), QueueEmpty(status=404)])
def test_an_empty_queue_is_no_failure(
    error: QueueEmpty, failures: FailureLog, caplog: pytest.LogCaptureFixture
) -> None:
    failures.record(error)
    assert caplog.messages == []


def test_an_endpoint_and_an_agent_have_the_names_of_the_configuration() -> None:
    assert name_of(Endpoint(endpoint="/a", method="POST")) == "POST /a"
    assert name_of(AgentPipe(endpoint="/mailer")) == "agent mailer"


def test_a_line_has_the_id_of_its_request(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "gateway.requests")
    request = Request("GET", "/a", {}, [(b"x-request-id", b"one")])
    for has_ids in (True, False):
        failures = FailureLog("GET /a", has_ids=has_ids)
        failures.record(GatewayError("down"), request)
    failures = FailureLog("GET /b", has_ids=True)
    failures.record(GatewayError("one of several backends"))
    assert [" [" in each.getMessage() for each in caplog.records] == [True, False, False]
    ids = [vars(each)["fields"].get("request_id") for each in caplog.records]
    assert ids == ["one", None, None]


def test_a_line_has_the_ids_of_the_messages_of_its_request(
    failures: FailureLog, caplog: pytest.LogCaptureFixture
) -> None:
    request = Request("GET", "/a", {})
    request.taken += [Taken("")]
    failures.record(GatewayError("none"), request)
    request.taken += [Taken("m-1")]
    failures.record(GatewayError("one"), request)
    request.taken += [Taken("m-2")]
    failures.record(GatewayError("two"), request)
    assert caplog.messages == [
        "GET /a: 500: none",
        "GET /a: 500: one (message m-1)",
        "GET /a: 500: two (messages m-1, m-2)",
    ]
    ids = [vars(each)["fields"].get("message_id") for each in caplog.records]
    assert ids == [None, "m-1", "m-1, m-2"]


def test_a_failed_try_of_an_agent_is_a_warning_with_the_id_of_its_message(
    failures: FailureLog, caplog: pytest.LogCaptureFixture
) -> None:
    request = Request("GET", "/a", {})
    request.origin = Taken("m-1")
    request.taken.append(Taken("m-1"))  # a producer publishes it with the same id
    failures.record_try(QueueEmpty(), request)
    failures.record_try(GatewayError("no request"), None)
    assert [(each.levelname, each.getMessage()) for each in caplog.records] == [
        ("WARNING", "GET /a: no message in the queue (message m-1)"),
        ("WARNING", "GET /a: no request"),
    ]
    assert vars(caplog.records[0])["fields"] == {
        "endpoint": "GET /a",
        "reason": "no message in the queue",
        "message_id": "m-1",
    }
