"""The ASGI application: it finds the endpoint of a request, or responds with 404, 405 or a
redirect."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from html import escape
from typing import TypeAlias
from urllib.parse import quote, unquote, unquote_to_bytes

from anyio import current_time

from ..config.paths import shape
from ..config.structs import GatewaySettings, RouterSettings, Service
from ..core.asgi import ASGIApp, AsgiResponse, Handler, Receive, Scope, Send, send_answer, text
from ..core.bridge import Timers
from ..core.counted import CountUnmatched, ignore_unmatched
from ..core.direct import Application, DirectHead
from ..core.layers import Layer
from ..core.observed import FOUND
from ..core.proxy import HeaderGuard
from .builtin import (
    Respond,
    as_json,
    build_constant,
    build_echo,
    build_handler,
    build_health,
    build_ready,
    debug,
)
from .direct import DirectEndpoint, TracedDirectEndpoint, find_state_head
from .endpoint import (
    CountingHandler,
    EndpointHandler,
    Prepare,
    PreparingHandler,
    Route,
    give_trace,
    note_for_observers,
)
from .lifespan import answer_lifespan
from .load import TOO_MANY_REQUESTS_AT_ONCE, Load
from .render import build_render, build_render_error, with_headers_of
from .routes import Match, Routes, clean_path

NO_APPS: Mapping[str, ASGIApp] = {}
EVERY_METHOD = ("GET", "POST", "PUT", "PATCH", "HEAD", "OPTIONS", "DELETE")
"""In gin's order."""
_SUSPECT = re.compile(r"[%?#\x00-\x1f\x7f]|^\.\.?(?:$|[;\\])|\\\.")
_DOTS = re.compile(r"(?:^|\\)\.\.?(?:;[^\\]*)?(?:\\|$)")
"""A dot segment, also for servers that split paths at backslashes or ignore what follows a ";"."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_BYTE = re.compile("[\udc80-\udcff]")
"""A byte that is not UTF-8, as ``surrogateescape`` decodes it."""
_BAD_ESCAPE = re.compile(rb"%(?![\da-fA-F]{2})")
MALFORMED = text(400, "400 Bad Request")
Wrap: TypeAlias = Callable[[Handler], Handler]


def build_app(
    service: Service,
    routes: Sequence[Route],
    *,
    readiness: Callable[[], Mapping[str, object]],
    agents: Callable[[], Mapping[str, object]] = dict,
    version: str,
    clock: Callable[[], float] = current_time,
    timers: Timers | None = None,
    layers: Sequence[Layer] = (),
    outer_layers: Sequence[Layer] = (),
    is_observed: bool = False,
    is_traced: bool = False,
    notes_requests: bool = False,
    load: Load | None = None,
    count_unmatched: CountUnmatched = ignore_unmatched,
) -> Application:
    """The application of an open gateway.

    ``readiness``: the document of ``/__ready``; its key "ready" decides the status. ``agents``: the
    agents in ``/__health``. ``layers``: around every handler except health and readiness, the
    innermost first. ``outer_layers``: around all of it, the innermost first. ``clock``: of
    deadlines, as :func:`anyio.current_time`. ``timers``: of requests without a task; None: each
    request has a task. ``is_observed``: :func:`gateway.core.observed.observed` gets the result.
    ``is_traced``: so does :func:`gateway.core.traced.traced`. ``notes_requests``: its observers
    read requests (:class:`gateway.core.observed.Observation`). ``load``: counts the requests; None:
    one of its own. ``count_unmatched``: counts requests that no endpoint gets.
    """
    router = service.router
    gateway = service.gateway
    shown = "undefined" if router.hide_version_header else version
    version_header = (b"x-krakend", b"Version " + shown.encode())
    render_error = build_render_error(router, version_header, gateway.krakend_statuses)

    def wrapped(handler: Handler) -> Handler:
        for layer in layers:
            handler = layer.around(handler)
        return handler

    table: Routes[Handler] = Routes(with_prefixes=service.disable_rest)
    direct_endpoints: dict[Handler, DirectEndpoint] = {}
    states: dict[Handler, Respond] = {}
    if gateway.management_port is None:
        for path, respond in _states(router, gateway, readiness, agents).items():
            handler = build_handler(respond)
            states[handler] = respond
            table.add("GET", path, handler)
    _add_debugging(table, service, gateway, wrapped)
    prepare: list[Prepare] = [give_trace] if is_traced else []
    if notes_requests:
        prepare.append(note_for_observers)
    direct_class = TracedDirectEndpoint if is_traced else DirectEndpoint
    for route in routes:
        render = build_render(route.endpoint, version_header, is_bare=route.is_bare)
        if adding := [guard for guard in route.guards if isinstance(guard, HeaderGuard)]:
            render = with_headers_of(adding, render)
        handler_class = PreparingHandler if prepare else EndpointHandler
        if route.count_response is not None:
            handler_class = CountingHandler
        endpoint = handler_class(route, render, render_error, gateway, clock)
        if isinstance(endpoint, CountingHandler) and route.count_response is not None:
            endpoint.count = route.count_response
        if isinstance(endpoint, PreparingHandler):
            endpoint.prepare = prepare
        handler = wrapped(endpoint.handle)
        if is_observed:
            handler = noted(handler, route.endpoint.endpoint)
        table.add(route.method, route.endpoint.endpoint, handler)
        if timers is not None and route.pipe.later is not None:
            direct_endpoints[handler] = direct_class(
                endpoint, timers, runs_scripts=route.runs_scripts, notes_requests=notes_requests
            )
    if router.auto_options:
        _add_options(table, routes, not service.disable_rest, version_header, wrapped)

    find_static = table.static.get
    refusals = UnmatchedRequests(table, router, version_header, wrapped, count_unmatched)
    load = load or Load(gateway.max_requests)

    def find(scope: Scope) -> Match[Handler] | AsgiResponse:
        handler = find_static((scope["method"], scope["path"]))
        return refusals.find(scope) if handler is None else Match(handler, {})

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await _answer_other(scope, receive, send)
            return
        if scope.get("root_path"):
            scope = _below_root(scope)
        found = find(scope)
        if isinstance(found, AsgiResponse):
            count_unmatched(found.status)
            await send_answer(send, found)
            return
        handler, params = found
        if load.running >= load.limit and handler not in states:
            load.refused += 1
            await send_answer(send, TOO_MANY_REQUESTS_AT_ONCE)
            return
        load.running += 1
        try:
            await handler(scope, receive, send, params)
        finally:
            load.running -= 1

    def direct(scope: Scope) -> DirectHead | None:
        found = find(scope)
        if isinstance(found, AsgiResponse):
            return None
        handler, params = found
        if (endpoint := direct_endpoints.get(handler)) is not None:
            return endpoint.find_head(scope, params, load, outer_layers, layers)
        respond = states.get(handler)
        return None if respond is None else find_state_head(respond, scope, outer_layers)

    outside: ASGIApp = app
    for layer in outer_layers:
        outside = layer.around(outside)
    are_plain = all(layer.is_plain for layer in (*layers, *outer_layers))
    return Application(outside, direct if timers is not None and are_plain else None)


def noted(handler: Handler, path: str) -> Handler:
    """The handler of the endpoint with this path, which observers of responses get to know."""

    async def handle(scope: Scope, receive: Receive, send: Send, params: dict[str, str]) -> None:
        scope[FOUND].append(path)
        await handler(scope, receive, send, params)

    return handle


def _below_root(scope: Scope) -> Scope:
    """The scope for an application that is mounted below ``root_path``: without that prefix."""
    root, path = scope["root_path"].rstrip("/"), scope["path"]
    if path != root and not path.startswith(root + "/"):
        return scope
    return {**scope, "path": path[len(root) :] or "/"}


def _add_debugging(
    table: Routes[Handler], service: Service, gateway: GatewaySettings, wrapped: Wrap
) -> None:
    for method in EVERY_METHOD:
        if service.debug_endpoint:
            table.add(method, "/__debug/*", wrapped(debug))
        if service.echo_endpoint:
            table.add(method, "/__echo/*", wrapped(build_echo(gateway)))


def _states(
    router: RouterSettings,
    gateway: GatewaySettings,
    readiness: Callable[[], Mapping[str, object]],
    agents: Callable[[], Mapping[str, object]],
) -> dict[str, Respond]:
    """Health and readiness, by path."""
    if router.disable_health:
        return {}
    return {router.health_path: build_health(agents), gateway.ready_path: build_ready(readiness)}


def build_management_app(
    service: Service,
    *,
    readiness: Callable[[], Mapping[str, object]],
    agents: Callable[[], Mapping[str, object]] = dict,
    apps: Mapping[str, ASGIApp] = NO_APPS,
) -> ASGIApp:
    """The application on ``management_port``: health and readiness, which are then not public.

    ``apps``: the applications of components on that port, by path.
    """
    router = service.router
    gateway = service.gateway
    states = _states(router, gateway, readiness, agents)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await _answer_other(scope, receive, send)
        elif (component := apps.get(scope["path"])) is not None:
            await component(scope, receive, send)
        elif (respond := states.get(scope["path"])) is None:
            await send_answer(send, text(404, "404 page not found", charset=False))
        elif scope["method"] != "GET":
            await send_answer(send, text(405, "405 method not allowed", charset=False))
        else:
            await send_answer(send, respond())

    return app


def _add_options(
    table: Routes[Handler],
    routes: Sequence[Route],
    is_rest: bool,
    version: tuple[bytes, bytes],
    wrapped: Wrap,
) -> None:
    """An OPTIONS route for every path (KrakenD's ``auto_options``). Paths that differ only in the
    names of their parameters are one path."""
    methods: dict[Hashable, dict[str, str]] = {}
    for route in routes:
        path = route.endpoint.endpoint
        methods.setdefault(shape(path, is_rest), {})[route.method] = path
    for paths in methods.values():
        allowed = (b"allow", ", ".join(sorted(paths)).encode())
        path = next(iter(paths.values()))
        table.add("OPTIONS", path, wrapped(build_constant(text(200, "", allowed, version))))


class UnmatchedRequests:
    """Requests for which no static route was found: parameters, redirects, 404, 405, 400."""

    def __init__(
        self,
        table: Routes[Handler],
        router: RouterSettings,
        version: tuple[bytes, bytes],
        wrapped: Wrap,
        count: CountUnmatched = ignore_unmatched,
    ) -> None:
        self._count = count
        self._table = table
        self._router = router
        self._common = (version, (b"x-krakend-completed", b"false"))
        self._wrapped = wrapped
        self._not_found = self._error(404, "404 page not found")

    def find(self, scope: Scope) -> Match[Handler] | AsgiResponse:
        method, path = scope["method"], scope["path"]
        raw = scope.get("raw_path") or b""
        if raw.find(b"%") >= 0 and _BAD_ESCAPE.search(raw):
            return MALFORMED
        if self._router.remove_extra_slash:
            path = clean_path(path)
        found = self._table.find(method, path)
        if found is None:
            return self._refuse(scope, method, path)
        if not self._router.disable_path_decoding and (problem := _problem(found.params)):
            return text(400, f"error: {problem}")
        return self._with_escapes(scope, found) if "\ufffd" in path else found

    def _with_escapes(self, scope: Scope, found: Match[Handler]) -> Match[Handler] | AsgiResponse:
        """The same parameters, in which bytes that are not UTF-8 are written as ``%FF``: so a
        backend gets the bytes that the client sent."""
        raw = scope.get("raw_path") or quote(scope["path"])
        decoded = unquote_to_bytes(raw).decode(errors="surrogateescape")
        path = _BYTE.sub(lambda byte: f"%{ord(byte[0]) & 0xFF:02X}", decoded)
        path = path.removeprefix(scope.get("root_path", "").rstrip("/"))
        return self._table.find(scope["method"], path) or found

    def _refuse(self, scope: Scope, method: str, path: str) -> Match[Handler] | AsgiResponse:
        router, table = self._router, self._table
        any_slash = not router.disable_redirect_trailing_slash
        if any_slash and (other := table.with_other_slash(method, path)):
            return _redirect(scope, method, clean_path(other))
        if not router.disable_redirect_fixed_path and (
            other := table.with_fixed_path(method, path, any_slash)
        ):
            return _redirect(scope, method, other)
        if not router.disable_handle_method_not_allowed and (methods := table.methods(path)):
            allowed = (b"allow", ", ".join(methods).encode())
            return self._error(405, "405 method not allowed", allowed)
        return self._not_found

    def _error(self, status: int, message: str, *headers: tuple[bytes, bytes]) -> Match[Handler]:
        """An error response inside of the layers, as if it were a route."""
        document = self._router.error_body.get(str(status))
        if document is None:
            answer = text(status, message, *headers, *self._common, charset=False)
        else:
            status, inner, body = as_json(status, document)
            answer = AsgiResponse(status, [*headers, *self._common, *inner], body)

        def respond() -> AsgiResponse:
            self._count(answer.status)
            return answer

        return Match(self._wrapped(build_handler(respond)), {})


def _problem(params: dict[str, str]) -> str:
    """Why a parameter cannot be passed on: it would have another meaning in a URL."""
    for value in params.values():
        if not _SUSPECT.search(value):
            continue
        if escape_sequence := _bad_escape(value):
            return f'invalid URL escape "{escape_sequence}"'
        if unquote(value) != value or "?" in value or "#" in value:
            return "encoded url params"
        if _CONTROL.search(value):
            return "invalid control character in URL"
        if _DOTS.search(value):  # KrakenD passes them on: a request could leave its path
            return "dot segment"
    return ""


def _bad_escape(value: str) -> str:
    for part in value.split("%")[1:]:
        digits = part[:2]
        if len(digits) < 2 or not all(digit in "0123456789abcdefABCDEF" for digit in digits):
            return "%" + digits
    return ""


def _redirect(scope: Scope, method: str, path: str) -> AsgiResponse:
    path = scope.get("root_path", "").rstrip("/") + path
    location = quote(path, safe="/:@,;=$&+-_.~").encode()
    if scope["query_string"]:
        location += b"?" + scope["query_string"]
    if method != "GET":
        return AsgiResponse(307, [(b"location", location)])
    body = b'<a href="%b">Moved Permanently</a>.\n\n' % escape(location.decode("latin-1")).encode()
    headers = [
        (b"location", location),
        (b"content-type", b"text/html; charset=utf-8"),
    ]
    return AsgiResponse(301, headers, body)


def http_only(app: ASGIApp) -> ASGIApp:
    """An application that gets HTTP requests only, for a server with a port of its own: a server on
    Trio does not start without a response to ``lifespan``."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await app(scope, receive, send)
        else:
            await _answer_other(scope, receive, send)

    return answer


async def _answer_other(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await answer_lifespan(receive, send)
    else:
        await send({"type": "websocket.close", "code": 1000})
