"""An application asked directly, without sockets; and the little that stands around it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple
from urllib.parse import unquote

import msgspec
from anyio import current_time, sleep_forever

from gateway.config.structs import Endpoint, GatewaySettings, RouterSettings, Service
from gateway.core.asgi import ASGIApp, Message, Scope
from gateway.core.bridge import Timers
from gateway.core.direct import Application
from gateway.core.layers import Layer
from gateway.core.proxy import Branch, OutcomeWatcher, Request, Response
from gateway.errors import GatewayError
from gateway.router.app import build_app
from gateway.router.endpoint import Route


class Reply(NamedTuple):
    """What a client reads. ``status`` 0: nothing was sent."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return msgspec.json.decode(self.body)


class Taken:
    """A message that remembers how it was settled."""

    shown_id = "m-1"

    def __init__(self) -> None:
        self.end = ""
        self.is_sent = False

    def sent(self) -> None:
        self.is_sent = True

    def acknowledge(self) -> None:
        self.end = self.end or "acknowledged"

    def park(self) -> None:
        self.end = self.end or "parked"

    def watch(self, watcher: OutcomeWatcher) -> None: ...

    def give_back(self) -> None:
        self.end = self.end or "given back"


class Client:
    """The client's side of one request to an application."""

    def __init__(self, body: Sequence[bytes] = (b"",)) -> None:
        self.sent: list[Message] = []
        self._body = list(body)

    async def receive(self) -> Message:
        if not self._body:
            await sleep_forever()
        chunk = self._body.pop(0)
        return {"type": "http.request", "body": chunk, "more_body": bool(self._body)}

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    @property
    def reply(self) -> Reply:
        if not self.sent:
            return Reply(0, {}, b"")
        start, *bodies = self.sent
        headers = {name.decode(): value.decode() for name, value in start["headers"]}
        return Reply(start["status"], headers, b"".join(body["body"] for body in bodies))


def http_scope(method: str, target: str, **changes: Any) -> Scope:
    """What a server makes of a request's target: the path comes decoded."""
    path, _, query = target.partition("?")
    return {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(b"host", b"gateway.test")],
        **changes,
    }


async def ask(app: ASGIApp, method: str, target: str, body: bytes = b"", root: str = "") -> Reply:
    client = Client([body])
    scope = http_scope(method, target, root_path=root)
    await app(scope, client.receive, client.send)
    return client.reply


Answering = Callable[[Request], Awaitable[Response]]


def endpoint(
    method: str, path: str, proxy: Answering, reads_body: bool = False, **keys: Any
) -> Route:
    settings = Endpoint(endpoint=path, method=method, **keys)
    return Route(method, settings, Branch(proxy, reads_body=reads_body))


def answering(response: Response | GatewayError) -> Answering:
    async def proxy(request: Request) -> Response:
        if isinstance(response, GatewayError):
            raise response
        return response

    return proxy


async def telling(request: Request) -> Response:
    """Answers what it was asked."""
    return Response(
        {
            "method": request.method,
            "params": request.params,
            "query": request.query_string.decode(),
            "body": request.body.decode(),
        }
    )


def application(
    *routes: Route,
    router: RouterSettings | None = None,
    gateway: GatewaySettings | None = None,
    ready: bool = True,
    timers: Timers | None = None,
    clock: Callable[[], float] = current_time,
    layers: Sequence[Layer] = (),
    outer_layers: Sequence[Layer] = (),
    **service: Any,
) -> Application:
    extra = {"router": router, "gateway": gateway}
    known = {name: settings for name, settings in extra.items() if settings is not None}
    return build_app(
        Service(extra_config=known, **service),
        routes,
        readiness=lambda: {"ready": ready, "resources": []},
        version="1.2.3",
        timers=timers,
        clock=clock,
        layers=layers,
        outer_layers=outer_layers,
    )
