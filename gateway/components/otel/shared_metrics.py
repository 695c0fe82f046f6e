"""The metrics of all workers as one. Each worker writes its own to a file that the others read.

The file of a worker stays when the worker ends: its next life goes on with those counters. The
numbers that a worker reports are in its file before, so a counter never goes back.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import TypeAlias

from anyio import sleep
from msgspec import MsgspecError, msgpack

from ...config.json_types import JsonObject
from ...core.component import Assembly
from ...core.shared_file import SharedFile
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

encode = msgpack.Encoder().encode
decode = msgpack.Decoder(Families).decode


class MetricFile(SharedFile):
    """The metrics of one worker. From :meth:`own` on its gauges count."""

    def store(self, families: Families) -> None:
        """Raises OSError; then the file has its old content."""
        self.write(encode(families))

    def load(self) -> Families:
        """What was stored last; empty if there is nothing, or if another version stored it."""
        content = self.read()
        try:
            return decode(content) if content else ()
        except MsgspecError as error:
            log.warning("metrics of another worker cannot be read: %s", error)
            return ()

    def load_of_other(self) -> Families:
        """Without gauges if the owner has ended. Not for the owner: it would lose the lock."""
        families = self.load()
        return families if self.has_owner() else lasting(families)


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
