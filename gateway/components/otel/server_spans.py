"""The spans of clients' requests, by the semantic conventions of OpenTelemetry for HTTP (1.27).

The query string is not reported: it may be a secret.
"""

from __future__ import annotations

from ...config.structs import Endpoint, Service
from ...core.asgi import Headers, Scope, find_header
from ...core.component import Assembly
from ...core.forwarding import build_client_address
from ...core.proxy import Request
from ...core.traced import HeadTraces, PassedTraces, PrepareTraces
from ...telemetry.propagation import Incoming
from ...telemetry.spans import Attributes as SpanAttributes
from ...telemetry.spans import SpanKind
from ...telemetry.tracing import Trace, Tracer, bound_of
from .measures import METHODS
from .settings import NAMESPACE, OtelSettings, route_of
from .span_attributes import build_reported, method_attributes, static_attributes

CANCELED_BY_CLIENT = "canceled"
"""``error.type`` of a request whose client has gone before its response."""


def build_traces(settings: OtelSettings, service: Service, assembly: Assembly) -> PrepareTraces:
    """What starts the traces of requests, and makes their spans."""
    assert assembly.tracer is not None
    tracer = assembly.tracer
    spans = None if settings.client_layer.disable_traces else ServerSpans(settings, service)
    endpoints = {
        (each.method, each.endpoint): _EndpointTraces(settings, each)
        for each in service.endpoints
        if NAMESPACE in each.extra_config
    }

    def prepare(scope: Scope, endpoint: str) -> HeadTraces:
        if settings.skips(endpoint or scope["path"]):
            return PassedTraces(tracer, scope)
        own = endpoints.get((scope["method"], endpoint))
        incoming = tracer.of_client(scope["headers"])
        bound = None if own is None else own.bound
        if spans is None:
            return _UnrecordedHead(tracer, incoming, bound)
        static = {} if own is None else own.attributes
        return _ServerHead(tracer, incoming, bound, spans, scope, endpoint, static)

    return prepare


class _EndpointTraces:
    """The settings of an endpoint. ``bound``: as of :meth:`Tracer.start`."""

    def __init__(self, settings: OtelSettings, endpoint: Endpoint) -> None:
        own: OtelSettings = endpoint.extra_config[NAMESPACE]
        rate = own.overridden_sample_rate
        self.bound = None if rate is None else bound_of(rate)
        self.attributes = static_attributes(
            own.global_.traces_static_attributes if own.global_ else ()
        )


class _UnrecordedHead:
    """Requests without a span of their own. Their endpoints and backends may have spans. A
    :class:`gateway.core.traced.HeadTraces`."""

    __slots__ = ("_bound", "_incoming", "_tracer")

    def __init__(self, tracer: Tracer, incoming: Incoming, bound: int | None) -> None:
        self._tracer = tracer
        self._incoming = incoming
        self._bound = bound

    def start(self) -> Trace | None:
        return self._tracer.start(self._incoming, self._bound)

    def end(self, trace: Trace, status: int, size: int, headers: Headers) -> None:
        """There is no span."""


class ServerSpans:
    """What the spans of all requests have in common."""

    def __init__(self, settings: OtelSettings, service: Service) -> None:
        layer = settings.client_layer
        self.static = static_attributes(layer.traces_static_attributes)
        self.reported = build_reported(layer.report_headers, layer.skip_headers, service)
        self.client_address = build_client_address(service)


class _ServerHead(_UnrecordedHead):
    """Requests with one head. Its attributes are made when the first of them is recorded."""

    __slots__ = (
        "_attributes",
        "_endpoint",
        "_headers",
        "_name",
        "_parts",
        "_remote",
        "_spans",
        "_static",
    )

    def __init__(
        self,
        tracer: Tracer,
        incoming: Incoming,
        bound: int | None,
        spans: ServerSpans,
        scope: Scope,
        endpoint: str,
        static: SpanAttributes,
    ) -> None:
        super().__init__(tracer, incoming, bound)
        self._spans = spans
        self._endpoint = endpoint
        self._static = static
        self._parts = (
            scope["method"],
            scope["path"],
            scope.get("scheme", "http"),
            scope["http_version"],
        )
        self._headers: Headers = scope["headers"]
        self._remote = (scope.get("client") or ("",))[0]
        self._name = ""
        self._attributes: SpanAttributes = {}

    def start(self) -> Trace | None:
        trace = self._tracer.start(self._incoming, self._bound)
        if trace is None or not trace.is_recorded:
            return trace
        if not self._name:
            self._prepare()
        return trace.child(self._name, SpanKind.SERVER, self._attributes)

    def _prepare(self) -> None:
        method, path, scheme, version = self._parts
        spans, headers = self._spans, self._headers
        asked = Request("", "", {}, headers, remote=self._remote)
        host, port = _host_of(find_header(headers, b"host"), scheme)
        attributes: dict[str, str | int] = {
            "url.path": path,
            "url.scheme": scheme,
            "http.route": route_of(self._endpoint),
            "server.address": host,
            "server.port": port,
            "client.address": spans.client_address(asked),
            "network.protocol.version": version,
            "user_agent.original": find_header(headers, b"user-agent").decode(errors="replace"),
        }
        known = {name: value for name, value in attributes.items() if value}
        self._attributes = {**method_attributes(method), **known, "krakend.stage": "global"}
        self._attributes |= spans.static | self._static
        if spans.reported is not None:
            self._attributes |= spans.reported.request(headers)
        shown = method if method in METHODS else "HTTP"
        self._name = f"{shown} {route_of(self._endpoint)}" if self._endpoint else shown

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
