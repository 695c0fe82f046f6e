"""ASGI's lifespan: for servers that tell an application when to begin and to end."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from .asgi import ASGIApp, Receive, Scope, Send

log = logging.getLogger("gateway.router")


async def answer_lifespan(receive: Receive, send: Send) -> None:
    """For an application that is open already: nothing to do."""
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return


def with_lifespan(open_app: Callable[[], AbstractAsyncContextManager[ASGIApp]]) -> ASGIApp:
    """An application that a foreign server opens at its start-up and closes at its end.

    ``open_app`` is entered and left in the server's lifespan task.
    """
    opened: list[ASGIApp] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await opened[0](scope, receive, send)
            return
        await receive()
        try:
            async with open_app() as inner:
                opened.append(inner)
                await send({"type": "lifespan.startup.complete"})
                await receive()
        except Exception as error:
            log.exception("the gateway did not open or close cleanly")
            phase = "shutdown" if opened else "startup"
            await send({"type": f"lifespan.{phase}.failed", "message": str(error)})
            return
        await send({"type": "lifespan.shutdown.complete"})

    return app
