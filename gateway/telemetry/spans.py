"""Spans: what was done for a sampled request, in OpenTelemetry's words. Plain data: an exporter
reads it, no library is called for a request.

https://opentelemetry.io/docs/specs/otel/trace/api/
"""

from __future__ import annotations

from collections import deque
from enum import Enum, auto
from typing import NamedTuple, TypeAlias

from msgspec import Struct

AttributeValue: TypeAlias = str | bool | int | float | list[str]
Attributes: TypeAlias = dict[str, AttributeValue]

MAX_SPANS = 2048
"""Spans that wait for an exporter: the default of OpenTelemetry's OTEL_BSP_MAX_QUEUE_SIZE."""


class SpanContext(NamedTuple):
    """What a span hands on: https://www.w3.org/TR/trace-context/

    ``trace_id``: 32 hexadecimal digits in lower case, ``span_id``: 16. ``state``: the value of the
    header ``tracestate``, unchanged.
    """

    trace_id: str
    span_id: str
    is_sampled: bool
    state: str = ""


class SpanKind(Enum):
    INTERNAL = auto()
    SERVER = auto()
    CLIENT = auto()
    PRODUCER = auto()
    CONSUMER = auto()


class SpanEvent(NamedTuple):
    """``at``: nanoseconds since 1970."""

    name: str
    at: int
    attributes: Attributes


class Span(Struct, eq=False):
    """``parent_id``: 16 hexadecimal digits, "" for the first span of a trace. ``start``, ``end``:
    nanoseconds since 1970; ``end`` is 0 until it has ended. ``error``: the description of the
    status ERROR; None: the status is not set."""

    name: str
    kind: SpanKind
    context: SpanContext
    start: int
    parent_id: str = ""
    end: int = 0
    attributes: Attributes = {}
    links: list[SpanContext] = []
    events: list[SpanEvent] = []
    error: str | None = None


class SpanBuffer:
    """Spans that have ended, for one exporter. Beyond ``size`` new ones are dropped and counted."""

    def __init__(self, size: int = MAX_SPANS) -> None:
        self.size = size
        self._spans: deque[Span] = deque()
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._spans)

    def add(self, span: Span) -> None:
        if len(self._spans) < self.size:
            self._spans.append(span)
        else:
            self.dropped += 1

    def take(self, count: int) -> list[Span]:
        """The oldest spans, ``count`` at most. They are removed."""
        return [self._spans.popleft() for _ in range(min(count, len(self._spans)))]
