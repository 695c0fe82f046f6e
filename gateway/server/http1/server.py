"""The gateway's own server for HTTP/1.1 on asyncio, the default."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from functools import partial

from anyio import Event, move_on_after, sleep

from ...core.asgi import ASGIApp
from ...core.tasks import open_tasks
from ...tls.transport import Handshakes, over_tls
from ..settings import ALT_SVC, ServeSettings
from ..sockets import BACKLOG, port_of
from ..unsent import Unsent
from .protocol import HttpProtocol
from .server_state import ServerState

CHECK_INTERVAL = 0.01
"""Seconds between two checks, during a stop, whether all connections are closed."""

LAST_RESPONSES_TIMEOUT = 1.0
"""Seconds to respond to requests that still run at the end of the grace period."""


async def serve_http1(
    app: ASGIApp,
    settings: ServeSettings,
    sockets: list[socket.socket],
    stop: Event,
    started: Callable[[], object],
    unsent: Unsent,
) -> None:
    """Serve until ``stop`` is set, and then until all connections are closed, or the grace period
    is over."""
    limits = settings.limits
    alt_svc = [(b"alt-svc", (ALT_SVC % port_of(sockets[0])).encode())] if settings.http3 else []
    state = ServerState(app, limits, unsent, alt_svc)
    handshakes = Handshakes(limits.connections, limits.header_time)
    build_protocol: Callable[[], asyncio.Protocol] = partial(HttpProtocol, state)
    if settings.tls is not None:
        build_protocol = over_tls(build_protocol, settings.tls.context(("http/1.1",)), handshakes)
    loop = asyncio.get_running_loop()
    servers: list[asyncio.Server] = []
    try:
        async with open_tasks() as tasks:
            tasks.start_soon(state.run)
            servers += [
                await loop.create_server(build_protocol, sock=each, backlog=BACKLOG)
                for each in sockets
            ]
            started()
            await stop.wait()
            _close(servers)
            for connection in tuple(state.connections):
                connection.shutdown()
            await _wait_ended(state, settings.grace)
            tasks.cancel_scope.cancel()
    finally:
        _close(servers)
        handshakes.abort()
        # A client that has not read its response by now must not delay the end of the process.
        for connection in tuple(state.connections):
            connection.abort()
        for task in tuple(state.tasks):
            task.cancel()


def _close(servers: list[asyncio.Server]) -> None:
    for server in servers:
        server.close()


async def _wait_ended(state: ServerState, grace: float) -> None:
    """Wait until all connections are closed. Cancel the requests that run after the grace period;
    they respond with 503."""
    with move_on_after(grace):
        while state.connections or state.tasks:
            await sleep(CHECK_INTERVAL)
    for connection in tuple(state.connections):
        connection.stop()
    for task in tuple(state.tasks):
        task.cancel()
    with move_on_after(LAST_RESPONSES_TIMEOUT):
        await sleep(CHECK_INTERVAL)  # the coalesced writes
        while state.tasks:
            await sleep(CHECK_INTERVAL)
