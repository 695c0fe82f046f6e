"""The spans of endpoints and backends, with KrakenD's names and attributes."""

from __future__ import annotations

from collections.abc import Callable

from ...config.structs import Backend, Endpoint
from ...core.component import Assembly
from ...core.proxy import Branch, P, Part, Pipe, Request, Response
from ...core.traced_parts import traced_parts
from ...errors import GatewayError, QueueEmpty
from ...telemetry.spans import Attributes as SpanAttributes
from ...telemetry.spans import SpanKind
from ...telemetry.tracing import Trace
from .measures import backend_labels, names_of
from .meter import outcome_of
from .settings import OtelSettings, backend_route_of
from .span_attributes import ReportedHeaders, build_reported, static_attributes


def traced_pipe(
    settings: OtelSettings, endpoint: Endpoint, assembly: Assembly
) -> Callable[[Pipe], Pipe]:
    """What wraps the pipe of an endpoint."""
    spans = _pipe_spans(settings, endpoint, assembly)
    return _unchanged if spans is None else spans.around


def traced_branch(
    settings: OtelSettings,
    backend: Backend,
    endpoint: Endpoint,
    assembly: Assembly,
    *,
    is_alone: bool,
) -> Callable[[Branch], Branch]:
    """What wraps a backend, around all its stages. ``is_alone``: it makes the span of its endpoint,
    too."""
    own = _branch_spans(settings, backend, endpoint, assembly)
    outer = _pipe_spans(settings, endpoint, assembly) if is_alone else None
    if own is None or outer is None:
        spans = own or outer
        return _unchanged if spans is None else spans.around
    return lambda branch: outer.around(own.around(branch), branch)


def _pipe_spans(settings: OtelSettings, endpoint: Endpoint, assembly: Assembly) -> PipeSpans | None:
    layer = settings.proxy_layer(endpoint)
    if not _records(settings, endpoint, assembly) or layer.disable_traces:
        return None
    method, route = names_of(endpoint)
    named = {"http.request.method": method} if method else {}
    attributes = {
        **named,
        "http.route": route,
        **static_attributes(layer.traces_static_attributes),
        "krakend.stage": "proxy",
    }
    reported = build_reported(layer.report_headers, layer.skip_headers, assembly.service)
    return PipeSpans(route, attributes, reported)


def _branch_spans(
    settings: OtelSettings, backend: Backend, endpoint: Endpoint, assembly: Assembly
) -> PipeSpans | None:
    layer = settings.backend_traces(backend)
    if not _records(settings, endpoint, assembly) or layer.disable_stage:
        return None
    labels = backend_labels(backend, endpoint, ())
    attributes: SpanAttributes = {name: value for name, value in labels.items() if value}
    attributes |= static_attributes(layer.static_attributes)
    attributes["krakend.stage"] = "backend"
    reported = build_reported(layer.report_headers, layer.skip_headers, assembly.service)
    return PipeSpans(backend_route_of(backend.url_pattern), attributes, reported)


def _records(settings: OtelSettings, endpoint: Endpoint, assembly: Assembly) -> bool:
    tracer = assembly.tracer
    return tracer is not None and tracer.records and not settings.skips(endpoint.endpoint)


def _unchanged(branch: P) -> P:
    return branch


class PipeSpans:
    """Makes the spans of one endpoint or backend."""

    def __init__(
        self, name: str, attributes: SpanAttributes, reported: ReportedHeaders | None
    ) -> None:
        self._name = name
        self._attributes = attributes
        self._reported = reported

    def around(self, branch: P, unrecorded: P | None = None) -> P:
        """``unrecorded``: as of :func:`gateway.core.traced_parts.traced_parts`."""
        return traced_parts(branch, self._begin, self._end, unrecorded)

    def _begin(self, request: Request, trace: Trace) -> Trace:
        attributes = self._attributes
        if self._reported is not None:
            attributes = attributes | self._reported.request(request.headers)
        return trace.child(self._name, SpanKind.INTERNAL, attributes)

    def _end(self, request: Request, trace: Trace, part: Part | None) -> None:
        assert trace.span is not None
        attributes = trace.span.attributes
        outcome = outcome_of(request, part)
        attributes["complete"] = outcome.complete
        if outcome.error_type:
            attributes["error.type"] = outcome.error_type
        if outcome.canceled:
            attributes["canceled"] = True
            trace.end()
        elif isinstance(part, Response):
            attributes["http.response.status_code"] = part.status
            if self._reported is not None:
                attributes |= self._reported.response(part.headers)
            trace.end("" if outcome.error else None)
        else:
            self._end_failed(trace, attributes, part)

    def _end_failed(
        self, trace: Trace, attributes: SpanAttributes, failure: GatewayError | None
    ) -> None:
        """``failure``: None after a timeout that nothing has answered."""
        if isinstance(failure, QueueEmpty):  # no error
            attributes["http.response.status_code"] = failure.status
            attributes.pop("error.type", None)
            trace.end()
            return
        text = "" if failure is None else str(failure)
        attributes["error"] = text or str(attributes.get("error.type", ""))
        attributes["http.response.status_code"] = 500 if failure is None else failure.status
        trace.end(text)
