"""Run an ASGI application in a task of the caller until an event is set."""

from __future__ import annotations

import socket
from collections.abc import Callable

from anyio import Event
from sniffio import current_async_library

from ..core.asgi import ASGIApp
from ..core.tasks import open_tasks
from ..errors import GatewayError
from .http3.datagrams import open_datagrams
from .settings import ServerName, ServeSettings
from .sockets import open_sockets
from .unsent import Unsent


def chosen_server(settings: ServeSettings, library: str | None = None) -> ServerName:
    """The server for an async library (default: the running one) and for the protocols in use.

    Raises :class:`GatewayError`.
    """
    library = library or current_async_library()
    if settings.server == "auto":
        return "http1" if library == "asyncio" and not settings.http2 else "hypercorn"
    if settings.server == "hypercorn":
        return "hypercorn"
    if library != "asyncio":
        raise GatewayError("the server http1 only runs on asyncio; use hypercorn for Trio")
    if settings.http2:
        raise GatewayError(
            "the server http1 has no HTTP/2, which use_h2c or gateway.http2 requires; use hypercorn"
        )
    return "http1"


def suits_uvloop(settings: ServeSettings, library: str) -> bool:
    """Not for hypercorn with TLS: there uvloop does not report unsent bytes of a response."""
    if library != "asyncio":
        return False
    return settings.tls is None or chosen_server(settings, library) == "http1"


async def serve(
    app: ASGIApp,
    settings: ServeSettings,
    *,
    stop: Event,
    sockets: list[socket.socket] | None = None,
    started: Callable[[], object] = lambda: None,
) -> None:
    """Serve until ``stop`` is set, then let running requests end within the grace period.

    ``sockets``: they listen already, and are closed at the end; HTTP/3 uses their ports too.
    ``started`` is called when the server accepts requests. Installs no signal handlers. Raises
    :class:`GatewayError` when the port is taken.
    """
    server = chosen_server(settings)
    if sockets is None:
        sockets = open_sockets(
            settings.host, settings.port, answer_time=settings.limits.answer_time
        )
    try:
        if server == "http1":
            from .http1.server import serve_http1 as serve_with
        else:
            from .hypercorn.server import serve_hypercorn as serve_with
        unsent = Unsent(settings.limits.unsent_bytes)
        async with open_tasks() as background:
            background.start_soon(unsent.cut_off_slow_readers, settings.limits.answer_time)
            background.start_soon(unsent.cut_off_after_stop, stop, settings.grace)
            async with open_tasks() as servers:
                if settings.http3:
                    from .http3.server import serve_http3

                    datagrams = open_datagrams(sockets)
                    await servers.start(serve_http3, app, settings, datagrams, stop, unsent)
                await serve_with(app, settings, sockets, stop, started, unsent)
            background.cancel_scope.cancel()
    finally:
        for listening in sockets:
            listening.close()
