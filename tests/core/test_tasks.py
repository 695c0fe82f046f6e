"""Task groups that raise a lone error as itself."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import pytest
from anyio import Event, fail_after, move_on_after, sleep_forever

from gateway.core.tasks import called_back, open_tasks, open_together
from gateway.errors import GatewayError

pytestmark = pytest.mark.anyio


async def fail(text: str) -> None:
    raise GatewayError(text)


async def test_a_lone_error_comes_out_as_itself_however_deep() -> None:
    async def nested() -> None:
        async with open_tasks() as inner:
            inner.start_soon(fail, "lone")
            await sleep_forever()

    with pytest.raises(GatewayError, match="lone"):
        async with open_tasks() as tasks:
            tasks.start_soon(nested)
            tasks.start_soon(sleep_forever)


async def test_its_cause_is_kept() -> None:
    cause = ValueError("why")
    with pytest.raises(GatewayError) as error:
        async with open_tasks():
            raise GatewayError("lone") from cause
    assert error.value.__cause__ is cause


async def test_several_errors_stay_a_group() -> None:
    with pytest.raises(ExceptionGroup) as error:
        async with open_tasks():
            raise ExceptionGroup("two", [GatewayError("a"), GatewayError("b")])
    assert error.group_contains(GatewayError, match="a")
    assert error.group_contains(GatewayError, match="b")


async def test_contexts_that_are_open_together_are_left_at_the_same_time() -> None:
    entered: list[int] = []
    leaving = [Event(), Event()]

    @asynccontextmanager
    async def context(number: int) -> AsyncGenerator[None]:
        entered.append(number)
        yield
        leaving[number].set()
        await leaving[1 - number].wait()  # of no use to one that is left after the other

    with fail_after(30):
        async with open_together([context(0), context(1)]):
            assert entered == [0, 1]


async def test_of_contexts_that_are_open_together_one_that_fails_closes_the_others() -> None:
    closed: list[str] = []

    @asynccontextmanager
    async def context() -> AsyncGenerator[None]:
        try:
            yield
        finally:
            closed.append("first")

    @asynccontextmanager
    async def broken() -> AsyncGenerator[None]:
        raise GatewayError("broken")
        yield

    with pytest.raises(GatewayError, match="broken"):
        async with open_together([context(), broken()]):
            pytest.fail("not all are open")
    assert closed == ["first"]


@pytest.mark.parametrize("result", [1, GatewayError("no")])
async def test_a_callback_is_awaited(result: int | GatewayError) -> None:
    withdrawn = Event()

    def start(arrive: Callable[[int | GatewayError], None]) -> Callable[[], None]:
        arrive(result)
        return withdrawn.set

    if isinstance(result, GatewayError):
        with pytest.raises(GatewayError, match="no"):
            await called_back(start)
    else:
        assert await called_back(start) == result
    assert not withdrawn.is_set()


async def test_a_wait_for_a_callback_that_is_cancelled_withdraws() -> None:
    withdrawn = Event()

    def start(arrive: Callable[[int | GatewayError], None]) -> Callable[[], None]:
        return withdrawn.set

    with move_on_after(0):
        await called_back(start)
    assert withdrawn.is_set()
