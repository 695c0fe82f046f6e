"""Requests to backends with a trace context: each one, also those after a redirect.

Without a tracer nothing here is used.
"""

from __future__ import annotations

from typing import Any, Protocol

from ..errors import GatewayError
from ..telemetry.tracing import Trace, Tracer
from .client import Sender
from .observed import RequestObserver
from .request_head import BackendRequest
from .transport import RedirectedRequest, Redirecting, Withdraw


class RequestSpans(RequestObserver, Protocol):
    """Makes the spans of requests. It finds that of an observed request as ``cause.trace``."""

    def begin(self, outgoing: BackendRequest, trace: Trace) -> Trace:
        """``trace``: that of the backend, which is recorded. Returns it with the new span, or
        itself. Must not raise."""
        ...


class TracedRedirecting(Redirecting):
    """The innermost transport, which passes the trace context on.

    The context replaces that of the client, which ``input_headers`` may let through. ``spans``:
    makes the spans of recorded requests; None: they have none. ``observing``: sends these requests.
    """

    def __init__(
        self,
        client: Sender,
        *,
        tracer: Tracer,
        spans: RequestSpans | None,
        observing: Sender,
        **options: Any,
    ) -> None:
        super().__init__(client, **options)
        self._names = tracer.propagation.names
        self._spans = spans
        self._recorded = Redirecting(observing, **options)

    def send(self, outgoing: BackendRequest, call: RedirectedRequest) -> Withdraw:
        cause, names = outgoing.cause, self._names
        trace = None if cause is None else cause.trace
        headers = [header for header in outgoing.headers if header[0] not in names]
        if trace is None:
            return super().send(outgoing._replace(headers=headers), call)
        spans = self._spans
        if cause is None or spans is None or not trace.is_recorded:
            headers += trace.headers()
            return super().send(outgoing._replace(headers=headers), call)
        trace = spans.begin(outgoing, trace)
        headers += trace.headers()
        cause = cause.copy()
        cause.trace = trace
        try:
            return self._recorded.send(outgoing._replace(headers=headers, cause=cause), call)
        except GatewayError as error:  # it cannot be sent
            trace.end(str(error))
            raise
