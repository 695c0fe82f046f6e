"""Reports metrics to collectors of OpenTelemetry.

A report has the sums since the start of the process. So a report that fails is not repeated: the
next one includes its numbers. Each worker reports for itself. Data and protocols:
:mod:`.otlp_library`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import TypeAlias

from anyio import Event, current_time, move_on_after

from ...config.json_types import JsonObject
from ...core.tasks import open_tasks
from ...telemetry.metrics import FamilySample
from .exporters import OtlpExporter
from .otlp_delivery import STOP_TIMEOUT, Deliverer, OpenSender, OutageLog, opened_sender
from .shared_metrics import ReadMetrics

Families: TypeAlias = Sequence[FamilySample]

MIN_TIMEOUT, MAX_TIMEOUT = 2.0, 10.0
"""Seconds that a report may take. Between them it is the period. The largest is the default of
OpenTelemetry's exporters."""


class OtlpReports:
    """The reports to one collector, one each ``period`` seconds, one after the other."""

    def __init__(
        self,
        exporter: OtlpExporter,
        period: float,
        read: ReadMetrics,
        open_sender: OpenSender[Families],
    ) -> None:
        self._exporter = exporter
        self._period = period
        self._read = read
        self._open_sender = open_sender
        name = " ".join(filter(None, ("otlp", exporter.name, exporter.metrics_url)))
        self._outage = OutageLog(name, "metrics", "reports")

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[None]:
        """Report while the block runs, and once when it ends."""
        stop = Event()
        sender = opened_sender(self._exporter, self._open_sender)
        try:
            async with open_tasks() as tasks:
                tasks.start_soon(self._repeat, Deliverer(sender, self._outage), stop)
                yield
                stop.set()
                tasks.cancel_scope.deadline = current_time() + STOP_TIMEOUT
        finally:
            sender.close()

    def readiness(self) -> JsonObject:
        """Always ready: without a collector requests are served all the same."""
        return {
            "kind": "otlp",
            "ready": True,
            "name": self._exporter.name,
            "address": self._exporter.address,
            "connected": self._outage.is_up,
        }

    async def _repeat(self, delivery: Deliverer[Families], stop: Event) -> None:
        is_last = False
        while not is_last:
            with move_on_after(self._period):
                await stop.wait()
            is_last = stop.is_set()
            await delivery.send(tuple(self._read()))
