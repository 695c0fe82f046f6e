"""A service asked over HTTP as the answer of a backend: what a backend is by default."""

from __future__ import annotations

import logging
from collections.abc import Callable

from anyio import Event

from ..assembly import Assembly
from ..config.structs import AgentPipe, Backend, Endpoint, GatewaySettings, Service
from ..errors import BackendFailure, GatewayError
from ..forwarding import build_forward_headers, build_forward_query
from ..proxy import Arrive, Branch, Part, Request, Response
from .answers import STATUSES, build_interpret, find, unpacked
from .balance import NextHost, build_next_host
from .client import HttpClient
from .connection import Answer
from .discovery import Discovery
from .heads import Outgoing, redirected, write_head
from .pool import PoolSettings
from .settings import HttpClientSettings, HttpSettings
from .targets import build_target
from .tls import client_tls

log = logging.getLogger("gateway.http")

CLIENT = "backend/http/client"
MAX_REDIRECTS = 10
"""As many as Go follows."""

MAX_IDLE_PER_HOST = 250

CHOICES = (b"accept-encoding", b"range")
"""Who sends them wants the answer as it is."""


def build_http(
    settings: HttpSettings, backend: Backend, endpoint: Endpoint, assembly: Assembly
) -> Branch:
    """The branch that asks a service."""
    asked = HttpBackend(settings, backend, endpoint, assembly)
    return Branch(asked.proxy, None, asked.later, may_repeat=True)


class HttpBackend:
    """Asks one service, at one of its hosts."""

    def __init__(
        self, settings: HttpSettings, backend: Backend, endpoint: Endpoint, assembly: Assembly
    ) -> None:
        service = assembly.service
        is_passed_on = "no-op" in (backend.encoding, endpoint.output_encoding)
        options = backend.extra_config.get(CLIENT) or HttpClientSettings()
        self._client = share_client(assembly)
        self._method = backend.method.upper()
        self._forward_headers = build_forward_headers(endpoint, backend, service)
        self._forward_query = build_forward_query(endpoint, backend)
        self._target = build_target(backend.url_pattern)
        self._next_host = _choose_hosts(backend, assembly)
        self._interpret = build_interpret(
            backend, settings, is_passed_on, isinstance(endpoint, AgentPipe)
        )
        self._resends_body = options.send_body_on_redirect
        self._unpacks_all = not is_passed_on
        self._accepts_gzip = not service.disable_compression and self._method != "HEAD"
        self._max_bytes = _gateway(service).max_answer_bytes
        close = b"\r\nConnection: close" if service.disable_keep_alives else b""
        self._lines = close + b"\r\n\r\n"
        self._lines_with_gzip = b"\r\nAccept-Encoding: gzip" + self._lines

    async def proxy(self, request: Request) -> Response:
        """Ask, and wait for the answer."""
        arrived: list[Part] = []
        is_here = Event()

        def arrive(part: Part) -> None:
            arrived.append(part)
            is_here.set()

        withdraw = self.later(request, arrive)
        try:
            await is_here.wait()
        finally:
            withdraw()
        if isinstance(arrived[0], GatewayError):
            raise arrived[0]
        return arrived[0]

    def later(self, request: Request, arrive: Arrive) -> Callable[[], None]:
        """Ask; the answer comes without a task."""
        call = Call(self, arrive)
        call.begin(request)
        return call.withdraw

    def outgoing(self, request: Request) -> Outgoing:
        """What this request asks of a host."""
        host = self._next_host()
        target = host.base + self._target(request.params)
        if self._forward_query is not None and request.query_string:
            query = self._forward_query(request.query_string)
            if query:
                target += ("&" if "?" in target else "?") + query
        headers = self._forward_headers(request)
        if host.login and not find(headers, b"authorization"):
            headers.append((b"authorization", host.login))
        return Outgoing(self._method, host, target, headers, request.body)

    def send(self, outgoing: Outgoing, call: Call) -> Callable[[], None]:
        """Send it, for ``call`` to be told."""
        call.asks_gzip = self._accepts_gzip and not any(
            name in CHOICES for name, _ in outgoing.headers
        )
        fixed = self._lines_with_gzip if call.asks_gzip else self._lines
        head = write_head(outgoing, fixed)
        origin = outgoing.host.origin
        return self._client.send(origin, outgoing.method, head, outgoing.body, call.arrived)

    def next(self, outgoing: Outgoing, answer: Answer) -> Outgoing | None:
        """Where a redirect leads."""
        return redirected(outgoing, answer, self._resends_body)

    def response(self, answer: Answer, outgoing: Outgoing, asked_gzip: bool) -> Response:
        """What the answer means."""
        if answer.status not in STATUSES:
            raise BackendFailure(f"{outgoing.url}: {answer.status} is no status of HTTP")
        is_ours = asked_gzip or self._unpacks_all
        if is_ours and answer.body and find(answer.headers, b"content-encoding") == b"gzip":
            answer = unpacked(answer, self._max_bytes)
        return self._interpret(answer, outgoing.url)


class Call:
    """One request to a backend, over all its redirects."""

    __slots__ = ("_arrive", "_asked", "_hops", "_outgoing", "_withdraw", "asks_gzip")

    def __init__(self, asked: HttpBackend, arrive: Arrive) -> None:
        self._asked = asked
        self._arrive = arrive
        self._hops = 0
        self._withdraw: Callable[[], None] | None = None
        self.asks_gzip = False

    def begin(self, request: Request) -> None:
        try:
            self._send(self._asked.outgoing(request))
        except GatewayError as error:
            self._arrive(error)

    def withdraw(self) -> None:
        """Nobody waits any more."""
        if self._withdraw is not None:
            self._withdraw()

    def arrived(self, part: Answer | BackendFailure) -> None:
        """The answer of one host: it may be a redirect. Never raises."""
        try:
            result = self._result(part)
        except GatewayError as error:
            result = error
        except Exception:  # this runs in the connection's callback: nobody else may suffer
            log.exception("%s: while reading the answer", self._outgoing.url)
            result = GatewayError("internal error")
        if result is not None:
            self._arrive(result)

    def _result(self, part: Answer | BackendFailure) -> Part | None:
        if isinstance(part, BackendFailure):
            return BackendFailure(f"{self._outgoing.method} {self._outgoing.url}: {part}")
        outgoing = self._asked.next(self._outgoing, part)
        if outgoing is None:
            return self._asked.response(part, self._outgoing, self.asks_gzip)
        self._hops += 1
        if self._hops > MAX_REDIRECTS:
            raise BackendFailure(f"{outgoing.url}: stopped after {MAX_REDIRECTS} redirects")
        self._send(outgoing)
        return None

    def _send(self, outgoing: Outgoing) -> None:
        self._outgoing = outgoing
        self._withdraw = self._asked.send(outgoing, self)


def share_client(assembly: Assembly) -> HttpClient:
    """The one client of the gateway, as the root of the configuration wants it."""
    service = assembly.service
    settings = PoolSettings(
        dial_time=service.dialer_timeout,
        header_time=service.response_header_timeout,
        probe_time=service.dialer_keep_alive,
        keeps_connections=not service.disable_keep_alives,
        idle_time=service.idle_connection_timeout,
        max_idle=service.max_idle_connections_per_host or MAX_IDLE_PER_HOST,
        max_body_bytes=_gateway(service).max_answer_bytes,
        tls=client_tls(service),
    )
    return assembly.resource(
        "http", lambda: HttpClient(assembly.side, settings, service.max_idle_connections)
    )


def _choose_hosts(backend: Backend, assembly: Assembly) -> NextHost:
    """The hosts of the file, or (``sd: dns``) those that the name in it stands for."""
    if backend.sd != "dns" or not backend.host:
        return build_next_host(backend.host)
    name = backend.host[0].partition("://")[2] or backend.host[0]
    ttl = assembly.service.dns_cache_ttl
    discovery = assembly.resource(
        ("dns", name, backend.sd_scheme),
        lambda: Discovery(assembly.side, name, backend.sd_scheme, ttl),
    )
    return discovery.next_host


def _gateway(service: Service) -> GatewaySettings:
    return service.extra_config.get("gateway") or GatewaySettings()
