"""An application whose endpoints respond in every way, with layers and guards around them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from anyio import current_time
from anyio.lowlevel import checkpoint
from trio.lowlevel import current_trio_token

from gateway.components.bots import BotSettings, build_bot_layer
from gateway.components.cors import CorsSettings, build_cors
from gateway.components.ratelimit.build import guarded
from gateway.components.secure import SecureSettings, build_secure
from gateway.config.structs import Endpoint, GatewaySettings, Service
from gateway.core.bridge import Timers
from gateway.core.direct import Application
from gateway.core.pipe import within
from gateway.core.proxy import (
    INCOMPLETE,
    Arrive,
    Branch,
    Guard,
    HeaderGuard,
    OutcomeWatcher,
    Request,
    Response,
    Withdraw,
    nothing_to_withdraw,
)
from gateway.errors import BackendFailure, GatewayError, QueueEmpty, Refused
from gateway.router.endpoint import Route

from ..router.support import application

TIMEOUT = 0.05
"""Seconds: of the endpoints that get no response."""


def echo(request: Request) -> Response:
    """A response that says what was asked."""
    return Response(
        {
            "method": request.method,
            "params": request.params,
            "query": request.query_string.decode(),
            "body": request.body.decode("latin-1"),
            "headers": [name.decode() for name, _ in request.headers],
        }
    )


class Pieces:
    """A streamed body."""

    length = b""

    def __init__(self) -> None:
        self._pieces = [b"one ", b"two ", b""]

    async def next(self) -> bytes:
        await checkpoint()
        return self._pieces.pop(0)

    def watch(self, watcher: OutcomeWatcher) -> None: ...

    def give_back(self) -> None:
        """There is nothing to give back."""


def streamed(request: Request) -> Response:
    return Response(body=b"", stream=Pieces())


def numbered(request: Request) -> Response:
    return Response({}, status=int(request.params["Status"]))


def failing(request: Request) -> Response:
    raise BackendFailure("the backend has failed")


def empty(request: Request) -> Response:
    raise QueueEmpty


def raising(request: Request) -> Response:
    raise RuntimeError("unforeseen")


def exiting(request: Request) -> Response:
    raise SystemExit(3)


def unrenderable(request: Request) -> Response:
    return Response({"x": object()})


def incomplete(request: Request) -> Response:
    return Response({"a": 1}, INCOMPLETE)


def at_once(respond: Callable[[Request], Response]) -> Branch:
    def later(request: Request, arrive: Arrive) -> Withdraw:
        arrive(respond(request))
        return nothing_to_withdraw

    return Branch(None, respond, later)


def soon(respond: Callable[[Request], Response]) -> Branch:
    """Responds in a later turn of the loop."""

    def later(request: Request, arrive: Arrive) -> Withdraw:
        def come() -> None:
            try:
                arrive(respond(request))
            except GatewayError as error:
                arrive(error)

        try:
            return asyncio.get_running_loop().call_soon(come).cancel
        except RuntimeError:
            current_trio_token().run_sync_soon(come)
            return lambda: None

    return Branch(later=later)


def never() -> Branch:
    return Branch(later=lambda request, arrive: lambda: None)


def refusing(request: Request) -> None:
    if request.header(b"x-refused"):
        raise Refused(401, "no", ((b"www-authenticate", b"Basic"),))


def waiting(request: Request) -> Any:
    """Waits if the request says so, and refuses then perhaps."""

    async def wait() -> None:
        await checkpoint()
        refusing(request)

    return wait() if request.header(b"x-wait") else None


def described(request: Request) -> tuple[tuple[bytes, bytes], ...]:
    return ((b"x-limit", b"7"),)


def limited(request: Request) -> None:
    """A guard of the service."""
    if request.header(b"x-limited"):
        raise Refused(429, "too many", ((b"retry-after", b"2"),))


def route(path: str, branch: Branch, *guards: Guard, method: str = "GET", **keys: Any) -> Route:
    keys.setdefault("timeout", TIMEOUT)
    settings = Endpoint(endpoint=path, method=method, **keys)
    return Route(method, settings, within(branch), guards)


PATHS = (
    "/now",
    "/soon",
    "/never",
    "/status/200",
    "/status/204",
    "/status/304",
    "/status/503",
    "/status/1000",
    "/fails",
    "/empty",
    "/raises",
    "/raises-soon",
    "/exits",
    "/unrenderable",
    "/incomplete",
    "/refusing",
    "/waiting",
    "/streamed",
    "/text",
    "/missing",
    "/__ready",
    "/now/",
)


def build_application(timers: Timers | None) -> Application:
    no_op = {"output_encoding": "no-op"}
    routes = [
        route("/now", at_once(echo)),
        route("/soon", soon(echo)),
        route("/never", never()),
        route("/status/{status}", at_once(numbered)),
        route("/fails", at_once(failing)),
        route("/empty", soon(empty)),
        route("/raises", at_once(raising)),
        route("/raises-soon", Branch(later=lambda request, arrive: raising(request))),  # type: ignore[arg-type,return-value]
        route("/exits", at_once(exiting)),
        route("/unrenderable", soon(unrenderable)),
        route("/incomplete", at_once(incomplete)),
        route("/refusing", at_once(echo), refusing),
        route("/waiting", soon(echo), waiting, HeaderGuard(refusing, described)),
        route("/streamed", at_once(streamed), **no_op),
        route("/text", at_once(echo), output_encoding="string"),
        route("/now", at_once(echo), method="POST"),
        route("/soon", soon(echo), method="POST"),
        route("/waiting", soon(echo), waiting, method="POST"),
    ]
    service, nothing = Service(), Any
    cors = CorsSettings(allow_origins=("https://a.test",), expose_headers=("X-A",))
    secure = SecureSettings(frame_deny=True, content_type_nosniff=True)
    return application(
        *routes,
        gateway=GatewaySettings(max_body_bytes=1000),
        timers=timers,
        clock=current_time if timers is None else asyncio.get_running_loop().time,
        layers=[
            build_bot_layer(BotSettings(deny=("bot",)), service, nothing),  # type: ignore[arg-type]
            build_secure(secure, service, nothing),  # type: ignore[arg-type]
        ],
        outer_layers=[
            guarded(limited, service, waits=False),
            build_cors(cors, service, nothing),  # type: ignore[arg-type]
        ],
    )
