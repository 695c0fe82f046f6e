"""A backend that keeps failing is not called, and what counts as a failure."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.components.breaker import Breaker, BreakerSettings
from gateway.core.proxy import Part, Request, Response
from gateway.errors import (
    BackendFailure,
    BackendStatusError,
    BreakerOpen,
    BrokerUnavailable,
    DeadlineExceeded,
    GatewayError,
    QueueEmpty,
    RateLimitExceeded,
    Undecodable,
    Unpublishable,
)

pytestmark = pytest.mark.anyio


class Time:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def breaker(time: Time | None = None, **settings: Any) -> Breaker:
    settings = {"interval": 60, "timeout": 10, "max_errors": 1, **settings}
    return Breaker(BreakerSettings(**settings), time or Time())


NO = GatewayError("no")
YES = Response({"a": 1})
REQUEST = Request("GET", "/", {})


def is_open(breaker: Breaker) -> bool:
    try:
        call = breaker.begin(REQUEST)
    except BreakerOpen:
        return True
    call.abandon(reached_backend=True)
    return False


def end(breaker: Breaker, *parts: Part | None) -> None:
    for part in parts:
        call = breaker.begin(REQUEST)
        if part is None:
            call.abandon(reached_backend=True)
        else:
            call.finish(part)


# The states.


@pytest.mark.parametrize("max_errors", [0, 1, 5])
def test_it_opens_with_one_failure_more_than_max_errors(max_errors: int) -> None:
    it = breaker(max_errors=max_errors)
    end(it, *[NO] * max_errors)
    assert not is_open(it)
    end(it, NO)
    with pytest.raises(BreakerOpen, match="circuit breaker is open"):
        it.begin(REQUEST)


def test_only_failures_in_a_row_count() -> None:
    it = breaker()
    end(it, NO, YES, NO, YES, NO)
    assert not is_open(it)


def test_after_the_interval_failures_are_forgotten() -> None:
    time = Time()
    it = breaker(time, interval=60)
    end(it, NO)
    time.now += 60
    end(it, NO)
    assert not is_open(it)
    end(it, NO)
    assert is_open(it)


def test_without_an_interval_failures_are_never_forgotten() -> None:
    time = Time()
    it = breaker(time, interval=0)
    end(it, NO)
    time.now += 1e9
    end(it, NO)
    assert is_open(it)


def test_after_the_timeout_one_call_decides() -> None:
    time = Time()
    it = breaker(time)
    end(it, NO, NO)
    time.now += 9.9
    assert is_open(it)
    time.now += 0.1
    call = it.begin(REQUEST)
    with pytest.raises(BreakerOpen, match="too many requests"):
        it.begin(REQUEST)
    call.finish(NO)
    assert is_open(it)
    time.now += 10
    end(it, YES)
    end(it, NO)
    assert not is_open(it)


def test_a_call_without_a_result_leaves_the_decision_to_the_next_call() -> None:
    time = Time()
    it = breaker(time)
    end(it, NO, NO)
    time.now += 10
    end(it, None)
    end(it, NO)
    assert is_open(it)


def test_without_a_timeout_it_is_open_for_a_minute() -> None:
    time = Time()
    it = breaker(time, timeout=0)
    end(it, NO, NO)
    time.now += 59
    assert is_open(it)
    time.now += 1
    assert not is_open(it)


def test_what_began_before_it_opened_does_not_count() -> None:
    time = Time()
    it = breaker(time)
    late = [it.begin(REQUEST), it.begin(REQUEST)]
    end(it, NO, NO)
    time.now += 10
    late[0].finish(NO)
    late[1].finish(YES)
    trial = it.begin(REQUEST)
    assert is_open(it)
    trial.finish(YES)
    assert not is_open(it)


def test_fewer_than_no_errors_never_open_it() -> None:
    it = breaker(max_errors=-1)
    end(it, *[NO] * 100)
    assert not is_open(it)


def test_changes_of_state_are_logged_where_configured(caplog: pytest.LogCaptureFixture) -> None:
    time = Time()
    it = breaker(time, name="orders", log_status_change=True)
    silent = breaker(time)
    with caplog.at_level(logging.INFO):
        for each in (it, silent):
            end(each, NO, NO)
        time.now += 10
        for each in (it, silent):
            end(each, YES)
        time.now += 60
        end(it, YES)
    changes = ["closed to open", "open to half-open", "half-open to closed"]
    assert caplog.messages == [f"circuit breaker 'orders' went from {each}" for each in changes]


class Model:
    """The same states, in the simplest form."""

    def __init__(self, max_errors: int) -> None:
        self.max_errors = max_errors
        self.failures = 0
        self.opened_at: float | None = None

    def is_let_through(self, now: float) -> bool:
        return self.opened_at is None or now >= self.opened_at + 10

    def ended(self, now: float, part: Response | GatewayError) -> None:
        self.failures = 0 if part is YES else self.failures + 1
        if part is YES:
            self.opened_at = None
        elif self.opened_at is not None or self.failures > self.max_errors:
            self.opened_at = now
            self.failures = 0


@given(st.integers(0, 3), st.lists(st.tuples(st.floats(0, 15), st.booleans()), max_size=40))
def test_sequential_calls_are_let_through_as_the_model_says(
    most: int, calls: list[tuple[float, bool]]
) -> None:
    time, model = Time(), Model(most)
    it = breaker(time, interval=0, max_errors=most)
    for pause, succeeds in calls:
        time.now += pause
        assert is_open(it) != model.is_let_through(time.now)
        if model.is_let_through(time.now):
            part = YES if succeeds else NO
            end(it, part)
            model.ended(time.now, part)


# What counts.


@pytest.mark.parametrize(
    "part", [DeadlineExceeded(), Undecodable("no JSON"), BrokerUnavailable(), NO]
)
def test_a_failure_of_a_backend_counts(part: GatewayError) -> None:
    it = breaker(max_errors=0)
    end(it, part)
    assert is_open(it)


@pytest.mark.parametrize("part", [QueueEmpty(), Unpublishable("x"), RateLimitExceeded(), None, YES])
def test_what_is_no_fault_of_a_backend_does_not_count(part: Part | None) -> None:
    it = breaker(max_errors=0)
    end(it, part)
    assert not is_open(it)


def test_an_empty_queue_shows_that_its_broker_is_there() -> None:
    time = Time()
    it = breaker(time)
    end(it, NO, NO)
    time.now += 10
    end(it, QueueEmpty())
    end(it, NO)
    assert not is_open(it)


# Statuses that do not count.


def test_an_ignored_status_is_neither_a_failure_nor_a_success() -> None:
    missing = BackendFailure("invalid status code 404", 404)
    passed_on = BackendStatusError(410, "gone", "text/plain")
    it = breaker(ignored_statuses=[404, 410])
    end(it, *[missing, passed_on] * 5, NO, missing)
    assert not is_open(it)
    end(it, NO)
    assert is_open(it)


def test_other_statuses_and_missing_responses_count() -> None:
    for failure in (BackendFailure("invalid status code 500", 500), BackendFailure("refused")):
        it = breaker(ignored_statuses=[404])
        end(it, failure, failure)
        assert is_open(it)


def test_an_ignored_status_lets_the_next_request_decide() -> None:
    time = Time()
    it = breaker(time, max_errors=0, ignored_statuses=[404])
    end(it, NO)
    time.now += 10
    end(it, BackendFailure("", 404))
    end(it, YES)
    end(it, NO)
    assert is_open(it)


def test_ignored_statuses_alone_make_no_breaker() -> None:
    assert BreakerSettings(ignored_statuses=(404,)).is_off
