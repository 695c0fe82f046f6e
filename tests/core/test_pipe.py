"""The endpoint's nursery, with branches made of a few lines."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import anyio.lowlevel
import pytest
from anyio import Event, current_time, fail_after, sleep, sleep_forever
from msgspec import Raw
from msgspec.structs import replace
from trio.testing import MockClock

from gateway.core.pipe import coroutine_of, parallel, sequential, within
from gateway.core.proxy import COMPLETE, INCOMPLETE, Branch, Pipe, Request, Response
from gateway.core.race import race
from gateway.errors import BrokerUnavailable, GatewayError, OutcomeUnknown, QueueEmpty

from ..router.support import Taken

pytestmark = pytest.mark.anyio


class Leaving:
    """A client that soon goes away."""

    is_gone = False

    def watch(self, gone: Callable[[], object]) -> Callable[[], Coroutine[Any, Any, None]]:
        async def leave() -> None:
            await sleep(0.01)
            gone()

        return leave


def answer(key: str, message: Taken | None = None) -> Response:
    return Response({key: Raw(b"1")}, COMPLETE, (message,) if message else ())


def ready(key: str, message: Taken | None = None) -> Branch:
    """Answers at once; its waiting half must not be asked."""

    def now(request: Request) -> Response:
        if message:
            request.taken.append(message)
        return answer(key, message)

    async def ask_again(request: Request) -> Response:
        raise AssertionError("asked twice")

    return Branch(ask_again, now)


def slow(key: str, seconds: float, message: Taken | None = None) -> Branch:
    async def wait(request: Request) -> Response:
        await sleep(seconds)
        if message:
            request.taken.append(message)
        return answer(key, message)

    return Branch(wait, lambda request: None, timed_out=lambda _: QueueEmpty())


def never() -> Branch:
    async def wait(request: Request) -> Response:
        await sleep_forever()
        raise AssertionError

    return Branch(wait, timed_out=lambda _: BrokerUnavailable("away"))


def failing(error: Exception) -> Branch:
    async def wait(request: Request) -> Response:
        await anyio.lowlevel.checkpoint()
        raise error

    return Branch(wait)


def request() -> Request:
    return Request("GET", "/", {})


async def ask(pipe: Pipe, asked: Request | None = None, *, seconds: float = 60) -> Response:
    asked = asked or request()
    asked.deadline = current_time() + seconds
    with fail_after(5):
        return await coroutine_of(pipe)(asked)


def keys(response: Response) -> set[str]:
    return set(response.data or {})


async def test_a_lone_branch_that_can_answers_at_once() -> None:
    response = await ask(within(ready("a")))
    assert keys(response) == {"a"}
    assert response.is_complete


async def test_branches_that_wait_run_at_the_same_time() -> None:
    gate = Event()

    async def first(request: Request) -> Response:
        await gate.wait()
        return answer("a")

    async def second(request: Request) -> Response:
        gate.set()
        return answer("b")

    response = await ask(parallel([Branch(first), Branch(second)]))
    assert keys(response) == {"a", "b"}


async def test_ready_and_waiting_branches_are_merged() -> None:
    message, late = Taken(), Taken()
    response = await ask(parallel([slow("b", 0.01, late), ready("a", message)]))
    assert keys(response) == {"a", "b"}
    assert response.is_complete
    assert set(response.messages) == {message, late}


async def test_at_the_deadline_what_is_there_is_the_answer() -> None:
    response = await ask(parallel([ready("a"), never()]), seconds=0.02)
    assert keys(response) == {"a"}
    assert not response.is_complete


async def test_at_the_deadline_a_branch_says_what_its_silence_means() -> None:
    with pytest.raises(BrokerUnavailable, match="away"):
        await ask(within(never()), seconds=0.02)
    with pytest.raises(BrokerUnavailable):
        await ask(parallel([slow("a", 60), never()]), seconds=0.02)
    with pytest.raises(QueueEmpty):
        await ask(parallel([slow("a", 60), slow("b", 60)]), seconds=0.02)


async def test_a_failed_branch_makes_the_answer_incomplete() -> None:
    response = await ask(parallel([ready("a"), failing(GatewayError("no"))]))
    assert keys(response) == {"a"}
    assert not response.is_complete


async def test_an_unexpected_error_is_not_taken_for_an_answer() -> None:
    message = Taken()
    asked = request()
    with pytest.raises(ZeroDivisionError):
        await ask(parallel([ready("a", message), failing(ZeroDivisionError())]), asked)
    asked.give_back()
    assert message.end == "given back"


async def test_the_client_going_away_cancels_those_who_wait() -> None:
    message = Taken()
    asked = Request("GET", "/", {}, client=Leaving())
    response = await ask(parallel([ready("a", message), never()]), asked)
    assert not response.is_complete
    assert asked.taken == [message]


async def test_nobody_is_watched_when_nobody_has_to_wait() -> None:
    class Unwatched:
        is_gone = False

        def watch(self, gone: Callable[[], object]) -> None:
            raise AssertionError("watched")

    await ask(parallel([ready("a"), ready("b")]), Request("GET", "/", {}, client=Unwatched()))


async def test_the_body_is_read_when_any_branch_needs_it() -> None:
    silent = replace(ready("a"), reads_body=False)
    assert not parallel([silent, silent]).reads_body
    assert parallel([silent, ready("b")]).reads_body


def nothing(params: dict[str, str], answered: Sequence[Response]) -> None:
    """A backend that needs nothing of those before it."""


def in_turn(*branches: Branch) -> Pipe:
    return sequential(branches, [nothing] * len(branches))


async def test_a_sequence_asks_one_after_the_other_and_merges_in_order() -> None:
    order = []

    def step(key: str) -> Branch:
        async def wait(request: Request) -> Response:
            order.append(key)
            await anyio.lowlevel.checkpoint()
            return Response({"last": key, key: 1})

        return Branch(wait)

    response = await ask(in_turn(step("a"), step("b"), step("c")))
    assert order == ["a", "b", "c"]
    assert response.data == {"last": "c", "a": 1, "b": 1, "c": 1}
    assert response.is_complete


async def test_a_sequence_gives_later_branches_what_earlier_ones_answered() -> None:
    def fill(params: dict[str, str], answered: Sequence[Response]) -> None:
        params["Seen"] = ",".join(key for part in answered for key in part.data or {})

    async def tell(request: Request) -> Response:
        return Response({"seen": request.params["Seen"], "id": request.params["Id"]})

    asked = Request("GET", "/", {"Id": "7"})
    steps = [ready("a"), ready("b"), Branch(tell)]
    response = await ask(sequential(steps, [nothing, nothing, fill]), asked)
    assert response.data is not None
    assert (response.data["seen"], response.data["id"]) == ("a,b", "7")
    assert asked.params == {"Id": "7"}


async def test_a_sequence_fails_with_its_first_branch() -> None:
    with pytest.raises(GatewayError, match="no"):
        await ask(in_turn(failing(GatewayError("no")), unasked()))


async def test_a_later_failure_ends_the_sequence_and_what_is_there_is_the_answer() -> None:
    message = Taken()
    response = await ask(in_turn(ready("a", message), failing(GatewayError("no")), unasked()))
    assert (keys(response), response.is_complete, response.has_failures) == ({"a"}, False, True)
    assert response.messages == [message]


async def test_a_hole_in_the_path_ends_the_sequence_like_a_failure() -> None:
    def fill(params: dict[str, str], answered: Sequence[Response]) -> None:
        raise GatewayError("no value")

    response = await ask(sequential([ready("a"), unasked()], [nothing, fill]))
    assert (keys(response), response.has_failures) == ({"a"}, True)
    with pytest.raises(GatewayError, match="no value"):
        await ask(sequential([unasked(), unasked()], [fill, nothing]))


async def test_an_incomplete_answer_ends_the_sequence() -> None:
    async def details(request: Request) -> Response:
        return Response({"error_a": 404}, INCOMPLETE)

    response = await ask(in_turn(Branch(details), unasked()))
    assert response.data == {"error_a": 404}
    assert not response.is_complete
    assert not response.has_failures


async def test_a_null_does_not_end_the_sequence_and_leaves_it_incomplete() -> None:
    async def null(request: Request) -> Response:
        return Response(None, INCOMPLETE)

    response = await ask(in_turn(Branch(null), ready("b")))
    assert (keys(response), response.is_complete) == ({"b"}, False)


async def test_the_deadline_of_a_sequence_holds_for_all_of_it() -> None:
    response = await ask(in_turn(slow("a", 0.01), never(), unasked()), seconds=0.05)
    assert (keys(response), response.is_complete) == ({"a"}, False)
    with pytest.raises(BrokerUnavailable, match="away"):
        await ask(in_turn(never(), unasked()), seconds=0.02)


async def test_a_deciding_failure_in_a_sequence_is_its_failure() -> None:
    with pytest.raises(OutcomeUnknown):
        await ask(in_turn(ready("a"), failing(OutcomeUnknown("not confirmed"))))


async def test_the_client_going_away_ends_a_sequence() -> None:
    asked = Request("GET", "/", {}, client=Leaving())
    response = await ask(in_turn(ready("a"), never(), unasked()), asked)
    assert not response.is_complete


def unasked() -> Branch:
    async def wait(request: Request) -> Response:
        raise AssertionError("asked")

    return Branch(wait)


def taking_turns(*answers: Branch) -> Branch:
    """Answers the first call like the first of these, and so on."""
    left = list(answers)

    async def wait(request: Request) -> Response:
        return await coroutine_of(left.pop(0))(request)

    return Branch(wait)


async def test_of_concurrent_calls_the_first_whole_answer_counts() -> None:
    calls = taking_turns(never(), slow("b", 0.01), failing(GatewayError("no")))
    response = await ask(within(race(calls, 3, timeout=60)))
    assert keys(response) == {"b"}


async def test_of_concurrent_calls_only_the_message_that_is_answered_is_held() -> None:
    first, second = Taken(), Taken()
    asked = request()
    calls = taking_turns(slow("a", 0.01, first), slow("b", 0.01, second))
    response = await ask(within(race(calls, 2, timeout=60)), asked)
    for message in response.messages:
        message.acknowledge()
    asked.give_back()
    assert "acknowledged" in (first.end, second.end)
    assert (first.end, second.end) != ("acknowledged", "acknowledged")


async def test_concurrent_calls_may_wait_without_a_task() -> None:
    arrivals: list[Callable[[Response], None]] = []

    def later(request: Request, arrive: Callable[[Any], None]) -> Callable[[], GatewayError | None]:
        arrivals.append(arrive)
        is_second = len(arrivals) == 2
        if len(arrivals) == 3:
            arrivals[1](answer("b"))
        return lambda: None if is_second else QueueEmpty()

    asked = replace(unasked(), later=later)
    assert keys(await ask(within(race(asked, 3, timeout=60)))) == {"b"}
    assert len(arrivals) == 3


async def test_concurrent_calls_that_all_fail_are_a_failure() -> None:
    with pytest.raises(GatewayError, match="no"):
        await ask(within(race(failing(GatewayError("no")), 3, timeout=60)))


async def test_concurrent_calls_without_a_whole_answer_give_an_incomplete_one() -> None:
    async def details(request: Request) -> Response:
        return Response({"error_a": 404}, INCOMPLETE)

    calls = taking_turns(Branch(details), failing(GatewayError("no")))
    response = await ask(within(race(calls, 2, timeout=60)))
    assert response.data == {"error_a": 404}
    assert not response.is_complete


async def test_concurrent_calls_have_their_own_deadline() -> None:
    with pytest.raises(BrokerUnavailable, match="away"):
        await ask(within(race(never(), 2, timeout=0.02)))


@pytest.mark.parametrize(
    "anyio_backend", [("trio", {"clock": MockClock(autojump_threshold=0)})], ids=["virtual time"]
)
async def test_concurrent_calls_late_in_a_sequence_have_the_time_that_the_request_has() -> None:
    steps = [slow("a", 5), race(slow("b", 3), 2, timeout=7.5)]
    asked = request()
    asked.deadline = current_time() + 10
    pipe = sequential(steps, [nothing, nothing], reserve=1.5)
    response = await coroutine_of(pipe)(asked)
    assert (keys(response), response.is_complete) == ({"a", "b"}, True)


async def test_a_request_leaves_nothing_to_the_garbage_collector() -> None:
    withdrawals: list[weakref.ref[Any]] = []

    def later(request: Request, arrive: Callable[[Any], None]) -> Callable[[], GatewayError | None]:
        is_second = len(withdrawals) == 1

        def withdraw() -> GatewayError | None:
            assert callable(arrive)  # it knows who waits, as those of backends do
            return None if is_second else QueueEmpty()

        withdrawals.append(weakref.ref(withdraw))
        if is_second:
            arrive(answer("b"))
        return withdraw

    branches = [replace(unasked(), later=later), replace(unasked(), later=later)]
    gc.disable()
    try:
        await ask(parallel(branches), seconds=0.01)
        assert [withdraw() for withdraw in withdrawals] == [None, None]
    finally:
        gc.enable()
