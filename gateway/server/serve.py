"""Run an ASGI application in the caller's nursery until it is told to stop."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from anyio import Event
from sniffio import current_async_library

from ..errors import GatewayError
from .settings import ServerName, ServeSettings
from .sockets import open_sockets


def chosen_server(server: ServerName) -> ServerName:
    """ "auto" resolved for the async library that runs. Raises :class:`GatewayError`."""
    library = current_async_library()
    if server == "auto":
        return "uvicorn" if library == "asyncio" else "hypercorn"
    if server == "uvicorn" and library != "asyncio":
        raise GatewayError("uvicorn runs on asyncio only; take hypercorn for Trio")
    return server


async def serve(
    app: Any,
    settings: ServeSettings,
    *,
    stop: Event,
    sockets: list[socket.socket] | None = None,
    started: Callable[[], object] = lambda: None,
) -> None:
    """Serve until ``stop`` is set, then let running requests end within the grace period.

    ``sockets``: listening already, and ours to close. ``started``: called when requests can
    come. Installs no signal handlers. Raises :class:`GatewayError` when the port is taken.
    """
    server = chosen_server(settings.server)
    if sockets is None:
        sockets = open_sockets(
            settings.host, settings.port, answer_time=settings.limits.answer_time
        )
    try:
        if server == "uvicorn":
            from .uvicorn_server import serve_uvicorn as serve_with
        else:
            from .hypercorn_server import serve_hypercorn as serve_with
        await serve_with(app, settings, sockets, stop, started)
    finally:
        for listening in sockets:
            listening.close()
