"""Several processes on one port: a parent that starts, watches and ends them."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress

from anyio import Event, create_task_group, open_process, sleep
from anyio.abc import Process

from ..logs import get_logger
from ..ratelimit.table import open_shared_memory
from .signals import call_on_hangup, stop_on_signals

log = get_logger("gateway.server")

RESTART_PAUSE = 1.0


async def supervise(
    command: Sequence[str], workers: int, grace: float, forwards_hangup: bool = False
) -> int:
    """Run ``command --worker I`` for each worker until a signal; returns an exit status.

    ``forwards_hangup``: the workers get each SIGHUP, too. They inherit memory in which they keep
    rate limits together.

    A worker that ends by itself is started again after a pause; one that never came up (status
    1 within the pause) ends all.
    """
    stop = Event()
    failed: list[int] = []
    running: set[Process] = set()

    def hang_up() -> None:
        for process in tuple(running):
            with suppress(ProcessLookupError):  # it has ended by itself
                process.send_signal(signal.SIGHUP)

    with open_shared_memory() as memory:
        async with create_task_group() as tasks:
            tasks.start_soon(stop_on_signals, stop, grace)
            if forwards_hangup:
                tasks.start_soon(call_on_hangup, hang_up)
            async with create_task_group() as processes:
                for number in range(workers):
                    processes.start_soon(
                        _keep_running, command, number, memory, stop, failed, running
                    )
            tasks.cancel_scope.cancel()
    return 1 if failed else 0


async def _keep_running(
    command: Sequence[str],
    number: int,
    memory: int,
    stop: Event,
    failed: list[int],
    running: set[Process],
) -> None:
    while not stop.is_set():
        process = await open_process(
            [*command, "--worker", str(number), "--shared-memory", str(memory)],
            stdin=subprocess.DEVNULL,
            stdout=sys.stdout.fileno(),
            stderr=sys.stderr.fileno(),
            pass_fds=[memory],
        )
        running.add(process)
        async with create_task_group() as tasks:
            tasks.start_soon(_forward_stop, process, stop)
            status = await process.wait()
            tasks.cancel_scope.cancel()
        running.discard(process)
        if stop.is_set():
            # One that had not yet begun to listen to signals has ended as it was told, too.
            failed.extend([status] if status not in (0, -signal.SIGTERM) else [])
            return
        log.error("worker %d ended with status %s", number, status)
        if status == 1:
            failed.append(status)
            stop.set()
            return
        await sleep(RESTART_PAUSE)


async def _forward_stop(process: Process, stop: Event) -> None:
    await stop.wait()
    if process.returncode is None:
        process.send_signal(signal.SIGTERM)
