"""uvicorn in a task group of the gateway: asyncio and HTTP/1.1, the default."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from typing import cast

import uvicorn
from anyio import Event, move_on_after, sleep

from ...core.asgi import ASGIApp
from ...core.tasks import open_tasks
from ...tls.transport import Handshakes, over_tls
from ..settings import ALT_SVC, ServeSettings
from ..sockets import port_of
from ..unsent import Unsent
from .sweeper import ConnectionSweeper
from .uvicorn_protocol import HttpProtocol

LAST_RESPONSES_TIMEOUT = 1.0
"""Seconds to respond to requests that still run at the end of the grace period."""


async def serve_uvicorn(
    app: ASGIApp,
    settings: ServeSettings,
    sockets: list[socket.socket],
    stop: Event,
    started: Callable[[], object],
    unsent: Unsent,
) -> None:
    sweeper = ConnectionSweeper(settings.limits, unsent)
    handshakes = Handshakes(settings.limits.connections, settings.limits.header_time)
    build_protocol: Callable[..., asyncio.Protocol] = partial(HttpProtocol, sweeper=sweeper)
    if settings.tls is not None:
        context = settings.tls.context(("http/1.1",))
        build_protocol = over_tls(build_protocol, context, handshakes)
    config = uvicorn.Config(
        app,
        http=build_protocol,  # type: ignore[arg-type]
        interface="asgi3",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        headers=[("alt-svc", ALT_SVC % port_of(sockets[0]))] if settings.http3 else None,
        timeout_graceful_shutdown=settings.grace,  # type: ignore[arg-type]
    )
    server = _UvicornServer(config, started)
    try:
        async with open_tasks() as tasks:
            # build_protocol makes all of them.
            connections = cast(set[HttpProtocol], server.server_state.connections)
            tasks.start_soon(sweeper.run, connections)
            tasks.start_soon(_wait_stop, server, stop)
            await server.serve(sockets)
            with move_on_after(LAST_RESPONSES_TIMEOUT):  # uvicorn has cancelled these requests
                while server.server_state.tasks:
                    await sleep(0.01)
            tasks.cancel_scope.cancel()
    finally:
        handshakes.abort()
        # A client that has not read its response by now must not delay the end of the process.
        for connection in tuple(server.server_state.connections):
            connection.transport.abort()


async def _wait_stop(server: uvicorn.Server, stop: Event) -> None:
    await stop.wait()
    server.should_exit = True


class _UvicornServer(uvicorn.Server):
    """uvicorn's server without its signal handlers: signals are handled by the caller."""

    def __init__(self, config: uvicorn.Config, started: Callable[[], object]) -> None:
        super().__init__(config)
        self._started = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._started()

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield
