"""The endpoint's nursery, with branches made of a few lines."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import anyio.lowlevel
import pytest
from anyio import Event, fail_after, sleep, sleep_forever
from msgspec import Raw

from gateway.errors import BrokerUnavailable, GatewayError, QueueEmpty
from gateway.pipe import parallel, within
from gateway.proxy import Branch, Request, Response

pytestmark = pytest.mark.anyio


class Message:
    """A hold that remembers its end."""

    def __init__(self) -> None:
        self.end = ""

    def sent(self) -> None:
        self.end = self.end or "sent"

    def give_back(self) -> None:
        self.end = self.end or "given back"


def answer(key: str, message: Message | None = None) -> Response:
    return Response({key: Raw(b"1")}, True, (message,) if message else ())


def ready(key: str, message: Message | None = None) -> Branch:
    """Answers at once; its waiting half must not be asked."""

    def at_once(request: Request) -> Response:
        if message:
            request.taken.append(message)
        return answer(key, message)

    async def proxy(request: Request) -> Response:
        raise AssertionError("asked twice")

    return Branch(proxy, at_once)


def slow(key: str, seconds: float, message: Message | None = None) -> Branch:
    async def proxy(request: Request) -> Response:
        await sleep(seconds)
        if message:
            request.taken.append(message)
        return answer(key, message)

    return Branch(proxy, lambda request: None, timed_out=lambda _: QueueEmpty())


def never() -> Branch:
    async def proxy(request: Request) -> Response:
        await sleep_forever()
        raise AssertionError

    return Branch(proxy, timed_out=lambda _: BrokerUnavailable("away"))


def failing(error: Exception) -> Branch:
    async def proxy(request: Request) -> Response:
        await anyio.lowlevel.checkpoint()
        raise error

    return Branch(proxy)


def request() -> Request:
    return Request("GET", "/", {})


async def ask(pipe: Branch, asked: Request | None = None) -> Response:
    with fail_after(5):
        return await pipe.proxy(asked or request())


def keys(response: Response) -> set[str]:
    return set(response.data or {})


async def test_a_lone_branch_that_can_answers_at_once() -> None:
    response = await ask(within(ready("a"), 5))
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

    response = await ask(parallel([Branch(first), Branch(second)], 5))
    assert keys(response) == {"a", "b"}


async def test_ready_and_waiting_branches_are_merged() -> None:
    message, late = Message(), Message()
    response = await ask(parallel([slow("b", 0.01, late), ready("a", message)], 5))
    assert keys(response) == {"a", "b"}
    assert response.is_complete
    assert set(response.holds) == {message, late}


async def test_at_the_deadline_what_is_there_is_the_answer() -> None:
    response = await ask(parallel([ready("a"), never()], 0.02))
    assert keys(response) == {"a"}
    assert not response.is_complete


async def test_at_the_deadline_a_branch_says_what_its_silence_means() -> None:
    with pytest.raises(BrokerUnavailable, match="away"):
        await ask(within(never(), 0.02))
    with pytest.raises(BrokerUnavailable):
        await ask(parallel([slow("a", 60), never()], 0.02))
    with pytest.raises(QueueEmpty):
        await ask(parallel([slow("a", 60), slow("b", 60)], 0.02))


async def test_a_failed_branch_makes_the_answer_incomplete() -> None:
    response = await ask(parallel([ready("a"), failing(GatewayError("no"))], 5))
    assert keys(response) == {"a"}
    assert not response.is_complete


async def test_an_unexpected_error_is_not_taken_for_an_answer() -> None:
    message = Message()
    asked = request()
    with pytest.raises(ZeroDivisionError):
        await ask(parallel([ready("a", message), failing(ZeroDivisionError())], 5), asked)
    asked.give_back()
    assert message.end == "given back"


async def test_the_client_going_away_cancels_those_who_wait() -> None:
    class Leaving:
        is_gone = False

        def watch(self, gone: Callable[[], object]) -> Callable[[], Coroutine[Any, Any, None]]:
            async def leave() -> None:
                await sleep(0.01)
                gone()

            return leave

    message = Message()
    asked = Request("GET", "/", {}, client=Leaving())
    response = await ask(parallel([ready("a", message), never()], 60), asked)
    assert not response.is_complete
    assert asked.taken == [message]


async def test_nobody_is_watched_when_nobody_has_to_wait() -> None:
    class Unwatched:
        is_gone = False

        def watch(self, gone: Callable[[], object]) -> None:
            raise AssertionError("watched")

    await ask(parallel([ready("a"), ready("b")], 5), Request("GET", "/", {}, client=Unwatched()))


async def test_the_body_is_read_when_any_branch_needs_it() -> None:
    silent = ready("a")._replace(reads_body=False)
    assert not parallel([silent, silent], 1).reads_body
    assert parallel([silent, ready("b")], 1).reads_body
