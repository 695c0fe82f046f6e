"""The spans of requests to HTTP backends, with KrakenD's names and attributes.

Values of query strings are not reported: they may be secrets.
"""

from __future__ import annotations

from time import perf_counter, time_ns

from ...config.structs import Backend, Endpoint
from ...core.asgi import find_header
from ...core.component import Assembly
from ...http.observed import ObservedRequest
from ...http.request_head import BackendRequest
from ...http.targets import hide_query
from ...http.traced import RequestSpans
from ...telemetry.spans import Attributes as SpanAttributes
from ...telemetry.spans import SpanEvent, SpanKind
from ...telemetry.tracing import Trace
from .measures import backend_labels
from .settings import BackendTraces, OtelSettings, backend_route_of
from .span_attributes import build_reported, method_attributes, static_attributes

READ = "http.client.response.read."
"""What the names of reading a body begin with."""


def build_request_spans(
    settings: OtelSettings, backend: Backend, endpoint: Endpoint, assembly: Assembly
) -> RequestSpans | None:
    """None: the requests of the backend have no spans."""
    layer = settings.backend_traces(backend)
    has_spans = layer.round_trip or layer.read_payload
    if not has_spans or settings.skips(endpoint.endpoint):
        return None
    return ClientSpans(layer, backend, endpoint, assembly)


class ClientSpans:
    """A :class:`gateway.http.traced.RequestSpans`."""

    def __init__(
        self, layer: BackendTraces, backend: Backend, endpoint: Endpoint, assembly: Assembly
    ) -> None:
        labels = backend_labels(backend, endpoint, ())
        self._name = backend_route_of(backend.url_pattern)
        self._attributes: SpanAttributes = {
            **{name: value for name, value in labels.items() if value},
            "krakend.stage": "backend-request",
            **static_attributes(layer.static_attributes),
        }
        self._reported = build_reported(layer.report_headers, layer.skip_headers, assembly.service)
        self._has_request = layer.round_trip
        self._has_reading = layer.read_payload
        self._has_details = layer.detailed_connection

    def begin(self, outgoing: BackendRequest, trace: Trace) -> Trace:
        if not self._has_request:
            return trace
        origin, headers = outgoing.host.origin, outgoing.headers
        attributes: SpanAttributes = {
            **self._attributes,
            **method_attributes(outgoing.method),
            "url.full": hide_query(outgoing.url),
            "server.address": origin.host,
            "server.port": origin.port,
            "http.request.body.size": len(outgoing.body),
        }
        if agent := find_header(headers, b"user-agent"):
            attributes["user_agent.original"] = agent.decode(errors="replace")
        if self._reported is not None:
            attributes |= self._reported.request(headers)
        return trace.child(self._name, SpanKind.CLIENT, attributes)

    def responded(self, request: ObservedRequest) -> None:
        trace = self._own_trace(request)
        if trace is None or trace.span is None:
            return
        attributes, status = trace.span.attributes, request.status
        seconds = request.has_headers - request.started
        attributes["http.response.status_code"] = status
        attributes["network.protocol.version"] = "1.1"
        attributes["response-duration"] = seconds
        length = find_header(request.headers, b"content-length")
        if length.isdigit() and not request.is_head:
            attributes["http.response.body.size"] = int(length)
        if self._reported is not None:
            attributes |= self._reported.response(request.headers)
        end = trace.span.start + round(seconds * 1e9)
        if self._has_details:
            connecting = request.connected - request.started if request.connected else 0.0
            attributes["get-conn-duration"] = connecting
            attributes["dns-duration"] = request.dns_time
            attributes["tls-duration"] = request.tls_time
            trace.span.events.append(SpanEvent("first-byte-time", end, {}))
        if status < 400:
            trace.end(at=end)
        else:
            attributes["error.type"] = str(status)
            trace.end("", at=end)

    def failed(self, request: ObservedRequest) -> None:
        trace = self._own_trace(request)
        if trace is None or trace.span is None:
            return
        attributes = trace.span.attributes
        if request.is_withdrawn and request.is_client_gone:
            attributes["error.type"] = "canceled"
            trace.end()
        elif request.is_withdrawn:
            attributes["error.type"] = "timeout"
            trace.end("")
        else:
            attributes["error.type"] = "backend_failure"
            trace.end("" if request.failure is None else str(request.failure))

    def body_read(
        self, request: ObservedRequest, size: int, seconds: float, *, has_failed: bool
    ) -> None:
        trace = None if request.outgoing.cause is None else request.outgoing.cause.trace
        if not self._has_reading or trace is None or not trace.is_recorded:
            return
        reading = trace.child(f"{READ}tracker", SpanKind.INTERNAL, self._attributes)
        assert reading.span is not None
        reading.span.attributes |= {f"{READ}size": size, f"{READ}time": seconds}
        since_headers = perf_counter() - request.has_headers
        reading.span.start = time_ns() - round(since_headers * 1e9)
        end = reading.span.start + round(seconds * 1e9)
        reading.end("the body has ended too early" if has_failed else None, at=end)

    def _own_trace(self, request: ObservedRequest) -> Trace | None:
        """The trace with the span of the request; None: it has none."""
        return (
            request.outgoing.cause.trace
            if self._has_request and request.outgoing.cause is not None
            else None
        )
