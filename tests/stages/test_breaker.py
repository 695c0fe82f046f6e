"""A backend that keeps failing is left alone, and what counts as failing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from anyio import fail_after, sleep_forever
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import (
    BreakerOpen,
    BrokerUnavailable,
    DeadlineExceeded,
    GatewayError,
    QueueEmpty,
    RateLimitExceeded,
    Undecodable,
    Unpublishable,
)
from gateway.pipe import parallel, race, within
from gateway.proxy import Arrive, Branch, Request, Response
from gateway.stages.breaker import Breaker, BreakerSettings, with_breaker

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


def is_open(breaker: Breaker) -> bool:
    try:
        breaker.check()
    except BreakerOpen:
        return True
    return False


def end(breaker: Breaker, *parts: Response | Exception | None) -> None:
    for part in parts:
        breaker.begin().ended(part)


# The states.


@pytest.mark.parametrize("max_errors", [0, 1, 5])
def test_it_opens_with_one_failure_more_than_it_puts_up_with(max_errors: int) -> None:
    it = breaker(max_errors=max_errors)
    end(it, *[NO] * max_errors)
    assert not is_open(it)
    end(it, NO)
    with pytest.raises(BreakerOpen, match="circuit breaker is open"):
        it.begin()


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
    call = it.begin()
    with pytest.raises(BreakerOpen, match="too many requests"):
        it.begin()
    call.ended(NO)
    assert is_open(it)
    time.now += 10
    end(it, YES)
    end(it, NO)
    assert not is_open(it)


def test_a_call_of_which_nothing_is_learnt_leaves_the_decision_to_the_next() -> None:
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
    late = [it.begin(), it.begin()]
    end(it, NO, NO)
    time.now += 10
    late[0].ended(NO)
    late[1].ended(YES)
    trial = it.begin()
    assert is_open(it)
    trial.ended(YES)
    assert not is_open(it)


def test_a_call_ends_once() -> None:
    it = breaker()
    call = it.begin()
    for _ in range(5):
        call.ended(NO)
    assert not is_open(it)


def test_fewer_than_no_errors_never_open_it() -> None:
    it = breaker(max_errors=-1)
    end(it, *[NO] * 100)
    assert not is_open(it)


def test_changes_of_state_are_logged_where_wanted(caplog: pytest.LogCaptureFixture) -> None:
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
    told = ["closed to open", "open to half-open", "half-open to closed"]
    assert caplog.messages == [f"circuit breaker 'orders' went from {each}" for each in told]


class Model:
    """The same, counted from the start for each question."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.failures = 0
        self.opened_at: float | None = None

    def is_let_through(self, now: float) -> bool:
        return self.opened_at is None or now >= self.opened_at + 10

    def ended(self, now: float, part: Response | GatewayError) -> None:
        self.failures = 0 if part is YES else self.failures + 1
        if part is YES:
            self.opened_at = None
        elif self.opened_at is not None or self.failures > self.most:
            self.opened_at = now
            self.failures = 0


@given(st.integers(0, 3), st.lists(st.tuples(st.floats(0, 15), st.booleans()), max_size=40))
def test_one_call_after_the_other_is_let_through_as_the_model_says(
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


@pytest.mark.parametrize("part", [DeadlineExceeded(), Undecodable(), BrokerUnavailable(), NO])
def test_a_failure_of_a_backend_counts(part: GatewayError) -> None:
    it = breaker(max_errors=0)
    end(it, part)
    assert is_open(it)


@pytest.mark.parametrize("part", [QueueEmpty(), Unpublishable("x"), RateLimitExceeded(), None, YES])
def test_what_is_no_fault_of_a_backend_does_not_count(part: Response | Exception | None) -> None:
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


# The branch.


class Leaving:
    """A client that leaves when a request begins to wait."""

    def __init__(self) -> None:
        self.is_gone = False

    def watch(self, gone: Callable[[], object]) -> Callable[[], Coroutine[Any, Any, None]]:
        async def leave() -> None:
            self.is_gone = True
            gone()

        return leave


class Backend:
    """Answers in one of the ways to be asked, or never."""

    def __init__(self, part: Response | GatewayError | None, means: GatewayError = NO) -> None:
        self.part = part
        self.means = means
        self.calls = 0

    async def proxy(self, request: Request) -> Response:
        self.calls += 1
        if self.part is None:
            await sleep_forever()
        if isinstance(self.part, GatewayError):
            raise self.part
        assert self.part is not None
        return self.part

    def at_once(self, request: Request) -> Response | None:
        if self.part is not None:
            self.calls += 1
        if isinstance(self.part, GatewayError):
            raise self.part
        return self.part

    def later(self, request: Request, arrive: Arrive) -> Callable[[], GatewayError | None]:
        self.calls += 1
        if self.part is not None:
            arrive(self.part)
        return lambda: None

    def branch(self, way: str) -> Branch:
        at_once = self.at_once if way == "at once" else None
        later = self.later if way == "later" else None
        return Branch(self.proxy, at_once, later, lambda request: self.means, may_repeat=True)


def request(client: Any = None) -> Request:
    return Request("GET", "/", {}, client=client)


WAYS = ("proxy", "at once", "later")


@pytest.mark.parametrize("way", WAYS)
async def test_an_open_breaker_does_not_ask(way: str) -> None:
    backend = Backend(NO)
    pipe = parallel([with_breaker(backend.branch(way), breaker())], 1)
    for _ in range(2):
        with pytest.raises(GatewayError, match="no"):
            await pipe.proxy(request())
    with pytest.raises(BreakerOpen):
        await pipe.proxy(request())
    assert backend.calls == 2


@pytest.mark.parametrize("way", WAYS)
async def test_answers_pass_through(way: str) -> None:
    it = breaker(max_errors=0)
    branch = with_breaker(Backend(YES).branch(way), it)
    assert branch.may_repeat
    for _ in range(3):
        assert (await parallel([branch], 1).proxy(request())).data == {"a": 1}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("means", "counts"), [(NO, True), (QueueEmpty(), False)])
async def test_a_deadline_counts_as_what_it_means(
    way: str, means: GatewayError, counts: bool
) -> None:
    it = breaker(max_errors=0)
    pipe = parallel([with_breaker(Backend(None, means).branch(way), it)], 0.01)
    with pytest.raises(type(means)):
        await pipe.proxy(request())
    assert is_open(it) == counts


@pytest.mark.parametrize("pipe", [within, parallel])
@pytest.mark.parametrize("way", WAYS)
async def test_a_client_that_leaves_is_no_failure(pipe: Any, way: str) -> None:
    it = breaker(max_errors=0)
    branch = with_breaker(Backend(None).branch(way), it)
    with fail_after(5), pytest.raises(GatewayError):
        await pipe(branch if pipe is within else [branch], 60).proxy(request(Leaving()))
    assert not is_open(it)


@pytest.mark.parametrize("way", ["proxy", "later"])
async def test_who_loses_a_race_has_not_failed(way: str) -> None:
    it = breaker(max_errors=0)
    slow, quick = Backend(None), Backend(YES)
    turns = [slow.branch(way), quick.branch(way)]
    branch = with_breaker(_one_after_the_other(turns, way), it)
    with fail_after(5):
        response = await race(branch, 2, 60).proxy(request())
    assert response.data == {"a": 1}
    assert (slow.calls, quick.calls) == (1, 1)
    assert not is_open(it)


@pytest.mark.parametrize("way", ["proxy", "later"])
async def test_a_race_that_nobody_wins_in_time_is_a_failure(way: str) -> None:
    it = breaker(max_errors=1)
    branch = with_breaker(Backend(None).branch(way), it)
    with pytest.raises(GatewayError):
        await race(branch, 2, 0.01).proxy(request())
    assert is_open(it)


def _one_after_the_other(branches: list[Branch], way: str) -> Branch:
    """Each question goes to the next one."""

    async def proxy(request: Request) -> Response:
        return await branches.pop(0).proxy(request)

    def later(request: Request, arrive: Arrive) -> Callable[[], GatewayError | None]:
        ask = branches.pop(0).later
        assert ask is not None
        return ask(request, arrive)

    return Branch(proxy, None, later if way == "later" else None, lambda request: NO)


@pytest.mark.parametrize("way", WAYS)
async def test_while_one_request_decides_the_others_are_refused(way: str) -> None:
    time, backend = Time(), Backend(YES)
    it = breaker(time, max_errors=0)
    end(it, NO)
    time.now += 10
    trial = it.begin()
    pipe = parallel([with_breaker(backend.branch(way), it)], 1)
    with pytest.raises(BreakerOpen, match="too many requests"):
        await pipe.proxy(request())
    assert backend.calls == 0
    trial.ended(YES)
    assert (await pipe.proxy(request())).data == {"a": 1}


async def test_an_unexpected_error_counts_and_comes_out() -> None:
    async def proxy(request: Request) -> Response:
        raise ZeroDivisionError

    it = breaker(max_errors=0)
    with pytest.raises(ZeroDivisionError):
        await with_breaker(Branch(proxy), it).proxy(request())
    assert is_open(it)
