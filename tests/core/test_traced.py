"""Traces of clients' requests without a server: each one begins once and ends once."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any
from weakref import ref

import pytest

from gateway.core.asgi import AsgiResponse, Headers, Receive, Scope, Send, send_answer
from gateway.core.direct import Application, DirectClient, DirectHead, DirectRequest
from gateway.core.traced import TRACE, passing_on, traced
from gateway.telemetry.propagation import Propagation
from gateway.telemetry.spans import SpanBuffer, SpanKind
from gateway.telemetry.tracing import Trace, Tracer

from .test_observed import Client, RefusedHeader, Whole, nothing

pytestmark = pytest.mark.anyio

ANSWER = AsgiResponse(201, [(b"x-a", b"1")], b"12345")


class Traces:
    """``ends``: endpoint, status, size and headers of each ended span."""

    def __init__(self, rate: float = 1.0) -> None:
        self.tracer = Tracer(Propagation(), [SpanBuffer()], rate)
        self.ends: list[tuple[str, int, int, Headers]] = []

    def prepare(self, scope: Scope, endpoint: str) -> _Head:
        return _Head(self, self.tracer, endpoint)


class _Head:
    def __init__(self, traces: Traces, tracer: Tracer, endpoint: str) -> None:
        self.start: Callable[[], Trace | None] = tracer.start
        self._traces = traces
        self._endpoint = endpoint

    def begin(self, trace: Trace) -> Trace:
        return trace.child("span", SpanKind.SERVER, {})

    def end(self, trace: Trace, status: int, size: int, headers: Headers) -> None:
        self._traces.ends.append((self._endpoint, status, size, headers))


class Head:
    """Keeps the traces and the clients of its requests."""

    reads_body, has_guards, endpoint_path = True, False, "/orders"

    def __init__(self, scope: Scope) -> None:
        self._current = scope[TRACE]
        self.traces: list[Trace | None] = []
        self.clients: list[DirectClient] = []

    def begin(self, body: bytes, client: DirectClient) -> DirectRequest | None:
        self.traces.append(self._current.trace)
        self.clients.append(client)
        return self

    def withdraw(self) -> None: ...


async def answered(scope: Scope, receive: Receive, send: Send) -> None:
    await send_answer(send, ANSWER)


def scope_of() -> Scope:
    return {"type": "http", "headers": []}


def direct_of(traces: Traces) -> tuple[DirectHead, Head]:
    heads: list[Head] = []

    def find(scope: Scope) -> DirectHead:
        heads.append(Head(scope))
        return heads[0]

    direct = traced(Application(answered, find), traces.prepare).direct
    assert direct is not None
    found = direct(scope_of())
    assert found is not None
    return found, heads[0]


async def test_a_response_ends_the_span() -> None:
    traces = Traces()
    await traced(Application(answered, None), traces.prepare)(scope_of(), nothing, Whole().send)
    assert traces.ends == [("", 201, 5, ANSWER.headers)]


async def test_the_endpoint_begins_the_trace_once() -> None:
    traces, begun = Traces(), []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        begun.extend([scope[TRACE].begin("/orders"), scope[TRACE].begin("/other")])
        await send_answer(send, ANSWER)

    await traced(Application(app, None), traces.prepare)(scope_of(), nothing, Whole().send)
    assert begun[0] is begun[1] is not None
    assert [end[0] for end in traces.ends] == ["/orders"]


async def test_an_error_ends_the_span_with_500() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise RefusedHeader

    traces = Traces()
    with pytest.raises(RefusedHeader):
        await traced(Application(app, None), traces.prepare)(scope_of(), nothing, Whole().send)
    assert traces.ends == [("", 500, 0, ())]


async def test_no_reference_cycle_is_left_of_a_request() -> None:
    class Marked(dict[str, Any]): ...

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope[TRACE].begin("/orders")
        await send_answer(send, ANSWER)

    gc.collect()
    gc.disable()
    try:
        scope = Marked(scope_of())
        marked = ref(scope)
        await traced(Application(app, None), Traces().prepare)(scope, nothing, Whole().send)
        del scope
        assert marked() is None
    finally:
        gc.enable()


async def test_each_request_with_one_head_has_its_own_trace() -> None:
    traces = Traces()
    found, head = direct_of(traces)
    for _ in range(2):
        found.begin(b"", Client())
        head.clients[-1].respond(ANSWER)
    first, second = head.traces
    assert first is not None
    assert second is not None
    assert first.trace_id != second.trace_id
    assert traces.ends == [("/orders", 201, 5, ANSWER.headers)] * 2


async def test_a_request_that_is_not_recorded_has_its_own_client() -> None:
    traces = Traces(rate=0)
    found, head = direct_of(traces)
    client = Client()
    found.begin(b"", client)
    assert head.clients == [client]
    assert head.traces[0] is not None


async def test_a_header_that_is_refused_ends_the_span_once() -> None:
    traces = Traces()
    found, head = direct_of(traces)
    found.begin(b"", Client())
    with pytest.raises(RefusedHeader):
        head.clients[0].respond(AsgiResponse(-1, ()))
    head.clients[0].fail()
    assert traces.ends == [("/orders", 500, 0, ())]


@pytest.mark.parametrize(("is_gone", "status"), [(True, 0), (False, 503)])
async def test_a_withdrawal_ends_the_span(is_gone: bool, status: int) -> None:
    traces = Traces()
    found, _ = direct_of(traces)
    client = Client()
    request = found.begin(b"", client)
    assert request is not None
    client.is_gone = is_gone
    request.withdraw()
    assert traces.ends == [("/orders", status, 0, ())]


async def test_a_request_that_continues_in_a_task_ends_its_span_there() -> None:
    traces = Traces()
    found, head = direct_of(traces)
    client = Client()
    found.begin(b"", client)
    head.clients[0].run(answered)
    assert traces.ends == []
    await client.apps[0](scope_of(), nothing, Whole().send)
    assert traces.ends == [("/orders", 201, 5, ANSWER.headers)]


async def test_without_spans_the_context_of_the_client_is_in_the_scope() -> None:
    tracer = Tracer(Propagation())
    seen = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope[TRACE].begin("/orders"))

    sent = (b"traceparent", b"00-%b-%b-01" % (b"1" * 32, b"2" * 16))
    for headers in ([sent], []):
        scope = {"type": "http", "headers": headers}
        await passing_on(Application(app, None), tracer)(scope, nothing, Whole().send)
    assert seen[0].headers() == [sent]
    assert seen[1] is None


async def test_other_scopes_have_no_trace() -> None:
    scopes: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)

    traces = Traces()
    await traced(Application(app, None), traces.prepare)(
        {"type": "lifespan"}, nothing, Whole().send
    )
    await passing_on(Application(app, None), traces.tracer)(
        {"type": "lifespan"}, nothing, Whole().send
    )
    assert scopes == [{"type": "lifespan"}] * 2
