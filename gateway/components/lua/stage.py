"""Scripts around the pipe (``lua-proxy``) or one backend (``-backend``), or before the pipe
(``-endpoint``).

A script runs on the event loop, within bounds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from ...config.go_names import parameter_of
from ...config.structs import AgentPipe, Backend, Endpoint, Service
from ...core.asgi import AsgiResponse, Receive, Scope, Send, send_answer
from ...core.component import Assembly, Component
from ...core.forwarding import build_filter
from ...core.layers import App, Layer
from ...core.proxy import INCOMPLETE, Branch, Guard, Request, Response, Stage
from ...core.stage import BegunCall, Call, Functions, intercepted
from ...errors import Refused
from ...telemetry.logs import get_logger
from .findings import backend_findings, endpoint_findings, proxy_findings
from .messages import LuaRequest, LuaResponse
from .sandbox import ScriptFailure, Session
from .scripts import LuaSettings, Scripts, names_body, verify_lua

log = get_logger("gateway.lua")

_PLACEHOLDER = re.compile(r"\{([^{}/]+)\}")
_CONTROLS = re.compile(r"[^\x09\x20-\x7e\x80-\xff]")


def build_lua_proxy(settings: LuaSettings, endpoint: Endpoint, assembly: Assembly) -> Stage:
    """Around all backends of an endpoint."""
    scripts = Scripts(settings)
    filtered = build_filter(endpoint, assembly.service)

    def lua_request(request: Request) -> LuaRequest:
        copy = filtered(request)
        return LuaRequest(copy, copy.path)

    script = Script(scripts, settings, endpoint, lua_request)
    reads_body = names_body(settings)
    return lambda pipe: intercepted(pipe, script, is_pure=False, reads_body=reads_body)


def build_lua_backend(
    settings: LuaSettings, backend: Backend, endpoint: Endpoint, assembly: Assembly
) -> Callable[[Branch], Branch]:
    """Around one backend."""
    scripts = Scripts(settings)
    filtered = build_filter(endpoint, assembly.service, backend)

    is_pure = not scripts.runs_before and not settings.skip_next
    reads_body = names_body(settings)

    def stage(branch: Branch) -> Branch:
        def lua_request(request: Request) -> LuaRequest:
            copy = filtered(request)
            copy.method, copy.url = backend.method, None
            path = _filled(backend.url_pattern, copy.params)
            return LuaRequest(copy, path, build_url=branch.url)

        script = Script(scripts, settings, endpoint, lua_request)
        return intercepted(branch, script, is_pure=is_pure, reads_body=reads_body)

    return stage


class Script:
    """The scripts before and after a branch. ``lua_request``: the request as scripts see it."""

    def __init__(
        self,
        scripts: Scripts,
        settings: LuaSettings,
        endpoint: Endpoint,
        lua_request: Callable[[Request], LuaRequest],
    ) -> None:
        self._scripts = scripts
        self._skips_branch = settings.skip_next
        self._has_status = endpoint.output_encoding == "no-op"
        self._lua_request = lua_request

    def begin(self, request: Request) -> Call | Response:
        changed = self._lua_request(request)
        session = self._scripts.begin("request", changed)
        if self._skips_branch:
            return self._finished(session, changed.request, Response({}, INCOMPLETE))
        return BegunCall(changed.request, partial(self._finished, session))

    def _finished(self, session: Session, request: Request, response: Response) -> Response:
        if response.has_failures or not self._scripts.has_post:
            return response
        changed = LuaResponse(response)
        self._scripts.end(session, changed)
        return changed.finished(has_status=self._has_status)


def _filled(pattern: str, params: Mapping[str, str]) -> str:
    """The path of a backend as a script sees it."""

    def value(found: re.Match[str]) -> str:
        name = found[1]
        return params.get(parameter_of(name), found[0])

    return _PLACEHOLDER.sub(value, pattern)


def build_lua_guard(settings: LuaSettings, endpoint: Endpoint, assembly: Assembly) -> Guard | None:
    """Before the body is read, and before rate limits; None if a script uses the body."""
    if names_body(settings):
        return None
    return partial(_run, Scripts(settings), _names(endpoint))


def build_lua_endpoint(settings: LuaSettings, endpoint: Endpoint, assembly: Assembly) -> Stage:
    """For a script that uses the body: after rate limits, around everything else."""
    if isinstance(endpoint, AgentPipe) or not names_body(settings):
        return lambda pipe: pipe
    scripts, names = Scripts(settings), _names(endpoint)

    def before(request: Request) -> Request:
        copy = request.copy()
        _run(scripts, names, copy)
        return copy

    return lambda pipe: intercepted(pipe, Functions(before), is_pure=False, reads_body=True)


def _names(endpoint: Endpoint) -> dict[str, str]:
    found = _PLACEHOLDER.findall(endpoint.endpoint)
    return {parameter_of(name): name for name in found}


def _run(scripts: Scripts, names: Mapping[str, str], request: Request) -> None:
    """Change the request, or raise :class:`Refused`; as in KrakenD the response has no body."""
    try:
        scripts.begin("ctx", LuaRequest(request, request.path, names))
    except ScriptFailure as error:
        log.debug("%s: %s", request.path, error)
        content_type = _CONTROLS.sub("", error.content_type).encode("latin-1")
        headers = ((b"content-type", content_type),) if content_type else ()
        raise Refused(error.status, str(error), headers) from error


def build_lua_layer(settings: LuaSettings, service: Service, assembly: Assembly) -> Layer:
    """On the service: before every request except those for health and readiness and those that are
    redirected, as in KrakenD. Any failure is a 500."""
    scripts = Scripts(settings)

    def wrap(handler: App) -> App:
        async def run_scripts(scope: Scope, receive: Receive, send: Send, *params: Any) -> None:
            path, query = scope["path"], scope["query_string"]
            request = Request(scope["method"], path, {}, scope["headers"], query)
            try:
                _run(scripts, {}, request)
            except Refused as error:
                log.error("%s: %s", path, error)
                await send_answer(send, AsgiResponse(500, ()))
                return
            changed = {"headers": request.headers, "query_string": request.query_string}
            await handler({**scope, **changed}, receive, send, *params)

        return run_scripts

    return Layer(wrap=wrap)


BACKEND = Component(
    "modifier/lua-backend",
    LuaSettings,
    aliases=("github.com/devopsfaith/krakend-lua/proxy/backend",),
    verify=verify_lua,
    runs_scripts=True,
    backend_stage=build_lua_backend,
    changes_target=True,
    findings=backend_findings,
)


PROXY = Component(
    "modifier/lua-proxy",
    LuaSettings,
    aliases=("github.com/devopsfaith/krakend-lua/proxy",),
    verify=verify_lua,
    runs_scripts=True,
    endpoint_stage=build_lua_proxy,
    findings=proxy_findings,
)


ENDPOINT = Component(
    "modifier/lua-endpoint",
    LuaSettings,
    aliases=("github.com/devopsfaith/krakend-lua/router",),
    verify=verify_lua,
    runs_scripts=True,
    guard=build_lua_guard,
    endpoint_stage=build_lua_endpoint,
    handler_layer=build_lua_layer,
    findings=endpoint_findings,
)
