"""hypercorn in a task group of the gateway: asyncio and Trio, HTTP/1.1 and HTTP/2.

It does not limit the number of connections, nor the time for a body. The kernel gives up a client
that reads nothing (TCP_USER_TIMEOUT, ``answer_time``). HTTP/2 is used over TLS when client and
server agree on it, and without TLS for a client that begins with it (h2c).
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from functools import partial
from typing import Any

from anyio import Event
from sniffio import current_async_library

from ...core.asgi import ASGIApp
from ...core.tasks import open_tasks
from ...telemetry.logs import get_logger
from ..settings import ALT_SVC, ServeSettings
from ..sockets import port_of
from ..unsent import Unsent
from .connection import adapt
from .hypercorn_inside import EdgeConfig, install


class OverTls(EdgeConfig):
    """A configuration with the TLS context of the gateway."""

    tls: ssl.SSLContext

    @property
    def ssl_enabled(self) -> bool:
        return True

    def create_ssl_context(self) -> ssl.SSLContext:
        return self.tls


async def serve_hypercorn(
    app: ASGIApp,
    settings: ServeSettings,
    sockets: list[socket.socket],
    stop: Event,
    started: Callable[[], object],
    unsent: Unsent,
) -> None:
    limits = settings.limits
    config = EdgeConfig()
    if settings.tls is not None:
        config = OverTls()
        config.tls = settings.tls.context(("h2", "http/1.1"))
        config.ssl_handshake_timeout = limits.header_time
    if settings.http3:
        config.alt_svc_headers = [ALT_SVC % port_of(sockets[0])]
    # hypercorn closes sockets that it gets by number.
    config.bind = [f"fd://{listening.detach()}" for listening in sockets]
    config.accesslog = None
    config.errorlog = get_logger("gateway.server.hypercorn")
    config.include_server_header = False
    config.graceful_timeout = settings.grace
    config.shutdown_timeout = settings.grace
    config.h11_max_incomplete_size = limits.header_bytes
    config.h2_max_header_list_size = limits.header_bytes
    config.keep_alive_timeout = limits.idle_time
    config.read_timeout = None
    config.limits = limits
    adapted: Any = adapt(app, limits, unsent)  # hypercorn has types of its own for ASGI
    started()  # the sockets are listening
    if current_async_library() == "trio":
        from hypercorn.trio import serve as serve_with
        from hypercorn.trio import tcp_server
    else:
        from hypercorn.asyncio import serve as serve_with  # type: ignore[assignment]
        from hypercorn.asyncio import tcp_server  # type: ignore[no-redef]
    install(tcp_server)
    # At its end it cancels the task that it runs in (asyncio's task groups do): so it gets its own.
    async with open_tasks() as tasks:
        tasks.start_soon(
            partial(serve_with, adapted, config, shutdown_trigger=stop.wait, mode="asgi")
        )
