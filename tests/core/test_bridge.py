"""The asyncio side, as seen from both async libraries."""

from __future__ import annotations

import asyncio
import threading

import anyio.lowlevel
import pytest
from anyio import CancelScope, Event, create_task_group, fail_after, move_on_after
from hypothesis import given
from hypothesis.strategies import floats
from sniffio import current_async_library

from gateway.core.bridge import TICKS, next_tick, open_asyncio_side
from gateway.errors import GatewayError

pytestmark = pytest.mark.anyio


async def where() -> tuple[str, int]:
    await asyncio.sleep(0)
    await anyio.lowlevel.checkpoint()  # AnyIO knows over there that it is asyncio
    return current_async_library(), threading.get_ident()


async def test_what_runs_there_runs_under_asyncio(anyio_backend: str) -> None:
    async with open_asyncio_side() as side:
        library, thread = await side.run(where)
    assert library == "asyncio"
    assert (thread == threading.get_ident()) == (anyio_backend == "asyncio")


async def test_results_and_errors_come_back() -> None:
    async def divide(a: int, b: int) -> float:
        if b == 0:
            raise GatewayError("by zero")
        return a / b

    async with open_asyncio_side() as side:
        assert await side.run(divide, 6, 3) == 2
        with pytest.raises(GatewayError, match="by zero"):
            await side.run(divide, 1, 0)


async def test_cancelling_waits_for_the_clean_up_over_there() -> None:
    steps: list[str] = []
    begun = Event()

    async with open_asyncio_side() as side:

        async def work() -> None:
            try:
                side.post(begun.set)
                await asyncio.sleep(60)
            finally:
                with CancelScope(shield=True):
                    await asyncio.sleep(0.05)
                steps.append("cleaned up")

        with fail_after(5):
            async with create_task_group() as tasks:
                tasks.start_soon(side.run, work)
                await begun.wait()
                tasks.cancel_scope.cancel()
        steps.append("left")
    assert steps == ["cleaned up", "left"]


async def test_a_result_that_beats_the_cancellation_is_not_lost() -> None:
    async def stubborn() -> str:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            assert task is not None
            task.uncancel()
        return "done"

    results: list[str] = []
    async with open_asyncio_side() as side:
        with move_on_after(0.05):
            results.append(await side.run(stubborn))
    assert results == ["done"]


async def test_calls_go_both_ways_in_order() -> None:
    near: list[int] = []
    done = Event()

    async with open_asyncio_side() as side:

        def arrive(number: int) -> None:
            near.append(number)
            if number == 99:
                done.set()

        for number in range(100):
            side.tell(side.post, arrive, number)
        with fail_after(5):
            await done.wait()
    assert near == list(range(100))


async def test_no_thread_is_left() -> None:
    before = threading.active_count()
    async with open_asyncio_side() as side:
        await side.run(where)
    # Trio keeps an idle worker thread for a while; the loop's own thread must be gone.
    names = [thread.name for thread in threading.enumerate()]
    assert threading.active_count() <= before + 2, names
    assert not any("portal" in name.lower() for name in names)


@given(floats(0, 1e7))
def test_a_tick_is_never_so_soon_that_a_timer_of_whole_milliseconds_fires_before_it(
    time: float,
) -> None:
    tick = next_tick(time)
    assert round(tick * TICKS) == pytest.approx(tick * TICKS)
    assert 0.499 / TICKS < tick - time < 1.501 / TICKS
