"""Connections to one origin: an idle one is used again; if there is none, a new one is dialled.

As in Go's client a waiting request takes the first connection that is ready: a new one, or one that
another request has released. The number of connections in use has no limit. Runs on the asyncio
side.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections import deque
from collections.abc import Callable, Coroutine

from anyio import fail_after
from msgspec import Struct

from ..errors import BackendFailure
from .connection import BackendConnection, PendingRequest
from .dial import Dial, dial
from .targets import Origin

NO_ERRNO = (ssl.SSLError, socket.gaierror)
"""Kinds of OSError whose ``errno`` is not a number of the operating system."""


class PoolSettings(Struct, frozen=True, kw_only=True):
    """Times in seconds; 0: no limit. ``tls`` makes the context for https when it is needed.
    ``dial`` opens a ``connection``."""

    dial_time: float = 0.0
    header_time: float = 0.0
    keepalive_interval: float = 15.0
    keeps_connections: bool = True
    idle_time: float = 0.0
    max_idle: int = 250
    max_body_bytes: int = 64 * 1024 * 1024
    tls: Callable[[], ssl.SSLContext] = ssl.create_default_context
    connection: type[BackendConnection] = BackendConnection
    dial: Dial = dial


StartDial = Callable[[Callable[[], Coroutine[object, object, None]]], object]
"""Starts a coroutine in the task group of the client."""


class Pool:
    """``may_keep``: whether one more connection may stay idle."""

    def __init__(
        self, origin: Origin, settings: PoolSettings, start: StartDial, may_keep: Callable[[], bool]
    ) -> None:
        self._origin = origin
        self._settings = settings
        self._start = start
        self._may_keep = may_keep
        self._tls = settings.tls() if origin.scheme == "https" else None
        self._clock = asyncio.get_running_loop().time
        self._waiting: deque[PendingRequest] = deque()
        self.idle: list[BackendConnection] = []

    def send(self, request: PendingRequest) -> None:
        """Send on the connection that was used last, or on the next one that is ready."""
        while self.idle:
            connection = self.idle.pop()
            if not connection.is_closed:
                connection.send(request)
                return
        self._waiting.append(request)
        self._start(self._dial)

    def forget(self, request: PendingRequest) -> None:
        """The request does not wait for a connection any more."""
        if request in self._waiting:
            self._waiting.remove(request)

    def drop_older(self, seconds: float) -> None:
        """Close connections that have been idle for longer than ``seconds``."""
        oldest = self._clock() - seconds
        for connection in [each for each in self.idle if each.idle_since < oldest]:
            connection.close()

    def close(self) -> None:
        for connection in self.idle:
            connection.close()
        self.idle.clear()

    async def _dial(self) -> None:
        try:
            connection = await self._connect()
        except (OSError, TimeoutError, ValueError) as error:
            if self._waiting:
                text = f"dial tcp {self._origin.authority}: {_reason(error)}"
                self._waiting.popleft().failed(BackendFailure(text), is_retriable=False)
        else:
            self._use(connection)

    async def _connect(self) -> BackendConnection:
        settings = self._settings

        def make() -> BackendConnection:
            return settings.connection(
                self._released, self._lost, settings.max_body_bytes, settings.header_time
            )

        with fail_after(settings.dial_time or None):
            transport, connection = await settings.dial(make, self._origin, self._tls)
        _keep_alive(transport.get_extra_info("socket"), settings.keepalive_interval)
        return connection

    def _released(self, connection: BackendConnection) -> None:
        if self._settings.keeps_connections:
            self._use(connection)
        else:
            connection.close()

    def _use(self, connection: BackendConnection) -> None:
        if self._waiting:
            connection.send(self._waiting.popleft())
        elif len(self.idle) < self._settings.max_idle and self._may_keep():
            connection.idle_since = self._clock()
            self.idle.append(connection)
        else:
            connection.close()

    def _lost(self, connection: BackendConnection) -> None:
        if connection in self.idle:
            self.idle.remove(connection)


def _keep_alive(connected: socket.socket, seconds: float) -> None:
    """TCP keep-alive, as ``dialer_keep_alive`` says; negative: none."""
    if seconds >= 0:
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        pause = max(1, round(seconds or 15))
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, pause)
        if hasattr(socket, "TCP_KEEPIDLE"):
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, pause)


def _reason(error: Exception) -> str:
    """A short reason, in Go's words where Go has some, and the same with every event loop."""
    if isinstance(error, TimeoutError):
        return "i/o timeout"
    if isinstance(error, OSError) and error.errno and not isinstance(error, NO_ERRNO):
        return f"connect: {os.strerror(error.errno).lower()}"
    return str(error) or type(error).__name__
