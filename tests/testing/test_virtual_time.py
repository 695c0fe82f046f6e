"""The event loop whose clock jumps."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest
from anyio import create_task_group, current_time, fail_after, move_on_after, sleep, to_thread

from gateway.testing.virtual_time import VirtualTimeLoop

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    return "asyncio", {"loop_factory": VirtualTimeLoop}


async def test_a_year_passes_at_once() -> None:
    began, start = time.monotonic(), current_time()
    await sleep(365 * 86_400)
    assert current_time() - start == pytest.approx(365 * 86_400)
    assert time.monotonic() - began < 5


async def test_timers_fire_in_their_order() -> None:
    woken = []

    async def wake(seconds: float) -> None:
        await sleep(seconds)
        woken.append((seconds, round(current_time() - start, 6)))

    start = current_time()
    async with create_task_group() as tasks:
        for seconds in (3.0, 0.1, 2.5):
            tasks.start_soon(wake, seconds)
    assert woken == [(0.1, 0.1), (2.5, 2.5), (3.0, 3.0)]


async def test_deadlines_pass() -> None:
    with move_on_after(10) as scope:
        await sleep(3600)
    assert scope.cancelled_caught
    with pytest.raises(TimeoutError), fail_after(1):
        await asyncio.Event().wait()


async def test_threads_and_sockets_work_without_a_deadline() -> None:
    await to_thread.run_sync(time.sleep, 0.05)
    loop, called = asyncio.get_running_loop(), asyncio.Event()
    await to_thread.run_sync(loop.call_soon_threadsafe, called.set)
    await called.wait()
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        await to_thread.run_sync(theirs.send, b"bytes")
        assert await loop.sock_recv(ours, 10) == b"bytes"
