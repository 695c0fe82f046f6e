"""Sends spans to collectors of OpenTelemetry: in which batches, and what is lost.

A batch that fails within the library's own attempts is lost: its spans are counted, not kept. Each
worker sends its own. Data and protocols: :mod:`.otlp_library`.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TypeAlias

from anyio import Event, current_time, move_on_after
from msgspec import Struct

from ...telemetry.logs import get_logger
from ...telemetry.metrics import Reading
from ...telemetry.spans import MAX_SPANS, Span, SpanBuffer
from .exporters import OtlpExporter
from .otlp_delivery import (
    LOG_PERIOD,
    Deliverer,
    OpenSender,
    OtlpResource,
    OutageLog,
    log_name,
)

log = get_logger("gateway.otlp")

Spans: TypeAlias = Sequence[Span]

TRACES_TIMEOUT = 10.0
"""Seconds that a batch may take, with the library's own attempts to repeat: the default of
OpenTelemetry's exporters."""
LOOK_PERIOD = 0.1
"""Seconds between two looks whether a batch is full. In that time 2,048 spans, which may wait, are
more than one thread encodes (28 us each)."""

DELAY = "OTEL_BSP_SCHEDULE_DELAY"
BATCH_SIZE = "OTEL_BSP_MAX_EXPORT_BATCH_SIZE"
QUEUE_SIZE = "OTEL_BSP_MAX_QUEUE_SIZE"
DEFAULTS = {DELAY: 5000, BATCH_SIZE: 512, QUEUE_SIZE: MAX_SPANS}
"""https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/"""


class Batching(Struct, frozen=True):
    """``delay``: seconds between two batches. ``size``: spans of a full batch, which is not
    delayed."""

    delay: float
    size: int


def number_of(environ: Mapping[str, str], name: str) -> int:
    """An environment variable of :data:`DEFAULTS`. As OpenTelemetry's specification says, a wrong
    value is a warning in the log, and the default is used."""
    text = environ.get(name, "").strip()
    if not text:
        return DEFAULTS[name]
    if text.isascii() and text.isdecimal() and 0 < int(text) < 10**9:
        return int(text)
    log.warning("%s: expected a number above 0, the default %d is used", name, DEFAULTS[name])
    return DEFAULTS[name]


def build_buffer(environ: Mapping[str, str] = os.environ) -> SpanBuffer:
    """For the spans of one collector."""
    return SpanBuffer(number_of(environ, QUEUE_SIZE))


def build_batching(environ: Mapping[str, str] = os.environ) -> Batching:
    return Batching(number_of(environ, DELAY) / 1000, number_of(environ, BATCH_SIZE))


class OtlpSpans(OtlpResource[Spans]):
    """The spans of ``buffer`` for one collector, one batch after the other."""

    kind = "otlp traces"

    def __init__(
        self,
        exporter: OtlpExporter,
        buffer: SpanBuffer,
        batching: Batching,
        open_sender: OpenSender[Spans],
    ) -> None:
        self._name = log_name(exporter, exporter.traces_url)
        super().__init__(exporter, OutageLog(self._name, "traces", "batches", "spans"), open_sender)
        self._buffer = buffer
        self._delay = batching.delay
        self._size = min(batching.size, buffer.size)
        self._exported = 0
        self._failed = 0
        self._sending = 0
        self._overflow = 0
        self._overflow_logged_at = float("-inf")

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[None]:
        try:
            async with super().opened():
                yield
        finally:
            self._give_up()

    def readings(self) -> Iterator[Reading]:
        labels = {"exporter": self._exporter.label}
        yield Reading("spans.exported", labels, self._exported)
        yield Reading("spans.dropped", labels, self._buffer.dropped + self._failed)

    async def _repeat(self, delivery: Deliverer[Spans], stop: Event) -> None:
        while not stop.is_set():
            with move_on_after(self._delay):
                await self._full_batch(stop)
            await self._send(delivery)
            self._log_overflow()
        while self._buffer:
            await self._send(delivery)

    async def _full_batch(self, stop: Event) -> None:
        """Wait until a batch is full, or for the stop."""
        while len(self._buffer) < self._size and not stop.is_set():
            with move_on_after(LOOK_PERIOD):
                await stop.wait()

    async def _send(self, delivery: Deliverer[Spans]) -> None:
        spans = self._buffer.take(self._size)
        if not spans:
            return
        self._sending = len(spans)
        if await delivery.send(spans, len(spans)):
            self._exported += len(spans)
        else:
            self._failed += len(spans)
        self._sending = 0

    def _log_overflow(self) -> None:
        """Spans that are made faster than they are sent. One line each :data:`LOG_PERIOD`."""
        lost = self._buffer.dropped - self._overflow
        if lost and current_time() - self._overflow_logged_at >= LOG_PERIOD:
            self._overflow_logged_at = current_time()
            self._overflow = self._buffer.dropped
            text = "%s: %d spans are lost: at most %d wait to be sent (%s)"
            log.warning(text, self._name, lost, self._buffer.size, QUEUE_SIZE)

    def _give_up(self) -> None:
        """What could not be sent in time, when the gateway stops."""
        lost = self._sending + len(self._buffer.take(len(self._buffer)))
        if lost:
            self._failed += lost
            self._sending = 0
            text = "%s: %d spans are lost: the gateway has stopped before they were sent"
            log.warning(text, self._name, lost)
