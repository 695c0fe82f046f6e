"""One request to one endpoint, from its scope to its settled messages."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import NamedTuple, TypeAlias

from ..config.structs import Endpoint, GatewaySettings
from ..errors import GatewayError
from ..proxy import Branch, Request
from .asgi import Receive, Scope, Send, send_answer, text
from .render import Render, RenderError
from .request import AsgiClient, BodyError, ConnectionClient, build_client, read_body

log = logging.getLogger("gateway.router")

Handler: TypeAlias = Callable[[Scope, Receive, Send, dict[str, str]], Awaitable[None]]


class Route(NamedTuple):
    """An endpoint of the configuration with the pipe behind it."""

    method: str
    endpoint: Endpoint
    pipe: Branch


def build_handler(
    route: Route, render: Render, render_error: RenderError, settings: GatewaySettings
) -> Handler:
    """The handler of one endpoint.

    It alone settles: messages of the answer are acknowledged when the answer has left for a
    client that is still there. In any other way out of a request they go back.
    """
    proxy = route.pipe.proxy
    path = route.endpoint.endpoint

    async def ask(send: Send, request: Request, client: ConnectionClient | AsgiClient) -> None:
        try:
            response = await proxy(request)
            answer = render(response)
        except GatewayError as error:
            log.debug("%s: %s", path, error)
            await send_answer(send, render_error(error))
            return
        except Exception:
            log.exception("%s: an unexpected error", path)
            await send_answer(send, render_error(GatewayError("internal error")))
            return
        await send_answer(send, answer)
        if response.holds and await client.left():
            for hold in response.holds:
                hold.sent()

    async def handle(scope: Scope, receive: Receive, send: Send, params: dict[str, str]) -> None:
        client = build_client(scope, receive)
        request = Request(
            scope["method"],
            scope["path"],
            params,
            scope["headers"],
            scope["query_string"],
            client=client,
        )
        try:
            await ask(send, request, client)
        finally:
            request.give_back()

    async def handle_body(
        scope: Scope, receive: Receive, send: Send, params: dict[str, str]
    ) -> None:
        try:
            body = await read_body(receive, settings.max_body_bytes, settings.body_timeout)
        except BodyError as error:
            if error.status:
                close = (b"connection", b"close")
                await send_answer(send, text(error.status, "", close))
            return
        client = build_client(scope, receive)
        request = Request(
            scope["method"],
            scope["path"],
            params,
            scope["headers"],
            scope["query_string"],
            body,
            client,
        )
        try:
            await ask(send, request, client)
        finally:
            request.give_back()

    return handle_body if route.pipe.reads_body else handle
