"""The traces of clients' requests: they begin where a request comes in, and end with its response.

What a span says is not known here. The trace of a request is in its scope (:data:`TRACE`), and in
the :class:`gateway.core.proxy.Request` of an endpoint. A request that is not recorded and needs no
task costs its random bits.
"""

from __future__ import annotations

from collections.abc import Callable
from time import time_ns
from typing import Protocol, TypeAlias

from ..telemetry.tracing import Trace, Tracer
from .asgi import ASGIApp, AsgiResponse, Headers, Receive, Scope, Send
from .direct import (
    Application,
    ClientAround,
    DirectClient,
    DirectHead,
    DirectRequest,
    HeadAround,
)
from .observed import FAILED, STOPPED, ObservedSend, run_observed

TRACE = "gateway.trace"
"""``scope[TRACE]`` is a :class:`CurrentTrace`. Equal heads of one connection have one: then its
trace is that of the request that runs."""

NO_HEADERS: Headers = ()


class HeadTraces(Protocol):
    """The traces of all requests with one head. It must not refer to the scope: no reference cycle
    is left. ``start``: returns the trace of a request that begins now, without a span. None: there
    is nothing to record or to pass on."""

    start: Callable[[], Trace | None]

    def begin(self, trace: Trace) -> Trace:
        """Begin the span of a recorded request. Returns the trace with it, or itself if it has
        none."""
        ...

    def end(self, trace: Trace, status: int, size: int, headers: Headers) -> None:
        """End the span. ``status``: 0 if the client has gone before the response. ``size``: bytes
        of its body. Must not raise."""
        ...


PrepareTraces: TypeAlias = Callable[[Scope, str], HeadTraces]
"""The scope, and the path of the endpoint as in the configuration, "" if there is none."""


class CurrentTrace:
    """The trace of a request, for what has its scope. ``trace``: None before it has begun. It
    refers to no scope and no head, so that no reference cycle is left."""

    __slots__ = ("trace",)

    def __init__(self) -> None:
        self.trace: Trace | None = None

    def begin(self, endpoint: str) -> Trace | None:
        """Called when the endpoint with that path, as in the configuration, gets the request.
        Returns the trace."""
        return self.trace


class Contexts:
    """Requests without spans of their own. A :class:`HeadTraces`."""

    def __init__(self, start: Callable[[], Trace | None]) -> None:
        self.start = start

    def begin(self, trace: Trace) -> Trace:
        return trace

    def end(self, trace: Trace, status: int, size: int, headers: Headers) -> None:
        """There is no span."""


def traced(application: Application, prepare: PrepareTraces) -> Application:
    """The application, whose requests have traces."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            call = scope[TRACE] = _TracedCall(prepare, scope)
            await _run(application, call, scope, receive, send)
        else:
            await application(scope, receive, send)

    find = application.direct
    if find is None:
        return Application(app, None)

    def direct(scope: Scope) -> DirectHead | None:
        current = scope[TRACE] = CurrentTrace()
        head = find(scope)
        if head is None:
            return None
        return _TracedHead(head, prepare(scope, head.endpoint_path), current)

    return Application(app, direct)


def passing_on(application: Application, tracer: Tracer) -> Application:
    """The application, whose requests have the contexts of their clients, and no spans."""

    def note(scope: Scope) -> None:
        current = scope[TRACE] = CurrentTrace()
        current.trace = tracer.passed_on(tracer.of_client(scope["headers"]))

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            note(scope)
        await application(scope, receive, send)

    find = application.direct
    if find is None:
        return Application(app, None)

    def direct(scope: Scope) -> DirectHead | None:
        note(scope)
        return find(scope)

    return Application(app, direct)


class _TracedHead(HeadAround):
    """A :class:`gateway.core.direct.DirectHead`. ``current``: gets the trace of each request."""

    __slots__ = ("_current", "_head", "_start", "_traces")

    def __init__(self, head: DirectHead, traces: HeadTraces, current: CurrentTrace) -> None:
        super().__init__(head)
        self._head = head
        self._traces = traces
        self._start = traces.start
        self._current = current

    def begin(self, body: bytes, client: DirectClient) -> DirectRequest | None:
        trace = self._current.trace = self._start()
        if trace is None or not trace.is_recorded:
            return self._head.begin(body, client)
        trace = self._current.trace = self._traces.begin(trace)
        traced_client = _TracedClient(client, self._traces, trace)
        traced_client.request = self._head.begin(body, traced_client)
        return None if traced_client.request is None else traced_client


class _TracedClient(ClientAround, eq=False):
    """The client of a recorded request, as the gateway sees it, and its request, as the server
    sees it. ``request`` is dropped when the request is over: it refers to this object."""

    traces: HeadTraces
    trace: Trace
    request: DirectRequest | None = None

    # Called by the gateway.

    def respond(self, response: AsgiResponse) -> None:
        self.request = None
        self.client.respond(response)
        self.end(response.status, len(response.body), response.headers)

    def fail(self) -> None:
        self.request = None
        self.client.fail()
        self.end(FAILED, 0, NO_HEADERS)

    def run(self, app: ASGIApp) -> None:
        self.request = None

        async def traced_app(scope: Scope, receive: Receive, send: Send) -> None:
            await _run(app, self, scope, receive, send)

        self.client.run(traced_app)

    # Called by the server.

    def withdraw(self) -> None:
        request, self.request = self.request, None
        if request is not None:
            request.withdraw()
        self.end(0 if self.client.is_gone else STOPPED, 0, NO_HEADERS)

    def end(self, status: int, size: int, headers: Headers) -> None:
        self.traces.end(self.trace, status, size, headers)


class _TracedCall(CurrentTrace):
    """A request with a task. Its trace begins when its endpoint is known, or with the response if
    there is none; the span begins with the request."""

    __slots__ = ("_prepare", "_scope", "_started", "_traces")

    def __init__(self, prepare: PrepareTraces, scope: Scope) -> None:
        super().__init__()
        self._prepare = prepare
        self._scope: Scope | None = scope
        self._started = time_ns()
        self._traces: HeadTraces | None = None

    def begin(self, endpoint: str) -> Trace | None:
        scope, self._scope = self._scope, None
        if scope is not None:
            traces = self._traces = self._prepare(scope, endpoint)
            trace = self.trace = traces.start()
            if trace is not None and trace.is_recorded:
                trace = self.trace = traces.begin(trace)
                if trace.span is not None:
                    trace.span.start = self._started
        return self.trace

    def end(self, status: int, size: int, headers: Headers) -> None:
        trace = self.begin("")
        if trace is not None and trace.span is not None and self._traces is not None:
            self._traces.end(trace, status, size, headers)


async def _run(
    app: ASGIApp, ends: _TracedClient | _TracedCall, scope: Scope, receive: Receive, send: Send
) -> None:
    def end(response: ObservedSend) -> None:
        ends.end(response.status, response.size, response.headers)

    await run_observed(app, end, scope, receive, send)
