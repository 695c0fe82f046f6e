"""Trace contexts in headers. The cases of W3C: those of the harness of its working group
(github.com/w3c/trace-context, test/test.py)."""

from __future__ import annotations

import pytest

from gateway.telemetry.propagation import (
    MAX_BAGGAGE,
    MAX_CONTEXT,
    NOTHING,
    Incoming,
    Propagation,
    formats_of,
)
from gateway.telemetry.spans import SpanContext

TRACE_ID, SPAN_ID = "12345678901234567890123456789012", "1234567890123456"
PARENT = f"00-{TRACE_ID}-{SPAN_ID}-01"
CONTEXT = SpanContext(TRACE_ID, SPAN_ID, True)

W3C = Propagation()


def headers(*pairs: tuple[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in pairs]


def parent_of(*values: str, state: tuple[str, ...] = ()) -> SpanContext | None:
    parents = [("traceparent", value) for value in values]
    return W3C.extract(headers(*parents, *(("tracestate", each) for each in state))).parent


@pytest.mark.parametrize(
    "value",
    [
        PARENT,
        f" {PARENT}\t",
        f"cc-{TRACE_ID}-{SPAN_ID}-01",
        f"cc-{TRACE_ID}-{SPAN_ID}-01-what-the-future-will-be-like",
        f"00-{TRACE_ID}-{SPAN_ID}-ff",
    ],
)
def test_a_valid_context_is_taken(value: str) -> None:
    assert parent_of(value) == CONTEXT


@pytest.mark.parametrize(("flags", "is_sampled"), [("00", False), ("02", False), ("03", True)])
def test_only_the_first_bit_of_the_flags_counts(flags: str, is_sampled: bool) -> None:
    assert parent_of(f"00-{TRACE_ID}-{SPAN_ID}-{flags}") == CONTEXT._replace(is_sampled=is_sampled)


@pytest.mark.parametrize(
    "value",
    [
        "",
        f"00-{TRACE_ID}-{SPAN_ID}-01-what-the-future-will-be-like",
        f"00-{TRACE_ID}-{SPAN_ID}-01-",
        f"00-{TRACE_ID}-{SPAN_ID}-01.what",
        f"cc-{TRACE_ID}-{SPAN_ID}-01.what-the-future-will-not-be-like",
        f"ff-{TRACE_ID}-{SPAN_ID}-01",
        f".0-{TRACE_ID}-{SPAN_ID}-01",
        f"0-{TRACE_ID}-{SPAN_ID}-01",
        f"000-{TRACE_ID}-{SPAN_ID}-01",
        f"00-{'0' * 32}-{SPAN_ID}-01",
        f"00-.{TRACE_ID[1:]}-{SPAN_ID}-01",
        f"00-{'ABCDEF' + TRACE_ID[6:]}-{SPAN_ID}-01",
        f"00-{TRACE_ID[1:]}-{SPAN_ID}-01",
        f"00-{TRACE_ID}1-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{'0' * 16}-01",
        f"00-{TRACE_ID}-.{SPAN_ID[1:]}-01",
        f"00-{TRACE_ID}-{SPAN_ID[1:]}-01",
        f"00-{TRACE_ID}-{SPAN_ID}1-01",
        f"00-{TRACE_ID}-{SPAN_ID}-.0",
        f"00-{TRACE_ID}-{SPAN_ID}-0",
        f"00-{TRACE_ID}-{SPAN_ID}-0001",
        f"00-{TRACE_ID}-{SPAN_ID}",
        f"00_{TRACE_ID}_{SPAN_ID}_01",
    ],
)
def test_an_invalid_context_is_ignored(value: str) -> None:
    assert parent_of(value, state=("foo=1",)) is None


def test_a_context_is_read_up_to_a_length() -> None:
    value = f"cc-{TRACE_ID}-{SPAN_ID}-01-".ljust(MAX_CONTEXT, "x")
    assert parent_of(value) == CONTEXT
    assert parent_of(value + "x") is None
    assert parent_of(PARENT.rjust(MAX_CONTEXT)) == CONTEXT
    assert parent_of(PARENT.rjust(MAX_CONTEXT + 1)) is None
    b3 = Propagation(["b3"])
    value = f"{TRACE_ID}-{SPAN_ID}-1-".ljust(MAX_CONTEXT, "x")
    assert b3.extract(headers(("b3", value))).parent == CONTEXT
    assert b3.extract(headers(("b3", value + "x"))).parent is None


@pytest.mark.parametrize("each", [" ", "\t", ",", "-", "0", "a=b,"])
@pytest.mark.parametrize("end", ["", "\n", PARENT])
def test_long_values_are_no_contexts(each: str, end: str) -> None:
    value = each * (131_072 // len(each)) + end
    every = Propagation(["tracecontext", "baggage", "b3", "b3multi"])
    names = ("traceparent", "b3", "x-b3-traceid", "x-b3-spanid")
    assert every.extract(headers(*((name, value) for name in names), ("baggage", value))) == NOTHING
    context = every.extract(headers(("traceparent", PARENT), ("tracestate", value))).parent
    assert context == CONTEXT


def test_two_contexts_are_none() -> None:
    assert parent_of(PARENT, PARENT) is None


def test_a_state_without_a_context_is_ignored() -> None:
    assert W3C.extract(headers(("tracestate", "foo=1"))) == NOTHING


@pytest.mark.parametrize(
    ("lines", "state"),
    [
        (["foo=1"], "foo=1"),
        (["foo=1,bar=2"], "foo=1,bar=2"),
        (["foo=1", "bar=2"], "foo=1,bar=2"),
        (["foo=1", ""], "foo=1,"),
        (["foo=1 \t , \t bar=2, \t baz=3"], "foo=1 \t , \t bar=2, \t baz=3"),
        (["fw529a3039@dt=FfffffVVVV+2"], "fw529a3039@dt=FfffffVVVV+2"),
        (["0a@b=1"], "0a@b=1"),
        ([f"{'z' * 256}=1"], f"{'z' * 256}=1"),
        ([",".join(f"b{each}=1" for each in range(32))], ",".join(f"b{n}=1" for n in range(32))),
    ],
)
def test_the_state_is_passed_on_unchanged(lines: list[str], state: str) -> None:
    assert parent_of(PARENT, state=tuple(lines)) == CONTEXT._replace(state=state)


@pytest.mark.parametrize(
    "value",
    [
        "foo",
        "foo=",
        "=1",
        "foo=1=2",
        "FOO=1",
        "foo =1",
        "foo@=1",
        "@foo=1",
        "foo@bar@baz=1",
        f"{'z' * 257}=1",
        f"foo={'v' * 257}",
        "foo=\x7f",
        ",".join(f"b{each}=1" for each in range(33)),
        f"foo={'v' * 250},bar={'v' * 255}",
    ],
)
def test_a_state_that_is_invalid_or_long_is_dropped_and_the_context_is_not(value: str) -> None:
    assert parent_of(PARENT, state=(value,)) == CONTEXT


@pytest.mark.parametrize(
    ("lines", "baggage"),
    [
        (["a=1"], b"a=1"),
        (["a=1;p, b=%20"], b"a=1;p, b=%20"),
        (["a=1", "b=2"], b"a=1,b=2"),
        (["a=1\r\nx: y"], b""),
        (["a=é"], b""),
        (["a=" + "1" * (MAX_BAGGAGE - 2)], b"a=" + b"1" * (MAX_BAGGAGE - 2)),
        (["a=" + "1" * (MAX_BAGGAGE - 1)], b""),
    ],
)
def test_baggage_is_passed_on(lines: list[str], baggage: bytes) -> None:
    found = W3C.extract(headers(*(("baggage", each) for each in lines)))
    assert found == Incoming(None, baggage)
    assert W3C.inject(None, found.baggage) == ([(b"baggage", baggage)] if baggage else [])


def test_a_context_is_written_as_it_was_read() -> None:
    sent = headers(("traceparent", PARENT), ("tracestate", "a=1,b=2"), ("baggage", "c=3"))
    parent, baggage = W3C.extract(sent)
    assert W3C.inject(parent, baggage) == sent
    unsampled = headers(("traceparent", PARENT.removesuffix("01") + "00"))
    assert W3C.inject(W3C.extract(unsampled).parent, b"") == unsampled


@pytest.mark.parametrize(
    ("value", "context"),
    [
        (f"{TRACE_ID}-{SPAN_ID}-1", CONTEXT),
        (f"{TRACE_ID}-{SPAN_ID}-d-{SPAN_ID}", CONTEXT),
        (f"{TRACE_ID}-{SPAN_ID}-0", CONTEXT._replace(is_sampled=False)),
        (f"{TRACE_ID}-{SPAN_ID}", CONTEXT._replace(is_sampled=False)),
        (f"{SPAN_ID}-{SPAN_ID}-1", CONTEXT._replace(trace_id=SPAN_ID.zfill(32))),
        ("0", None),
        (f"{TRACE_ID}-{'0' * 16}-1", None),
        (f"{'0' * 32}-{SPAN_ID}-1", None),
        (f"{TRACE_ID}-x-1", None),
    ],
)
def test_b3_in_one_header(value: str, context: SpanContext | None) -> None:
    propagation = Propagation(["b3"])
    assert propagation.extract(headers(("b3", value))).parent == context
    assert propagation.extract(headers(("traceparent", PARENT))) == NOTHING
    assert propagation.inject(CONTEXT, b"") == headers(("b3", f"{TRACE_ID}-{SPAN_ID}-1"))


def test_b3_in_several_headers() -> None:
    propagation = Propagation(["b3multi"])
    sent = headers(("x-b3-traceid", TRACE_ID), ("x-b3-spanid", SPAN_ID), ("x-b3-sampled", "1"))
    assert propagation.extract(sent).parent == CONTEXT
    assert propagation.inject(CONTEXT, b"") == sent
    debug = [*sent[:2], (b"x-b3-flags", b"1")]
    assert propagation.extract(debug).parent == CONTEXT
    assert propagation.extract(sent[:2]).parent == CONTEXT._replace(is_sampled=False)
    assert propagation.extract(sent[:1]).parent is None


def test_several_formats_are_read_and_written() -> None:
    propagation = Propagation(["tracecontext", "b3"])
    b3 = headers(("b3", f"{TRACE_ID}-{SPAN_ID}-1"))
    assert propagation.extract(b3).parent == CONTEXT
    assert propagation.extract([*b3, (b"traceparent", b"invalid")]).parent == CONTEXT
    assert propagation.inject(CONTEXT, b"a=1") == [(b"traceparent", PARENT.encode()), *b3]
    assert propagation.names == {b"traceparent", b"tracestate", b"b3"}


@pytest.mark.parametrize(
    ("value", "formats"),
    [
        (None, ("tracecontext", "baggage")),
        ("", ("tracecontext", "baggage")),
        ("b3, b3multi", ("b3", "b3multi")),
        ("none", ()),
        ("jaeger,baggage", ("baggage",)),
    ],
)
def test_the_environment_names_the_formats(value: str | None, formats: tuple[str, ...]) -> None:
    assert formats_of({} if value is None else {"OTEL_PROPAGATORS": value}) == formats


def test_without_formats_nothing_is_read_or_written() -> None:
    propagation = Propagation(())
    assert propagation.extract(headers(("traceparent", PARENT), ("baggage", "a=1"))) == NOTHING
    assert propagation.inject(CONTEXT, b"a=1") == []
    assert propagation.names == frozenset()
