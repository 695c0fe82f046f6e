"""The spans of clients' requests, by the semantic conventions of OpenTelemetry for HTTP (1.27).

The query string is not reported: it may be a secret.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ...config.structs import Endpoint, Service
from ...core.asgi import Headers, Scope, find_header
from ...core.component import Assembly
from ...core.forwarding import build_client_address
from ...core.proxy import Request
from ...core.traced import Contexts, HeadTraces, PrepareTraces
from ...telemetry.spans import Attributes as SpanAttributes
from ...telemetry.spans import SpanKind
from ...telemetry.tracing import Trace, bound_of
from .measures import METHODS
from .settings import NAMESPACE, OtelSettings, route_of
from .span_attributes import build_reported, method_attributes, static_attributes

NO_ATTRIBUTES: SpanAttributes = {}
CANCELED_BY_CLIENT = "canceled"
"""``error.type`` of a request whose client has gone before its response."""


def build_traces(settings: OtelSettings, service: Service, assembly: Assembly) -> PrepareTraces:
    """What starts the traces of requests, and makes their spans."""
    assert assembly.tracer is not None
    tracer = assembly.tracer
    spans = None if settings.client_layer.disable_traces else ServerSpans(settings, service)
    known = {
        (each.method, each.endpoint): _endpoint_traces(settings, each) for each in service.endpoints
    }

    def prepare(scope: Scope, endpoint: str) -> HeadTraces:
        own = known.get((scope["method"], endpoint))
        if own is None:  # there is no endpoint
            own = _EndpointTraces(settings.skips(endpoint or scope["path"]))
        incoming = tracer.of_client(scope["headers"])
        if own.is_skipped:
            passed = tracer.passed_on(incoming)
            return Contexts(lambda: passed)
        start = tracer.build_start(incoming, own.bound)
        return Contexts(start) if spans is None else _ServerHead(start, scope, own, spans)

    return prepare


class _EndpointTraces(NamedTuple):
    """What holds for the requests of an endpoint. ``bound``: as of
    :meth:`gateway.telemetry.tracing.Tracer.start`. ``route``: "" if there is no endpoint."""

    is_skipped: bool
    bound: int | None = None
    route: str = ""
    attributes: SpanAttributes = NO_ATTRIBUTES


def _endpoint_traces(settings: OtelSettings, endpoint: Endpoint) -> _EndpointTraces:
    own: OtelSettings = endpoint.extra_config.get(NAMESPACE) or OtelSettings()
    rate, static = own.overridden_sample_rate, own.global_
    return _EndpointTraces(
        settings.skips(endpoint.endpoint),
        None if rate is None else bound_of(rate),
        route_of(endpoint.endpoint),
        static_attributes(static.traces_static_attributes if static else ()),
    )


class ServerSpans:
    """What the spans of all requests have in common."""

    def __init__(self, settings: OtelSettings, service: Service) -> None:
        layer = settings.client_layer
        self.static = static_attributes(layer.traces_static_attributes)
        self.reported = build_reported(layer.report_headers, layer.skip_headers, service)
        self.client_address = build_client_address(service)


class _ServerHead:
    """Requests with one head. A :class:`gateway.core.traced.HeadTraces`. ``attributes``: made when
    the first of them is recorded."""

    __slots__ = ("_attributes", "_method", "_name", "_own", "_parts", "_spans", "start")

    def __init__(
        self,
        start: Callable[[], Trace | None],
        scope: Scope,
        own: _EndpointTraces,
        spans: ServerSpans,
    ) -> None:
        self.start = start
        self._spans = spans
        self._own = own
        self._method: str = scope["method"]
        self._parts = (
            scope["path"],
            scope.get("scheme", "http"),
            scope["http_version"],
            scope["headers"],
            scope.get("client"),
        )
        self._name = ""

    def begin(self, trace: Trace) -> Trace:
        if not self._name:
            self._prepare()
        return trace.child(self._name, SpanKind.SERVER, self._attributes)

    def _prepare(self) -> None:
        path, scheme, version, headers, client = self._parts
        method, route, spans = self._method, self._own.route, self._spans
        asked = Request("", "", {}, headers, remote=(client or ("",))[0])
        host, port = _host_of(find_header(headers, b"host"), scheme)
        attributes: dict[str, str | int] = {
            "url.path": path,
            "url.scheme": scheme,
            "http.route": route,
            "server.address": host,
            "server.port": port,
            "client.address": spans.client_address(asked),
            "network.protocol.version": version,
            "user_agent.original": find_header(headers, b"user-agent").decode(errors="replace"),
        }
        known = {name: value for name, value in attributes.items() if value}
        self._attributes: SpanAttributes = {
            **method_attributes(method),
            **known,
            "krakend.stage": "global",
            **spans.static,
            **self._own.attributes,
        }
        if spans.reported is not None:
            self._attributes |= spans.reported.request(headers)
        shown = method if method in METHODS else "HTTP"
        self._name = f"{shown} {route}" if route else shown

    def end(self, trace: Trace, status: int, size: int, headers: Headers) -> None:
        assert trace.span is not None
        attributes = trace.span.attributes
        if not status:
            attributes["error.type"] = CANCELED_BY_CLIENT
            trace.end()
            return
        attributes["http.response.status_code"] = status
        attributes["http.response.body.size"] = size
        if self._spans.reported is not None:
            attributes |= self._spans.reported.response(headers)
        if status < 500:
            trace.end()
        else:
            attributes["error.type"] = str(status)
            trace.end("")


DEFAULT_PORTS = {"http": 80, "https": 443}


def _host_of(value: bytes, scheme: str) -> tuple[str, int]:
    """Host and port of a header ``Host``; "" and 0 if there is none."""
    text = value.decode(errors="replace")
    host, separator, port = text.rpartition(":")
    if not separator or text.endswith("]"):
        host, port = text, ""
    if not host:
        return "", 0
    number = int(port) if port.isascii() and port.isdigit() and len(port) <= 5 else 0
    return host.strip("[]"), number or DEFAULT_PORTS.get(scheme, 0)
