"""Reports metrics to collectors of OpenTelemetry.

A report has the sums since the start of the process. So a report that fails is not repeated: the
next one includes its numbers. Each worker reports for itself. Data and protocols:
:mod:`.otlp_library`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from anyio import Event, move_on_after

from ...telemetry.metrics import FamilySample
from .exporters import OtlpExporter
from .otlp_delivery import Deliverer, OpenSender, OtlpResource, OutageLog, log_name
from .shared_metrics import ReadMetrics

Families: TypeAlias = Sequence[FamilySample]

MIN_TIMEOUT, MAX_TIMEOUT = 2.0, 10.0
"""Seconds that a report may take. Between them it is the period. The largest is the default of
OpenTelemetry's exporters."""


class OtlpReports(OtlpResource[Families]):
    """The reports to one collector, one each ``period`` seconds, one after the other. The last one
    is sent when the gateway stops."""

    kind = "otlp"

    def __init__(
        self,
        exporter: OtlpExporter,
        period: float,
        read: ReadMetrics,
        open_sender: OpenSender[Families],
    ) -> None:
        outage = OutageLog(log_name(exporter, exporter.metrics_url), "metrics", "reports")
        super().__init__(exporter, outage, open_sender)
        self._period = period
        self._read = read

    async def _repeat(self, delivery: Deliverer[Families], stop: Event) -> None:
        is_last = False
        while not is_last:
            with move_on_after(self._period):
                await stop.wait()
            is_last = stop.is_set()
            await delivery.send(tuple(self._read()))
