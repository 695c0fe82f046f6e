"""Several processes on one port: a parent process starts, watches and stops them.

Each worker has one end of a socket pair. The worker writes a byte when it serves, and, if there is
a watchdog, further ones while its event loops respond; the parent writes nothing. When the parent's
end closes, the worker stops: the parent wants that, or has ended itself.
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
from .notify import ServiceManager, keep_alive
from .signals import CLEANUP_TIMEOUT, call_on_hangup, delayed_signals, exit_late, stop_on_signals

log = get_logger("gateway.server")

RESTART_DELAY = 1.0

KILL_TIMEOUT = CLEANUP_TIMEOUT + 1
"""Seconds after the grace period until the parent kills a worker. A worker ends itself before."""

MAX_SILENT_ROUNDS = 3
"""Rounds of the watchdog in which a worker writes nothing: 1 to 1.5 times the watchdog's period."""

NO_MANAGER = ServiceManager({})


SHARED = ("metrics", "reports")
"""Files of each worker that the other workers read: its metrics; what the page shows of it."""


async def supervise(
    command: Sequence[str],
    workers: int,
    grace: float,
    *,
    uses_metrics: bool = False,
    manager: ServiceManager = NO_MANAGER,
) -> int:
    """Run ``command --worker I`` for each worker until a signal; returns an exit status.

    SIGHUP is forwarded. The workers inherit shared memory for their common rate limits, and files
    for their metrics and for the page if the configuration uses metrics. A worker that ends by
    itself is started again after RESTART_DELAY. When the first start of a worker fails (status 1
    before it serves), all workers are stopped. ``manager`` is notified when all workers serve. If
    it has a watchdog, it watches this process, which watches the workers: one that does not respond
    for 1 to 1.5 times the period of the watchdog is aborted, and started again.
    """
    with ExitStack() as stack:
        memory = stack.enter_context(open_shared_memory())
        number = workers if uses_metrics else 0
        files = {
            f"--shared-{name}": stack.enter_context(open_shared_files(name, number))
            for name in SHARED
        }
        supervisor = _Supervisor(command, workers, memory, files, grace, manager)
        async with create_task_group() as tasks:
            kill = partial(supervisor.signal, signal.SIGKILL)
            seconds = grace + KILL_TIMEOUT
            await tasks.start(stop_on_signals, supervisor.stop, seconds, kill)
            await tasks.start(call_on_hangup, partial(supervisor.signal, signal.SIGHUP))
            tasks.start_soon(supervisor.announce_stop)
            tasks.start_soon(keep_alive, manager, supervisor.abort_silent_workers)
            async with create_task_group() as processes:
                for number in range(workers):
                    processes.start_soon(supervisor.keep_running, number)
            tasks.cancel_scope.cancel()
    return 1 if supervisor.has_failed else 0


class _RunningWorker:
    """``ours``: the parent's end. ``is_serving``: it has written."""

    def __init__(self, number: int, process: Process, ours: socket.socket) -> None:
        self.number = number
        self.process = process
        self.ours = ours
        self.is_serving = False
        self._silent_rounds = 0

    def signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):  # the worker has ended by itself
            self.process.send_signal(number)

    def read(self) -> bool:
        """Read what the worker has written. Returns whether it may write more."""
        try:
            written = self.ours.recv(4096, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        if written:
            self.is_serving = True
            self._silent_rounds = 0
        return bool(written)

    def abort_if_silent(self) -> None:
        """To be called as often as the worker should write. Rounds are counted instead of seconds:
        after a pause of the whole machine no worker is silent for several rounds.

        SIGABRT makes Python write tracebacks. A process that it does not end is killed.
        """
        if not self.is_serving:
            return
        self._silent_rounds += 1
        if self._silent_rounds >= MAX_SILENT_ROUNDS:
            log.error("worker %d does not respond: it is aborted", self.number)
            is_first = self._silent_rounds == MAX_SILENT_ROUNDS
            self.signal(signal.SIGABRT if is_first else signal.SIGKILL)


class _Supervisor:
    def __init__(
        self,
        command: Sequence[str],
        workers: int,
        memory: int,
        files: Mapping[str, Sequence[int]],
        grace: float,
        manager: ServiceManager,
    ) -> None:
        self.stop = Event()
        self.has_failed = False
        self._command = command
        self._workers = workers
        self._memory = memory
        self._files = files
        self._grace = grace
        self._manager = manager
        self._running: set[_RunningWorker] = set()
        self._served: set[int] = set()
        self._starting = Lock()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to every worker."""
        for worker in tuple(self._running):
            worker.signal(number)

    async def announce_stop(self) -> None:
        await self.stop.wait()
        self._manager.stopping(self._grace + KILL_TIMEOUT)

    async def abort_silent_workers(self) -> None:
        if not self.stop.is_set():  # a stop has a time limit of its own
            for worker in tuple(self._running):
                worker.abort_if_silent()

    async def keep_running(self, number: int) -> None:
        while not self.stop.is_set():
            ours, theirs = socket.socketpair()
            with ours:
                with theirs:
                    process = await self._start(number, theirs.fileno())
                status = await self._wait_end(_RunningWorker(number, process, ours))
            if self.stop.is_set() or (status == 1 and number not in self._served):
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
        if self._manager.watchdog is not None:
            command += ["--watchdog", str(self._manager.watchdog)]
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

    async def _wait_end(self, worker: _RunningWorker) -> int:
        self._running.add(worker)
        async with create_task_group() as tasks:
            tasks.start_soon(self._end, worker)
            tasks.start_soon(self._read_signs, worker)
            status = await worker.process.wait()
            tasks.cancel_scope.cancel()
        self._running.discard(worker)
        self._read(worker)
        return status

    async def _read_signs(self, worker: _RunningWorker) -> None:
        while self._read(worker):
            await wait_readable(worker.ours)

    def _read(self, worker: _RunningWorker) -> bool:
        may_go_on = worker.read()
        if worker.is_serving and worker.number not in self._served:
            self._served.add(worker.number)
            if len(self._served) == self._workers:
                self._manager.ready(f"{self._workers} workers")
        return may_go_on

    async def _end(self, worker: _RunningWorker) -> None:
        await self.stop.wait()
        worker.ours.shutdown(socket.SHUT_WR)
        await sleep(self._grace + KILL_TIMEOUT)
        log.error("worker %d did not stop in time: it is killed", worker.number)
        worker.signal(signal.SIGKILL)


class ParentProcess:
    """The parent, as a worker knows it. ``descriptor``: of the worker's end.

    ``watchdog``: as in :class:`Watcher`.
    """

    def __init__(self, descriptor: int, watchdog: float | None) -> None:
        self.watchdog = watchdog
        self._descriptor = descriptor
        os.set_blocking(descriptor, False)

    def ready(self, status: str) -> None:
        """From now on the end of this process is not a failed start."""
        self._write()

    def alive(self) -> None:
        self._write()

    def stopping(self, seconds: float) -> None:
        """The parent knows: it stops all workers."""

    def _write(self) -> None:
        with suppress(BrokenPipeError, BlockingIOError):  # the parent has ended, or does not read
            os.write(self._descriptor, b"1")


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
