"""The client and the body of an ASGI request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol

from anyio import fail_after

from ..core.asgi import Receive, Scope, Send, send_answer, text
from ..core.proxy import Arrival, Client, Watcher

CONNECTION = "gateway.connection"
"""The ASGI extension by which our own servers show the connection."""

NOTHING: Scope = {}


class ClientConnection(Client, Protocol):
    """What our own servers know of a client beyond ASGI."""

    keeps_body_time: bool
    """The server itself ends a request whose body takes too long."""

    def body_nowait(self) -> bytes | None:
        """The whole body of the request, if it is complete. It is handed out once."""
        ...

    def when_arrived(self, arrival: Arrival) -> Awaitable[bool] | None:
        """Called when the whole response is written. Report to ``arrival`` whether it arrives.

        Returns None if ``arrival.decided`` is called by the server, now or later. Otherwise the
        caller waits for what this returns, and calls it. A response has arrived when the client's
        kernel has acknowledged the last byte. It has not if the client has disconnected before, or
        has not read in time.
        """
        ...


class AsgiClient:
    """A client of another ASGI server. ``is_gone``: noticed while a pipe waits.

    What the server has accepted counts as arrived, because ASGI shows nothing of its buffers.
    """

    __slots__ = ("_receive", "is_gone")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.is_gone = False

    def watch(self, gone: Callable[[], object]) -> Watcher:
        return partial(self._wait_gone, gone)

    async def _wait_gone(self, gone: Callable[[], object]) -> None:
        while not self.is_gone:
            self.is_gone = (await self._receive())["type"] == "http.disconnect"
        gone()

    def body_nowait(self) -> None:
        """ASGI does not show it."""

    def when_arrived(self, arrival: Arrival) -> Awaitable[bool] | None:
        arrival.decided(not self.is_gone)
        return None


def build_client(scope: Scope, receive: Receive) -> ClientConnection | AsgiClient:
    connection: ClientConnection | None = (scope.get("extensions") or NOTHING).get(CONNECTION)
    return connection or AsgiClient(receive)


class BodyError(Exception):
    """The body cannot be read. ``status``: 413, 408, or 0 if the client has disconnected."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


async def refuse_body(scope: Scope, send: Send, error: BodyError) -> None:
    """Respond with the status, and close the connection: the rest of the body may still arrive."""
    if error.status:
        # HTTP/2 and later have no such header, and refuse it.
        close = [(b"connection", b"close")] if scope["http_version"].startswith("1") else []
        await send_answer(send, text(error.status, "", *close))


async def read_body(scope: Scope, receive: Receive, limit: int, seconds: float) -> bytes:
    """The whole body, of at most ``limit`` bytes, within ``seconds``. Raises BodyError."""
    connection: ClientConnection | None = (scope.get("extensions") or NOTHING).get(CONNECTION)
    if connection is not None and connection.keeps_body_time:
        return await _read(receive, limit)
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
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise BodyError(413)
        if not message.get("more_body", False):
            return b"".join((*chunks, chunk)) if chunks else chunk
        chunks.append(chunk)
