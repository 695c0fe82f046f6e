"""Several processes on one port: a parent process starts, watches and stops them.

Each worker has one end of a socket pair. The worker writes a byte when it serves; the parent writes
nothing. When the parent's end closes, the worker stops: the parent wants that, or has ended itself.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial

from anyio import (
    Event,
    Lock,
    create_task_group,
    move_on_after,
    open_process,
    sleep,
    wait_readable,
)
from anyio.abc import Process

from ..components.ratelimit.shared_buckets import open_shared_memory
from ..core.shared_file import open_shared_files
from ..telemetry.logs import get_logger
from .signals import CLEANUP_TIMEOUT, call_on_hangup, delayed_signals, exit_late, stop_on_signals

log = get_logger("gateway.server")

RESTART_DELAY = 1.0

KILL_TIMEOUT = CLEANUP_TIMEOUT + 1
"""Seconds after the grace period until the parent kills a worker. A worker ends itself before."""


SHARED = ("metrics", "reports")
"""Files of each worker that the other workers read: its metrics; what the page shows of it."""


async def supervise(
    command: Sequence[str], workers: int, grace: float, *, uses_metrics: bool = False
) -> int:
    """Run ``command --worker I`` for each worker until a signal; returns an exit status.

    SIGHUP is forwarded. The workers inherit shared memory for their common rate limits, and files
    for their metrics and for the page if the configuration uses metrics. A worker that ends by
    itself is started again after RESTART_DELAY. When the first start of a worker fails (status 1
    before it serves), all workers are stopped.
    """
    with ExitStack() as stack:
        memory = stack.enter_context(open_shared_memory())
        number = workers if uses_metrics else 0
        files = {
            f"--shared-{name}": stack.enter_context(open_shared_files(name, number))
            for name in SHARED
        }
        supervisor = _Supervisor(command, memory, files, grace)
        async with create_task_group() as tasks:
            kill = partial(supervisor.signal, signal.SIGKILL)
            seconds = grace + KILL_TIMEOUT
            await tasks.start(stop_on_signals, supervisor.stop, seconds, kill)
            await tasks.start(call_on_hangup, partial(supervisor.signal, signal.SIGHUP))
            async with create_task_group() as processes:
                for number in range(workers):
                    processes.start_soon(supervisor.keep_running, number)
            tasks.cancel_scope.cancel()
    return 1 if supervisor.has_failed else 0


class _Supervisor:
    def __init__(
        self,
        command: Sequence[str],
        memory: int,
        files: Mapping[str, Sequence[int]],
        grace: float,
    ) -> None:
        self.stop = Event()
        self.has_failed = False
        self._command = command
        self._memory = memory
        self._files = files
        self._grace = grace
        self._running: set[Process] = set()
        self._starting = Lock()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to every worker."""
        for process in tuple(self._running):
            with suppress(ProcessLookupError):  # the worker has ended by itself
                process.send_signal(number)

    async def keep_running(self, number: int) -> None:
        has_served = False
        while not self.stop.is_set():
            ours, theirs = socket.socketpair()
            with ours:
                with theirs:
                    process = await self._start(number, theirs.fileno())
                status = await self._wait_end(process, number, ours)
                has_served = has_served or _has_written(ours)
            if self.stop.is_set() or (status == 1 and not has_served):
                self.has_failed = self.has_failed or status != 0
                self.stop.set()
                return
            level = logging.ERROR if status else logging.INFO
            log.log(level, "worker %d ended with status %d: it is started again", number, status)
            with move_on_after(RESTART_DELAY):
                await self.stop.wait()

    async def _start(self, number: int, parent: int) -> Process:
        command = [*self._command, "--worker", str(number), "--parent", str(parent)]
        command += ["--shared-memory", str(self._memory)]
        for option, descriptors in self._files.items():
            if descriptors:
                command += [option, ",".join(map(str, descriptors))]
        inherited = [each for descriptors in self._files.values() for each in descriptors]
        async with self._starting:  # the signal mask belongs to the whole process
            with delayed_signals():
                return await open_process(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=sys.stdout.fileno(),
                    stderr=sys.stderr.fileno(),
                    pass_fds=[parent, self._memory, *inherited],
                )

    async def _wait_end(self, process: Process, number: int, ours: socket.socket) -> int:
        self._running.add(process)
        async with create_task_group() as tasks:
            tasks.start_soon(self._end, process, number, ours)
            status = await process.wait()
            tasks.cancel_scope.cancel()
        self._running.discard(process)
        return status

    async def _end(self, process: Process, number: int, ours: socket.socket) -> None:
        await self.stop.wait()
        ours.shutdown(socket.SHUT_WR)
        await sleep(self._grace + KILL_TIMEOUT)
        log.error("worker %d did not stop in time: it is killed", number)
        process.kill()


def _has_written(ours: socket.socket) -> bool:
    try:
        return bool(ours.recv(1, socket.MSG_DONTWAIT))
    except BlockingIOError:  # a child of the worker has its end
        return False


def say_serving(parent: int) -> None:
    """Called by a worker when it serves: from now on its end is not a failed start."""
    with suppress(BrokenPipeError):  # the parent has ended
        os.write(parent, b"1")


async def stop_with_parent(parent: int, stop: Event, grace: float) -> None:
    """In a worker: set ``stop`` when the parent's end closes. End the process if the loop hangs.

    ``parent``: descriptor of the worker's end.
    """
    threading.Thread(target=_end_with_parent, args=(parent, grace), daemon=True).start()
    await wait_readable(parent)
    if not stop.is_set():
        log.info("the parent process stops or has ended: stopping")
        stop.set()


def _end_with_parent(parent: int, grace: float) -> None:
    select.select([parent], [], [])  # the event loop may have made the descriptor non-blocking
    time.sleep(grace + CLEANUP_TIMEOUT)
    exit_late()
