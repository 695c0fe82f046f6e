"""ASGI's request as a :class:`gateway.proxy.Request`, and the client behind it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Protocol

from anyio import CancelScope, fail_after

from .asgi import Receive, Scope

CONNECTION = "gateway.connection"
"""The ASGI extension by which our own servers tell of the connection."""


class Connection(Protocol):
    """What a server can tell of a connection beyond ASGI."""

    def watch(self, callback: Callable[[], object]) -> None:
        """Call back, once, when the connection is lost before the answer is complete."""

    async def left(self) -> bool:
        """Wait until every byte of the answer has left the process.

        False when the client has gone, or has not read in time.
        """
        ...


class ConnectionClient:
    """The client of a request on one of our servers."""

    __slots__ = ("_connection", "left")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.left = connection.left

    def watch(self, scope: CancelScope) -> None:
        self._connection.watch(scope.cancel)


class AsgiClient:
    """The client as plain ASGI shows it.

    What the server took counts as sent: ASGI tells nothing of its buffers.
    """

    __slots__ = ("_is_gone", "_receive")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._is_gone = False

    def watch(self, scope: CancelScope) -> Callable[[], Coroutine[Any, Any, None]]:
        return partial(self._wait_gone, scope)

    async def _wait_gone(self, scope: CancelScope) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._is_gone = True
        scope.cancel()

    async def left(self) -> bool:
        return not self._is_gone


def build_client(scope: Scope, receive: Receive) -> ConnectionClient | AsgiClient:
    connection = (scope.get("extensions") or {}).get(CONNECTION)
    return AsgiClient(receive) if connection is None else ConnectionClient(connection)


class BodyError(Exception):
    """The body cannot be had. ``status``: 413, 408, or 0 when the client has gone."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


async def read_body(receive: Receive, limit: int, seconds: float) -> bytes:
    """The whole body, of at most ``limit`` bytes, within ``seconds``. Raises BodyError."""
    try:
        with fail_after(seconds):
            return await _read(receive, limit)
    except TimeoutError as error:
        raise BodyError(408) from error


async def _read(receive: Receive, limit: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise BodyError(0)
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise BodyError(413)
        if not message.get("more_body", False):
            return b"".join((*chunks, chunk)) if chunks else chunk
        chunks.append(chunk)
