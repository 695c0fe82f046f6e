"""Spans around branches and pipes: one for each request that is recorded.

The branch gets a copy of the request whose current span is the new one: so spans of its stages, and
the context that a backend gets, are inside of it, and branches of one request have spans of their
own. A request that is not recorded costs a look.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from msgspec.structs import replace

from ..errors import GatewayError
from ..telemetry.tracing import Trace
from .proxy import Arrive, Ask, Later, Now, P, Part, Request, Response, Withdraw

BeginSpan: TypeAlias = Callable[[Request, Trace], Trace]
"""The request and its trace -> the trace with the new span, as of :meth:`Trace.child`. Must not
raise."""
EndSpan: TypeAlias = Callable[[Request, Trace, Part | None], object]
"""Ends the span that was begun. The part: as of :data:`gateway.core.observed_parts.ObservePart`.
Must not raise."""


def traced_parts(branch: P, begin: BeginSpan, end: EndSpan, unrecorded: P | None = None) -> P:
    """The branch with a span. It can be asked in the same ways. ``unrecorded``: responds to
    requests that are not recorded, if the branch has other spans inside: one look for all."""
    plain = branch if unrecorded is None else unrecorded
    timed_out = branch.timed_out

    def begun(request: Request, trace: Trace) -> Request:
        inside = request.copy()
        inside.trace = begin(inside, trace)
        return inside

    now, later, ask = branch.now, branch.later, branch.ask
    return replace(
        branch,
        now=None if now is None else _now(now, plain.now or now, begun, end),
        later=None if later is None else _later(later, plain.later or later, begun, end),
        ask=None if ask is None else _ask(ask, plain.ask or ask, timed_out, begun, end),
    )


Begun: TypeAlias = Callable[[Request, Trace], Request]


def _now(inner: Now, plain: Now, begun: Begun, end: EndSpan) -> Now:
    def now(request: Request) -> Response | None:
        trace = request.trace
        if trace is None or not trace.is_recorded:
            return plain(request)
        inside = begun(request, trace)
        try:
            response = inner(inside)
        except Exception as error:
            _end(end, inside, failure_of(error))
            raise
        if response is not None:  # otherwise it is asked again, to wait
            _end(end, inside, response)
        return response

    return now


def _later(inner: Later, plain: Later, begun: Begun, end: EndSpan) -> Later:
    def later(request: Request, arrive: Arrive) -> Withdraw:
        trace = request.trace
        if trace is None or not trace.is_recorded:
            return plain(request, arrive)
        waiting = _TracedWait(begun(request, trace), arrive, end)
        try:
            waiting.begun(inner(waiting.request, waiting.arrived))
        except Exception as error:
            waiting.failed(failure_of(error))
            raise
        return waiting.withdraw

    return later


def _ask(
    inner: Ask,
    plain: Ask,
    timed_out: Callable[[Request], GatewayError],
    begun: Begun,
    end: EndSpan,
) -> Ask:
    def ask(request: Request) -> Awaitable[Response]:
        trace = request.trace
        if trace is None or not trace.is_recorded:
            return plain(request)
        return recorded(begun(request, trace))

    async def recorded(inside: Request) -> Response:
        part: Part | None = None
        try:
            part = response = await inner(inside)
        except Exception as error:
            part = failure_of(error)
            raise
        except BaseException:  # cancelled: by the deadline, or because the client has gone
            part = None if inside.client.is_gone else timed_out(inside)
            raise
        finally:
            _end(end, inside, part)
        return response

    return ask


def failure_of(error: Exception) -> GatewayError:
    return error if isinstance(error, GatewayError) else GatewayError("internal error")


def _end(end: EndSpan, inside: Request, part: Part | None) -> None:
    assert inside.trace is not None
    end(inside, inside.trace, part)


class _TracedWait:
    """A recorded request while it waits for its part."""

    __slots__ = ("_arrive", "_end_span", "_withdraw", "request")

    def __init__(self, request: Request, arrive: Arrive, end: EndSpan) -> None:
        self.request = request
        self._arrive: Arrive | None = arrive
        self._end_span = end
        self._withdraw: Withdraw | None = None

    def begun(self, withdraw: Withdraw) -> None:
        if self._arrive is not None:  # otherwise its part is here already
            self._withdraw = withdraw

    def arrived(self, part: Part) -> None:
        arrive, self._arrive = self._arrive, None
        self._withdraw = None  # it refers to self: no reference cycle is left
        if arrive is not None:
            _end(self._end_span, self.request, part)
            arrive(part)

    def failed(self, failure: GatewayError) -> None:
        """The branch has raised an error in place of a part."""
        self._end(failure)

    def withdraw(self) -> Part | None:
        withdraw = self._withdraw
        if self._arrive is None or withdraw is None:
            return None
        part = withdraw()
        self._end(None if self.request.client.is_gone else part)
        return part

    def _end(self, part: Part | None) -> None:
        """There is nothing that arrives any more."""
        if self._arrive is not None:
            self._arrive = self._withdraw = None
            _end(self._end_span, self.request, part)
