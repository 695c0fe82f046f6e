"""Whether the event loops of a gateway respond: what a watchdog asks."""

from __future__ import annotations

import threading

import pytest
from anyio import Event, create_task_group, wait_all_tasks_blocked
from sniffio import current_async_library

from gateway import open_gateway


@pytest.mark.anyio
async def test_reaching_the_loops_waits_for_the_asyncio_side() -> None:
    async with open_gateway({"version": 3, "endpoints": []}) as gateway:
        await gateway.reach_loops()
        if current_async_library() == "asyncio":  # this loop is the asyncio side
            return
        goes_on, has_reached = threading.Event(), Event()

        async def reach() -> None:
            await gateway.reach_loops()
            has_reached.set()

        async with create_task_group() as tasks:
            gateway._assembly.side.tell(goes_on.wait)
            tasks.start_soon(reach)
            await wait_all_tasks_blocked()
            assert not has_reached.is_set()
            goes_on.set()
            await has_reached.wait()
