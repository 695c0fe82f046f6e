"""``backend/http``: a backend that is a service with HTTP; every backend is one by default."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial

from ..config.structs import AgentPipe, Backend, Endpoint
from ..core.asgi import TOKEN, find_header
from ..core.component import Assembly, Component
from ..core.forwarding import build_forward_headers, build_forward_query
from ..core.large import LargeReading
from ..core.proxy import Arrive, Branch, Part, Request, nothing_to_withdraw
from ..encoding import Document
from ..encoding.manipulation import build_reading
from ..errors import BackendFailure, DeadlineExceeded, GatewayError
from ..telemetry.logs import get_logger
from .balance import NextHost, build_next_host, usable_hosts
from .connection import HttpResponse
from .hosts import host_findings
from .request_head import BackendRequest
from .responses import SUCCESS, Interpret, build_interpret
from .settings import HttpClientSettings, HttpSettings
from .targets import build_target, hide_query, parse_url
from .transport import Result, Withdraw
from .transports import CLIENT, build_transport

log = get_logger("gateway.http")


def build_http(
    settings: HttpSettings, backend: Backend, endpoint: Endpoint, assembly: Assembly
) -> Branch:
    """The branch that calls a service."""
    is_scripted = any(row.changes_target for row in assembly.catalog.rows_of(backend))
    backend_class = ScriptedHttpBackend if is_scripted else HttpBackend
    http_backend = backend_class(settings, backend, endpoint, assembly)
    return Branch(later=http_backend.later, may_repeat=True, url=http_backend.url)


class HttpBackend:
    """Calls one service, at one of its hosts."""

    def __init__(
        self, settings: HttpSettings, backend: Backend, endpoint: Endpoint, assembly: Assembly
    ) -> None:
        service = assembly.service
        is_passed_on = endpoint.output_encoding == "no-op"
        self._method = backend.method.upper()
        self._forward_headers = build_forward_headers(endpoint, backend, service)
        self._forward_query = build_forward_query(endpoint, backend)
        self._target = build_target(backend.url_pattern)
        self._next_host = _choose_hosts(backend, assembly)
        self._build_interpret = partial(
            build_interpret, backend, settings, is_passed_on, isinstance(endpoint, AgentPipe)
        )
        self._interpret = self._build_interpret(build_reading(backend))
        self._large = LargeReading(backend, assembly)
        is_read = not is_passed_on and backend.encoding != "no-op"
        self._max_inline_bytes = self._large.most if is_read else sys.maxsize
        self._streams = is_passed_on and may_stream(backend, endpoint, assembly)
        self._send = build_transport(
            backend, endpoint, assembly, unpacks_all=not is_passed_on, streams=self._streams
        )

    def later(self, request: Request, arrive: Arrive) -> Callable[[], GatewayError | None]:
        """Send the request; the response arrives without a task."""
        try:
            outgoing = self._outgoing(request)
            call = _BackendCall(self, outgoing, arrive)
            arrived: Callable[[Result], None] = call.arrived
            if self._streams:
                arrived = self._begin_stream(request, arrived)
            call.sent(self._send(outgoing, arrived))
        except GatewayError as error:
            arrive(error)
            return nothing_to_withdraw
        return call.withdraw

    def _begin_stream(
        self, request: Request, arrived: Callable[[Result], None]
    ) -> Callable[[Result], None]:
        """The endpoint's deadline is also the body's. The stream ends with the request at the
        latest."""

        def begun(result: Result) -> None:
            if isinstance(result, HttpResponse) and result.stream is not None:
                result.stream.end = request.deadline
                request.taken.append(result.stream)
            arrived(result)

        return begun

    def is_large(self, response: HttpResponse) -> bool:
        """Whether a helper process decodes the body."""
        return len(response.body) > self._max_inline_bytes and response.status in SUCCESS

    def part_later(
        self, response: HttpResponse, outgoing: BackendRequest, arrive: Arrive
    ) -> Withdraw:
        """As :meth:`part`, in a helper process. Returns a function that ends it."""

        def arrived(data: Document | Exception | None) -> None:
            def read(body: bytes) -> Document | None:
                if isinstance(data, Exception):
                    raise data
                return data

            arrive(self.part(response, outgoing, self._build_interpret(read)))

        return self._large.start(response.body, arrived)

    def part(
        self, result: Result, outgoing: BackendRequest, interpret: Interpret | None = None
    ) -> Part:
        """The part of the endpoint's response. Never raises."""
        if isinstance(result, GatewayError):
            return result
        try:
            return (interpret or self._interpret)(result, result.url or outgoing.url)
        except GatewayError as error:
            return error
        except Exception:  # in a callback of the connection: other requests must go on
            log.exception("%s: internal error while the response is read", hide_query(outgoing.url))
            return GatewayError("internal error")

    def url(self, request: Request) -> str:
        """The URL of the next request."""
        return self._outgoing(request).url

    def _outgoing(self, request: Request) -> BackendRequest:
        """The request to the next host."""
        host = self._next_host()
        target = host.base + self._target(request.params)
        if request.query_string:
            query = self._forward_query(request)
            if query:
                separator = "&" if "?" in target else "?"
                target += query if target.endswith("?") else separator + query
        headers = self._forward_headers(request)
        if host.login and not find_header(headers, b"authorization"):
            headers.append((b"authorization", host.login))
        return BackendRequest(self._method, host, target, headers, request.body, "", request)


class ScriptedHttpBackend(HttpBackend):
    """Calls with the method and the URL that a script may have set."""

    def __init__(
        self, settings: HttpSettings, backend: Backend, endpoint: Endpoint, assembly: Assembly
    ) -> None:
        super().__init__(settings, backend, endpoint, assembly)
        self._logins = {host.origin: host.login for host in usable_hosts(backend.host)}

    def _outgoing(self, request: Request) -> BackendRequest:
        method = request.method.upper()
        if not TOKEN.fullmatch(method):
            raise BackendFailure(f"invalid method {request.method!r}")
        if request.url is None:
            return super()._outgoing(request)._replace(method=method)
        try:
            host, target = parse_url(request.url)
        except ValueError as error:
            raise BackendFailure(f"the URL of a script: {error}") from error
        headers = self._forward_headers(request)
        login = host.login or self._logins.get(host.origin, b"")
        if login and not find_header(headers, b"authorization"):
            headers.append((b"authorization", login))
        return BackendRequest(method, host, target, headers, request.body, "", request)


class _BackendCall:
    """One call of a service, until its response has arrived or is not wanted any more."""

    __slots__ = ("_arrive", "_backend", "_is_over", "_outgoing", "_withdraw")

    def __init__(self, backend: HttpBackend, outgoing: BackendRequest, arrive: Arrive) -> None:
        self._backend = backend
        self._outgoing = outgoing
        self._arrive = arrive
        self._withdraw: Withdraw | None = None
        self._is_over = False

    def sent(self, withdraw: Withdraw) -> None:
        if not self._is_over:
            self._withdraw = withdraw

    def arrived(self, result: Result) -> None:
        self._is_over = True
        self._withdraw = None  # it refers to us: leave no reference cycle
        if isinstance(result, HttpResponse) and self._backend.is_large(result):
            self._withdraw = self._backend.part_later(result, self._outgoing, self._read)
        else:
            self._arrive(self._backend.part(result, self._outgoing))

    def _read(self, part: Part) -> None:
        self._withdraw = None
        self._arrive(part)

    def withdraw(self) -> GatewayError | None:
        withdraw, self._withdraw = self._withdraw, None
        if withdraw is None:
            return None
        withdraw()
        return DeadlineExceeded()


def may_stream(backend: Backend, endpoint: Endpoint, assembly: Assembly) -> bool:
    """No stage between the backend and the client reads the body."""
    for row in assembly.catalog:
        if row.passes_bodies:
            continue
        on_backend = row.backend_stage is not None or row.transport is not None
        if on_backend and row.namespace in backend.extra_config:
            return False
        if row.endpoint_stage is not None and row.namespace in endpoint.extra_config:
            return False
    return endpoint.concurrent_calls < 2 and not isinstance(endpoint, AgentPipe)


def _choose_hosts(backend: Backend, assembly: Assembly) -> NextHost:
    """The hosts in the configuration, or (``sd: dns``) those of the name in it."""
    if backend.sd != "dns" or not backend.host:
        return build_next_host(backend.host)
    from .discovery import Discovery  # imports dnspython: a fifth of the time of a start

    name = backend.host[0].partition("://")[2] or backend.host[0]
    ttl = assembly.service.dns_cache_ttl
    discovery = assembly.resource(
        ("dns", name, backend.sd_scheme),
        lambda: Discovery(assembly.side, name, backend.sd_scheme, ttl),
    )
    return discovery.next_host


HTTP = Component(
    "backend/http",
    HttpSettings,
    aliases=("github.com/devopsfaith/krakend/http",),
    backend=build_http,
    is_default=True,
    host_findings=host_findings,
)


CLIENT_OPTIONS = Component(
    CLIENT,
    HttpClientSettings,
    read_on=frozenset({"backend"}),
)
