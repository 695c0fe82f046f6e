"""Run an ASGI application in the caller's nursery until it is told to stop."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from anyio import Event
from sniffio import current_async_library

from ..core.tasks import open_tasks
from ..errors import GatewayError
from .http3.datagrams import open_datagrams
from .settings import ServerName, ServeSettings
from .sockets import open_sockets
from .unsent import Unsent


def chosen_server(settings: ServeSettings, library: str | None = None) -> ServerName:
    """ "auto" resolved for an async library, by default that which runs, and for what has to be
    spoken. Raises :class:`GatewayError`.
    """
    library = library or current_async_library()
    if settings.server == "auto":
        return "uvicorn" if library == "asyncio" and not settings.http2 else "hypercorn"
    if settings.server == "uvicorn" and library != "asyncio":
        raise GatewayError("uvicorn runs on asyncio only; take hypercorn for Trio")
    if settings.server == "uvicorn" and settings.http2:
        raise GatewayError(
            "uvicorn does not speak HTTP/2, which use_h2c or gateway.http2 asks for; take hypercorn"
        )
    return settings.server


def suits_uvloop(settings: ServeSettings, library: str) -> bool:
    """Not below hypercorn with TLS: uvloop does not show which of an answer has not left."""
    if library != "asyncio":
        return False
    return settings.tls is None or chosen_server(settings, library) == "uvicorn"


async def serve(
    app: Any,
    settings: ServeSettings,
    *,
    stop: Event,
    sockets: list[socket.socket] | None = None,
    started: Callable[[], object] = lambda: None,
) -> None:
    """Serve until ``stop`` is set, then let running requests end within the grace period.

    ``sockets``: listening already, and ours to close; HTTP/3 has their ports, too. ``started``:
    called when requests can come. Installs no signal handlers. Raises :class:`GatewayError` when
    the port is taken.
    """
    server = chosen_server(settings)
    if sockets is None:
        sockets = open_sockets(
            settings.host, settings.port, answer_time=settings.limits.answer_time
        )
    try:
        if server == "uvicorn":
            from .http1.uvicorn_server import serve_uvicorn as serve_with
        else:
            from .hypercorn.server import serve_hypercorn as serve_with
        unsent = Unsent(settings.limits.unsent_bytes)
        async with open_tasks() as helpers:
            helpers.start_soon(unsent.keep_time, settings.limits.answer_time)
            async with open_tasks() as servers:
                if settings.http3:
                    from .http3.server import serve_http3

                    datagrams = open_datagrams(sockets)
                    await servers.start(serve_http3, app, settings, datagrams, stop, unsent)
                await serve_with(app, settings, sockets, stop, started, unsent)
            helpers.cancel_scope.cancel()
    finally:
        for listening in sockets:
            listening.close()
