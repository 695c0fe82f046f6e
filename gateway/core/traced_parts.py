"""Spans around branches and pipes: one for each request that is recorded.

The branch gets a copy of the request whose current span is the new one: so spans of its stages, and
the context that a backend gets, are inside of it, and branches of one request have spans of their
own. A request that is not recorded costs a look.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from msgspec.structs import replace

from ..telemetry.tracing import Trace
from .observed_parts import observed_parts
from .proxy import Arrive, Ask, Later, Now, P, Part, Request, Response, Withdraw

BeginSpan: TypeAlias = Callable[[Request, Trace], Trace]
"""The request and its trace -> the trace with the new span, as of
:meth:`gateway.telemetry.tracing.Trace.child`. Must not raise."""
EndSpan: TypeAlias = Callable[[Request, Trace, Part | None], object]
"""Ends the span that was begun. The part: as of :data:`gateway.core.observed_parts.ObservePart`.
Must not raise."""


def traced_parts(branch: P, begin: BeginSpan, end: EndSpan, unrecorded: P | None = None) -> P:
    """The branch with a span. It can be asked in the same ways. A ``now`` that returns None makes
    no span: the branch is asked again, to wait.

    ``unrecorded``: responds to requests that are not recorded, if the branch has other spans
    inside: one look for all.
    """

    def observe(request: Request, part: Part | None, seconds: float) -> None:
        if request.trace is not None:
            end(request, request.trace, part)

    def inside(request: Request, trace: Trace) -> Request:
        copy = request.copy()
        copy.trace = begin(copy, trace)
        return copy

    recorded = observed_parts(branch, observe)
    plain = branch if unrecorded is None else unrecorded
    return replace(
        branch,
        now=_now(recorded.now, plain.now, inside),
        later=_later(recorded.later, plain.later, inside),
        ask=_ask(recorded.ask, plain.ask, inside),
    )


Inside: TypeAlias = Callable[[Request, Trace], Request]


def _now(recorded: Now | None, plain: Now | None, inside: Inside) -> Now | None:
    if recorded is None or plain is None:
        return None

    def now(request: Request) -> Response | None:
        trace = request.trace
        if trace is None or not trace.is_recorded:
            return plain(request)
        return recorded(inside(request, trace))

    return now


def _later(recorded: Later | None, plain: Later | None, inside: Inside) -> Later | None:
    if recorded is None or plain is None:
        return None

    def later(request: Request, arrive: Arrive) -> Withdraw:
        trace = request.trace
        if trace is None or not trace.is_recorded:
            return plain(request, arrive)
        return recorded(inside(request, trace), arrive)

    return later


def _ask(recorded: Ask | None, plain: Ask | None, inside: Inside) -> Ask | None:
    if recorded is None or plain is None:
        return None

    def ask(request: Request) -> Awaitable[Response]:
        trace = request.trace
        if trace is None or not trace.is_recorded:
            return plain(request)
        return recorded(inside(request, trace))

    return ask
