"""Spans in batches: when they are sent, what is lost, and what the log says. With fake senders."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial

import anyio
import pytest

from gateway.components.otel import otlp_delivery, otlp_spans
from gateway.components.otel.exporters import OtlpExporter
from gateway.components.otel.otlp_spans import (
    BATCH_SIZE,
    DELAY,
    QUEUE_SIZE,
    Batching,
    OtlpSpans,
    Spans,
    build_batching,
    build_buffer,
)
from gateway.telemetry.spans import Span, SpanBuffer, SpanContext, SpanKind

CONTEXT = SpanContext("ab" * 16, "cd" * 8, True)
NAME = "otlp own http://localhost:4317"


def span(name: str = "a") -> Span:
    return Span(name, SpanKind.INTERNAL, CONTEXT, 1, end=2)


class FakeCollector:
    """``reasons``: what the next sends return; then they arrive. ``gate``: sends wait for it."""

    def __init__(self, *reasons: str) -> None:
        self.reasons = [*reasons]
        self.gate = threading.Event()
        self.gate.set()
        self.batches: list[list[str]] = []
        self.running = 0
        self.most = 0
        self.timeout = 20.0
        self.is_aborted = False
        self.is_closed = False

    def send(self, data: Spans) -> str:
        self.running += 1
        self.most = max(self.most, self.running)
        self.gate.wait(20)
        self.running -= 1
        self.batches.append([each.name for each in data])
        return self.reasons.pop(0) if self.reasons else ""

    def abort(self) -> None:
        self.is_aborted = True
        self.gate.set()

    def close(self) -> None:
        self.is_closed = True


def spans_of(
    collector: FakeCollector, buffer: SpanBuffer, *, delay: float = 0.001, size: int = 512
) -> OtlpSpans:
    return OtlpSpans(OtlpExporter(name="own"), buffer, Batching(delay, size), lambda: collector)


def fill(buffer: SpanBuffer, number: int) -> None:
    for at in range(number):
        buffer.add(span(str(at)))


def counts(own: OtlpSpans) -> dict[str, float]:
    readings = [*own.readings()]
    assert all(each.labels == {"exporter": "own"} for each in readings)
    return {each.name: each.value for each in readings}


def has_sent(collector: FakeCollector, batches: int) -> bool:
    return len(collector.batches) == batches


def has_counted(own: OtlpSpans, spans: int) -> bool:
    return sum(counts(own).values()) == spans


async def until(is_true: Callable[[], object]) -> None:
    with anyio.fail_after(20):
        while not is_true():
            await anyio.sleep(0.005)


@pytest.mark.anyio
async def test_spans_are_sent_after_the_delay() -> None:
    collector, buffer = FakeCollector(), SpanBuffer()
    own = spans_of(collector, buffer)
    async with own.opened():
        fill(buffer, 2)
        await until(lambda: collector.batches)
        assert not len(buffer)
        fill(buffer, 1)
        await until(lambda: len(collector.batches) > 1)
        await until(lambda: counts(own)["spans.exported"] == 3)
    assert collector.batches == [["0", "1"], ["0"]]
    assert counts(own) == {"spans.exported": 3, "spans.dropped": 0}
    assert collector.is_closed


@pytest.mark.anyio
async def test_a_full_batch_does_not_wait_for_the_delay() -> None:
    collector, buffer = FakeCollector(), SpanBuffer()
    async with spans_of(collector, buffer, delay=1000, size=3).opened():
        fill(buffer, 2)
        await anyio.sleep(otlp_spans.LOOK_PERIOD * 2)
        assert not collector.batches
        fill(buffer, 5)
        await until(lambda: len(collector.batches) == 2)
        assert len(buffer) == 1
    assert [len(each) for each in collector.batches] == [3, 3, 1]  # the last one at the stop
    assert collector.most == 1


@pytest.mark.anyio
async def test_without_spans_nothing_is_sent() -> None:
    collector = FakeCollector()
    async with spans_of(collector, SpanBuffer()).opened():
        await anyio.sleep(0.05)  # many delays
    assert not collector.batches


@pytest.mark.anyio
async def test_a_batch_is_never_larger_than_the_buffer() -> None:
    collector, buffer = FakeCollector(), SpanBuffer(4)
    async with spans_of(collector, buffer, delay=1000).opened():
        fill(buffer, 4)
        await until(lambda: collector.batches)
    assert not buffer.dropped


@pytest.mark.anyio
async def test_spans_that_do_not_fit_are_counted_and_logged_once_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    collector, buffer = FakeCollector(), SpanBuffer(2)
    own = spans_of(collector, buffer)
    async with own.opened():
        for number in range(1, 4):
            fill(buffer, 5)
            await until(partial(has_sent, collector, number))
    assert counts(own) == {"spans.exported": 6, "spans.dropped": 9}
    text = f"{NAME}: 3 spans are lost: at most 2 wait to be sent ({QUEUE_SIZE})"
    assert [record.getMessage() for record in caplog.records] == [text]


@pytest.mark.anyio
async def test_spans_of_a_failed_batch_are_lost_and_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    collector, buffer = FakeCollector("away", "away"), SpanBuffer()
    own = spans_of(collector, buffer)
    async with own.opened():
        for number in range(1, 4):
            fill(buffer, 10)
            await until(partial(has_sent, collector, number))
            await until(partial(has_counted, own, number * 10))
            assert own.readiness()["connected"] is (number == 3)
    assert counts(own) == {"spans.exported": 10, "spans.dropped": 20}
    assert [record.getMessage() for record in caplog.records] == [
        f"{NAME}: traces are not sent (failed batches: 1, lost spans: 10): away",
        f"{NAME}: traces arrive again (failed batches: 2, lost spans: 20)",
    ]


@pytest.mark.anyio
async def test_the_stop_waits_two_seconds_at_most_and_says_what_is_lost(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(otlp_delivery, "STOP_TIMEOUT", 0.05)
    collector, buffer = FakeCollector(), SpanBuffer()
    collector.gate.clear()
    own = spans_of(collector, buffer, size=3)
    async with own.opened():
        fill(buffer, 10)
        await until(lambda: collector.running)
    assert collector.is_closed
    assert not collector.batches
    assert all(each.daemon for each in threading.enumerate() if each.name == "otlp")
    collector.gate.set()
    await until(lambda: collector.batches)
    assert counts(own)["spans.dropped"] == 10
    text = f"{NAME}: 10 spans are lost: the gateway has stopped before they were sent"
    assert caplog.messages == [text]


@pytest.mark.anyio
async def test_a_send_that_takes_too_long_is_ended_and_the_next_one_is_tried(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(otlp_delivery, "ABORT_DELAY", 0.05)
    collector, buffer = FakeCollector("ended"), SpanBuffer()
    collector.timeout = 0.05
    collector.gate.clear()
    own = spans_of(collector, buffer)
    async with own.opened():
        fill(buffer, 1)
        await until(lambda: collector.batches)
        assert collector.is_aborted
        fill(buffer, 1)
        await until(lambda: counts(own)["spans.exported"] == 1)
    assert counts(own)["spans.dropped"] == 1
    assert caplog.messages[0].endswith("no complete response within 0.05 s")


@pytest.mark.anyio
async def test_there_is_never_a_second_thread_beside_one_that_does_not_end(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stuck(FakeCollector):
        def abort(self) -> None:
            self.is_aborted = True

    monkeypatch.setattr(otlp_delivery, "ABORT_DELAY", 0.02)
    monkeypatch.setattr(otlp_delivery, "JOIN_PERIOD", 0.01)
    monkeypatch.setattr(otlp_delivery, "LOG_PERIOD", 0)
    collector, buffer = Stuck(), SpanBuffer()
    collector.timeout = 0.02
    collector.gate.clear()
    own = spans_of(collector, buffer, size=1)
    async with own.opened():
        fill(buffer, 3)
        await until(lambda: counts(own)["spans.dropped"] == 3)
        assert collector.running == 1
        collector.gate.set()
        fill(buffer, 1)
        await until(lambda: counts(own)["spans.exported"] == 1)
    assert collector.most == 1
    assert caplog.messages[1].endswith(": an earlier one has not ended")


def test_the_environment_variables_of_opentelemetry(caplog: pytest.LogCaptureFixture) -> None:
    assert build_batching({}) == Batching(5.0, 512)
    assert build_buffer({}).size == 2048
    environ = {DELAY: "200", BATCH_SIZE: "7", QUEUE_SIZE: "9"}
    assert build_batching(environ) == Batching(0.2, 7)
    assert build_buffer(environ).size == 9
    assert not caplog.messages
    for text in ("x", "0", "-1", "1.5", "1e3"):
        assert build_batching({BATCH_SIZE: text}) == Batching(5.0, 512)
        text = f"{BATCH_SIZE}: expected a number above 0, the default 512 is used"
        assert caplog.messages.pop() == text
        caplog.clear()
