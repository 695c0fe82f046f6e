"""The metrics of all workers as one. Each worker writes its own to a file that the others read.

The file of a worker stays when the worker ends: its next life goes on with those counters. The
numbers that a worker reports are in its file before, so a counter never goes back.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from struct import Struct
from typing import TypeAlias

from anyio import sleep
from msgspec import MsgspecError, msgpack

from ...config.json_types import JsonObject
from ...core.anonymous_file import open_anonymous_file
from ...core.component import Assembly
from ...core.tasks import open_tasks
from ...telemetry.combined import combined, lasting
from ...telemetry.logs import get_logger
from ...telemetry.metrics import FamilySample, Registry

log = get_logger("gateway.metrics")

Families: TypeAlias = tuple[FamilySample, ...]
ReadMetrics: TypeAlias = Callable[[], Iterable[FamilySample]]
"""Returns what an exporter reports: the families sorted by name."""

WRITE_INTERVAL = 1.0
"""Seconds between two writes of a worker, and so the age of what the other workers report. What a
worker has counted since its last write is lost if it is killed."""

HEADER = Struct("=QQ")
"""Where in the file the content begins, and its length in bytes. Zeros: there is none."""

CONTENT_LOCK, OWNER_LOCK = 0, 1
"""Bytes of the file that are locked: while its content is read or written; as long as its worker
lives. The kernel releases the locks of a process that ends."""

encode = msgpack.Encoder().encode
decode = msgpack.Decoder(Families).decode


@contextmanager
def open_metric_files(workers: int) -> Generator[list[int]]:
    """The descriptors of empty files, one for each worker, that all workers inherit."""
    with ExitStack() as stack:
        files = [open_anonymous_file(f"metrics {number}") for number in range(workers)]
        yield [stack.enter_context(each) for each in files]


class MetricFile:
    """``descriptor``: of a file that the workers have inherited. No process may close it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def own(self) -> None:
        """From now on until this process ends its gauges count."""
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX, 1, OWNER_LOCK)

    def store(self, families: Families) -> None:
        """Raises OSError; then the file has its old content. It also has that if the process is
        killed meanwhile: new content is written beside the old, and the header is written last."""
        content = encode(families)
        with self._locked(fcntl.LOCK_EX):
            start, length = self._header()
            fits_before = HEADER.size + len(content) <= start
            place = HEADER.size if fits_before or not length else start + length
            if os.pwrite(self._descriptor, content, place) < len(content):
                raise OSError(0, "there is no more space")
            os.pwrite(self._descriptor, HEADER.pack(place, len(content)), 0)

    def load(self) -> Families:
        """What was stored last; empty if there is nothing, or if another version stored it."""
        with self._locked(fcntl.LOCK_SH):
            start, length = self._header()
            content = os.pread(self._descriptor, length, start)
        try:
            return decode(content) if content else ()
        except MsgspecError as error:
            log.warning("metrics of another worker cannot be read: %s", error)
            return ()

    def load_of_other(self) -> Families:
        """Without gauges if the owner has ended. Not for the owner: it would lose the lock."""
        families = self.load()
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB, 1, OWNER_LOCK)
        except (BlockingIOError, PermissionError):  # it depends on the system which
            return families
        fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, OWNER_LOCK)
        return lasting(families)

    def _header(self) -> tuple[int, int]:
        start, length = HEADER.unpack(
            os.pread(self._descriptor, HEADER.size, 0) or bytes(HEADER.size)
        )
        return start, length

    @contextmanager
    def _locked(self, mode: int) -> Generator[None]:
        fcntl.lockf(self._descriptor, mode, 1, CONTENT_LOCK)
        try:
            yield
        finally:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, CONTENT_LOCK)


class SharedMetrics:
    """``own``: the file of this worker. ``others``: those of the other workers."""

    def __init__(self, registry: Registry, own: MetricFile, others: Sequence[MetricFile]) -> None:
        self._registry = registry
        self._own = own
        self._others = others
        self._before: Families = ()
        self._is_shared = True

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[None]:
        self._before = lasting(self._own.load())
        self._store(self._before)  # no gauges of the earlier life: from now on they would count
        self._own.own()
        try:
            async with open_tasks() as tasks:
                tasks.start_soon(self._keep_stored)
                yield
                tasks.cancel_scope.cancel()
        finally:
            self._store(self._current())

    def readiness(self) -> JsonObject:
        return {"kind": "metrics", "ready": True}

    def samples(self) -> Families:
        """Of all workers. Its own are stored first: what was reported once is kept."""
        current = self._current()
        self._store(current)
        return combined(current, *(each.load_of_other() for each in self._others))

    def _current(self) -> Families:
        """What this worker has counted, in its earlier lives, too."""
        return combined(self._registry.samples(), self._before)

    async def _keep_stored(self) -> None:
        while True:
            await sleep(WRITE_INTERVAL)
            self._store(self._current())

    def _store(self, families: Families) -> None:
        try:
            self._own.store(families)
        except OSError as error:
            if self._is_shared:
                log.warning("the other workers do not get new metrics: %s", error.strerror)
            self._is_shared = False
        else:
            self._is_shared = True


def open_metrics(registry: Registry, assembly: Assembly) -> ReadMetrics:
    """What reads the metrics of all workers; those of this process if it has no others."""
    if not assembly.shared_metrics:
        return registry.samples
    files = [MetricFile(each) for each in assembly.shared_metrics]
    own = files.pop(assembly.worker)
    return assembly.resource("metrics", lambda: SharedMetrics(registry, own, files)).samples
