"""ASGI's lifespan events: servers send them when they start and when they stop."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from ..core.asgi import ASGIApp, Receive, Scope, Send, send_answer, text
from ..telemetry.logs import get_logger

log = get_logger("gateway.router")

NOT_OPEN = text(503, "the gateway is not open; it needs a server with ASGI lifespan events")


async def answer_lifespan(receive: Receive, send: Send) -> None:
    """For an application that is open already: it only confirms the events."""
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return


def with_lifespan(open_app: Callable[[], AbstractAsyncContextManager[ASGIApp]]) -> ASGIApp:
    """An application that any ASGI server opens when it starts and closes when it stops.

    ``open_app`` is entered and left in the server's lifespan task. Requests that arrive while it is
    not open get 503.
    """
    opened: list[ASGIApp] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await run_lifespan(receive, send)
        elif opened:
            await opened[0](scope, receive, send)
        elif scope["type"] == "http":
            await send_answer(send, NOT_OPEN)
        else:
            await send({"type": "websocket.close", "code": 1001})

    async def run_lifespan(receive: Receive, send: Send) -> None:
        await receive()
        phase = "startup"
        try:
            async with open_app() as inner:
                opened.append(inner)
                phase = "shutdown"
                try:
                    await send({"type": "lifespan.startup.complete"})
                    await receive()
                finally:
                    opened.clear()
        except Exception as error:
            log.exception("the gateway failed at its %s", phase)
            await send({"type": f"lifespan.{phase}.failed", "message": str(error)})
        else:
            await send({"type": "lifespan.shutdown.complete"})

    return app
