"""Spans around branches, whichever way a branch is asked."""

from __future__ import annotations

from typing import Any

import pytest
from anyio import move_on_after, sleep_forever

from gateway.core.pipe import coroutine_of
from gateway.core.proxy import Arrive, Branch, Part, Request, Response, Withdraw
from gateway.core.traced_parts import traced_parts
from gateway.errors import DeadlineExceeded, GatewayError
from gateway.telemetry.propagation import Propagation
from gateway.telemetry.spans import SpanBuffer, SpanKind
from gateway.telemetry.tracing import Trace, Tracer

pytestmark = pytest.mark.anyio

FAILURE = GatewayError("no")


class Spans:
    """``seen``: the spans that were current in the branch. ``ended``: name and part of each."""

    def __init__(self, rate: float = 1.0) -> None:
        self.tracer = Tracer(Propagation(), [SpanBuffer()], rate)
        self.seen: list[Any] = []
        self.ended: list[tuple[str, Part | None]] = []

    def around(self, branch: Branch, name: str = "span", plain: Branch | None = None) -> Branch:
        def begin(request: Request, trace: Trace) -> Trace:
            return trace.child(name, SpanKind.INTERNAL, {})

        def end(request: Request, trace: Trace, part: Part | None) -> None:
            assert trace.span is not None
            self.ended.append((trace.span.name, part))
            trace.end()

        return traced_parts(branch, begin, end, plain)

    def request(self, path: str = "/") -> Request:
        request = Request("GET", path, {})
        request.trace = self.tracer.start()
        return request

    def respond(self, request: Request) -> Response:
        assert request.trace is not None
        span = request.trace.span
        self.seen.append(span and span.name)
        if request.path == "/failing":
            raise FAILURE
        return Response({})

    def branches(self) -> dict[str, Branch]:
        def later(request: Request, arrive: Arrive) -> Withdraw:
            try:
                arrive(self.respond(request))
            except GatewayError as error:
                arrive(error)
            return lambda: None

        async def ask(request: Request) -> Response:
            return self.respond(request)

        return {
            "now": Branch(ask, self.respond),
            "ask": Branch(ask),
            "ask after now": Branch(ask, lambda request: None),
            "later": Branch(later=later),
            "later after now": Branch(now=lambda request: None, later=later),
        }


WAYS = ("now", "ask", "ask after now", "later", "later after now")


@pytest.mark.parametrize("way", WAYS)
async def test_the_branch_is_inside_of_the_span_and_its_caller_is_not(way: str) -> None:
    spans = Spans()
    request = spans.request()
    trace = request.trace
    response = await coroutine_of(spans.around(spans.branches()[way]))(request)
    assert spans.seen == ["span"]
    assert spans.ended == [("span", response)]
    assert request.trace is trace
    [span] = spans.tracer.buffers[0].take(9)
    assert span.end >= span.start


@pytest.mark.parametrize("way", WAYS)
async def test_a_failure_ends_the_span(way: str) -> None:
    spans = Spans()
    with pytest.raises(GatewayError, match="no"):
        await coroutine_of(spans.around(spans.branches()[way]))(spans.request("/failing"))
    assert spans.ended == [("span", FAILURE)]


@pytest.mark.parametrize("way", WAYS)
async def test_a_request_that_is_not_recorded_makes_no_span(way: str) -> None:
    spans = Spans(rate=0)
    await coroutine_of(spans.around(spans.branches()[way]))(spans.request())
    assert (spans.seen, spans.ended) == ([None], [])


async def test_a_request_without_a_trace_makes_no_span() -> None:
    spans = Spans()
    branch = spans.around(Branch(now=lambda request: Response({})))
    await coroutine_of(branch)(Request("GET", "/", {}))
    assert spans.ended == []


@pytest.mark.parametrize("way", WAYS)
async def test_spans_inside_of_spans_are_passed_by_with_one_look(way: str) -> None:
    for rate in (1.0, 0.0):
        spans = Spans(rate)
        bare = spans.branches()[way]
        branch = spans.around(spans.around(bare, "inner"), "outer", bare)
        await coroutine_of(branch)(spans.request())
        assert spans.seen == (["inner"] if rate else [None])
        assert [name for name, _ in spans.ended] == (["inner", "outer"] if rate else [])


async def test_the_deadline_ends_the_span_of_a_coroutine() -> None:
    async def ask(request: Request) -> Response:
        await sleep_forever()
        raise AssertionError

    spans = Spans()
    with move_on_after(0.001):
        await coroutine_of(spans.around(Branch(ask)))(spans.request())
    [(_, part)] = spans.ended
    assert isinstance(part, DeadlineExceeded)


async def test_a_withdrawal_ends_the_span() -> None:
    failure = GatewayError("withdrawn")
    spans = Spans()
    branch = spans.around(Branch(later=lambda request, arrive: lambda: failure))
    assert branch.later is not None
    withdraw = branch.later(spans.request(), lambda part: None)
    assert spans.ended == []
    assert withdraw() is failure
    assert spans.ended == [("span", failure)]
