"""Sampling, spans, and the contexts that are passed on."""

from __future__ import annotations

from random import Random
from unittest.mock import patch

import pytest

from gateway.telemetry import tracing
from gateway.telemetry.propagation import Incoming, Propagation
from gateway.telemetry.spans import Attributes, SpanBuffer, SpanContext, SpanKind
from gateway.telemetry.tracing import Trace, Tracer, bound_of

PARENT = SpanContext("1" * 32, "2" * 16, True, "a=1")
UNSAMPLED = PARENT._replace(is_sampled=False)


def tracer_of(rate: float = 1.0, buffers: int = 1) -> Tracer:
    return Tracer(Propagation(), [SpanBuffer() for _ in range(buffers)], rate)


def started(tracer: Tracer, *incoming: object) -> Trace:
    trace = tracer.start(Incoming(*incoming))  # type: ignore[arg-type]
    assert trace is not None
    return trace


@pytest.mark.parametrize(
    ("trace_id", "rate", "is_sampled"),
    [
        # Of the tests of OpenTelemetry's TraceIdRatioBased (opentelemetry-python, test_sampling).
        (0x0, 0.5, True),
        (0x7FFFFFFFFFFFFFFF, 0.5, True),
        (0x8000000000000000, 0.5, False),
        (0xFFFFFFFFFFFFFFFF, 0.5, False),
        (0xFFFFFFFFFFFFFFFF, 1.0, True),
        (0x1, 0.0, False),
        (0xAAAAAAAAAAAAAAAA_7FFFFFFFFFFFFFFF, 0.5, True),
        (0x0000000000000001_8000000000000000, 0.5, False),
        (0x20000000000000, 2**-11, False),
        (0x1FFFFFFFFFFFFF, 2**-11, True),
    ],
)
def test_the_last_bits_of_the_trace_id_decide(trace_id: int, rate: float, is_sampled: bool) -> None:
    with patch.object(tracing, "getrandbits", lambda bits: trace_id):
        trace = started(tracer_of(rate))
    assert trace.is_recorded is is_sampled
    assert trace.context is not None
    assert trace.context.is_sampled is is_sampled


@pytest.mark.parametrize("rate", [-1, 0.0])
def test_at_rate_0_no_request_is_sampled_but_those_of_sampled_parents(rate: float) -> None:
    tracer = tracer_of(rate)
    assert not any(started(tracer).is_recorded for _ in range(100))
    assert started(tracer, PARENT).is_recorded


@pytest.mark.parametrize("rate", [1.0, 7])
def test_at_rate_1_every_request_is_sampled_but_those_of_unsampled_parents(rate: float) -> None:
    tracer = tracer_of(rate)
    assert all(started(tracer).is_recorded for _ in range(100))
    assert not started(tracer, UNSAMPLED).is_recorded


def test_a_part_of_the_requests_is_sampled() -> None:
    random = Random(1)
    tracer = tracer_of(0.25)
    with patch.object(tracing, "getrandbits", random.getrandbits):
        sampled = sum(started(tracer).is_recorded for _ in range(10_000))
    assert 2_300 < sampled < 2_700


def test_an_endpoint_may_have_another_rate() -> None:
    trace = tracer_of(0.0).start(bound=bound_of(1.0))
    assert trace is not None
    assert trace.is_recorded


def test_an_unsampled_request_passes_on_a_context_that_is_drawn_once() -> None:
    trace = started(tracer_of(0.0), None, b"k=v")
    [(name, value), baggage] = trace.headers()
    version, trace_id, span_id, flags = value.decode().split("-")
    assert (name, version, flags, baggage) == (b"traceparent", "00", "00", (b"baggage", b"k=v"))
    assert trace.headers()[0] == (name, value)
    assert trace.trace_id == trace_id != "0" * 32
    assert trace.context == SpanContext(trace_id, span_id, False)


def test_an_unsampled_parent_is_passed_on_with_a_new_span_id() -> None:
    context = started(tracer_of(), UNSAMPLED).context
    assert context is not None
    assert context.span_id != UNSAMPLED.span_id
    assert context._replace(span_id=UNSAMPLED.span_id) == UNSAMPLED


def test_spans_are_inside_of_each_other() -> None:
    tracer = tracer_of(buffers=2)
    server = started(tracer, PARENT, b"k=v").child("server", SpanKind.SERVER, {"a": 1})
    inner = server.child("inner", SpanKind.INTERNAL, {}, [UNSAMPLED])
    assert server.span is not None
    assert inner.span is not None
    inner.end()
    server.end("failed")
    server.end("once more")
    for buffer in tracer.buffers:
        assert buffer.take(9) == [inner.span, server.span]
    assert server.span.parent_id == PARENT.span_id
    assert inner.span.parent_id == server.span.context.span_id
    assert inner.span.links == [UNSAMPLED]
    assert {each.context.trace_id for each in (server.span, inner.span)} == {PARENT.trace_id}
    assert (server.span.error, inner.span.error) == ("failed", None)
    assert server.span.start <= inner.span.start <= inner.span.end <= server.span.end
    traceparent = f"00-{PARENT.trace_id}-{inner.span.context.span_id}-01".encode()
    assert inner.headers() == [
        (b"traceparent", traceparent),
        (b"tracestate", b"a=1"),
        (b"baggage", b"k=v"),
    ]


def test_the_first_span_of_a_trace_has_no_parent() -> None:
    span = started(tracer_of()).child("server", SpanKind.SERVER, {}).span
    assert span is not None
    assert span.parent_id == ""


def test_attributes_are_copied() -> None:
    attributes: Attributes = {"a": 1}
    span = started(tracer_of()).child("server", SpanKind.SERVER, attributes).span
    assert span is not None
    span.attributes["b"] = 2
    assert attributes == {"a": 1}


def test_a_sampled_request_without_spans_passes_on_a_valid_context() -> None:
    [(_, value)] = started(tracer_of()).headers()
    assert len(value) == 55
    assert value.endswith(b"-01")


def test_without_exporters_a_context_is_passed_on_unchanged() -> None:
    tracer = tracer_of(buffers=0)
    trace = started(tracer, UNSAMPLED, b"k=v")
    assert not trace.is_recorded
    assert trace.context == UNSAMPLED
    assert started(tracer, None, b"k=v").headers() == [(b"baggage", b"k=v")]
    assert started(tracer, None, b"k=v").trace_id == ""
    assert tracer.start() is None


def test_contexts_of_clients_may_be_ignored() -> None:
    headers = [(b"traceparent", b"00-%b-%b-01" % (b"1" * 32, b"2" * 16))]
    assert Tracer(Propagation()).of_client(headers).parent == PARENT._replace(state="")
    assert Tracer(Propagation(), ignores_clients=True).of_client(headers) == Incoming()
