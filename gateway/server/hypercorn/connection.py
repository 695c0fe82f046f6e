"""Whether an answer has left, on hypercorn; and the limits that it lacks.

hypercorn's ``send()`` returns normally to a client that has gone. The connection behind it is
found by way of the bound methods it hands to the application; should a later version hand over
something else, what it took counts as sent, as on any foreign server.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any

from anyio import sleep

from ...core.asgi import Message, Receive
from ...errors import ResponseBroken
from ...telemetry.logs import get_logger
from ..http1.peer import Peer
from ..http1.request_head import MAX_TARGET, has_many_parts, refusal
from ..settings import Limits
from ..unsent import Unsent
from .hypercorn_inside import Http2

log = get_logger("gateway.server")

END = {"type": "http.response.body", "body": b"", "more_body": False}
BUFFER_CHECK = 0.01
"""Seconds between looks at a write buffer that is not empty."""


class HypercornConnection:
    """What the router asks of a connection (gateway.router.request.ClientConnection).

    ``stream``: one request of it, in hypercorn's words; with HTTP/2 there are several.
    ``ends_with_client``: once the client has ended, what is written goes nowhere, and hypercorn
    does not say so: HTTP/2, and everything over TLS.
    """

    keeps_body_time = False

    def __init__(
        self, server: Any, receive: Receive, send: Any, ends_with_client: bool, unsent: Unsent
    ) -> None:
        stream = send.__self__
        self._server = server
        self._stream = stream
        self._ends_with_client = ends_with_client
        protocol = stream.send.__self__
        self._http2 = protocol if isinstance(protocol, Http2) else None
        # HTTP/2: what the client does not let us send yet, by stream.
        self._buffers = getattr(protocol, "stream_buffers", {})
        self._receive = receive
        self._send = send
        self._all_unsent = unsent
        self._size = 0
        self.is_gone = False

    # What the client has not taken.

    async def has_room(self) -> bool:
        """Wait until what it has asked for before is taken; False when it goes meanwhile."""
        if self._http2 is not None:
            await self._http2.has_room()
        return self._is_open()

    async def send(self, message: Message) -> None:
        """Send, and count what waits meanwhile. Raises OSError when the client is cut off."""
        if self.is_gone:
            raise ConnectionAbortedError("the client does not read its answer")
        self._wait(len(message.get("body", b"")))
        await self._send(message)
        self._wait(self._unsent())

    async def end(self) -> None:
        """The answer is complete."""
        with suppress(OSError):  # the client has gone
            await self._send(END)

    def break_off(self) -> None:
        """End a stream of HTTP/2: hypercorn would leave its client waiting for the rest."""
        if self._http2 is not None:
            self._http2.reset(self._stream.stream_id)

    def release(self) -> None:
        """Nothing of the answer waits any more, whatever became of it."""
        self._wait(0)

    def _wait(self, size: int) -> None:
        if self._http2 is not None:
            self._http2.wait(size - self._size)
        self._size = size
        self._all_unsent.wait(self, size)

    def unsent(self) -> int:
        """Trio shows nothing of what is on its way."""
        is_shown = self._http2 is not None or self._transports()
        return self._unsent() if is_shown else self._size

    def cut_off(self) -> None:
        """The connection, or of HTTP/2 the stream: others may belong to others behind a proxy."""
        self.is_gone = True
        if self._http2 is not None:
            self._http2.reset(self._stream.stream_id)
        elif transports := self._transports():
            transports[0].abort()
        else:
            self._socket().close()

    def watch(self, callback: Callable[[], object]) -> Callable[[], Coroutine[Any, Any, None]]:
        return partial(self._wait_gone, callback)

    async def _wait_gone(self, callback: Callable[[], object]) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.is_gone = True
        callback()

    def body_nowait(self) -> bytes | None:
        """hypercorn does not tell."""
        return None

    async def left(self) -> bool:
        while self._unsent() and not self.is_gone:  # cut_off() says when that takes too long
            await sleep(BUFFER_CHECK)
        return not self.is_gone and self._is_open() and await self._peer().has_acknowledged_all()

    def _unsent(self) -> int:
        """Bytes of the answer that the kernel has not got; 0 when nobody waits for them."""
        if not self._is_open():
            return 0
        buffer = self._buffers.get(self._stream.stream_id)
        waiting = len(buffer.buffer) if buffer is not None else 0
        waiting += int(self._server.send_lock.locked())  # the last of it may be on its way (Trio)
        return waiting + sum(int(each.get_write_buffer_size()) for each in self._transports())

    def _transports(self) -> tuple[Any, ...]:
        """asyncio's buffer is before the kernel's; with TLS there are two (uvloop shows one)."""
        transport = getattr(getattr(self._server, "writer", None), "transport", None)
        below = getattr(getattr(transport, "_ssl_protocol", None), "_transport", None)
        return tuple(each for each in (transport, below) if each is not None)

    def _is_open(self) -> bool:
        """The connection is there, and the stream, which a client may reset."""
        if any(each.is_closing() for each in self._transports()):
            return False
        if self._ends_with_client and self._stream.closed:
            return False
        return int(self._socket().fileno()) >= 0

    def _socket(self) -> Any:
        if transports := self._transports():
            return transports[0].get_extra_info("socket")
        stream = self._server.stream
        return getattr(stream, "transport_stream", stream).socket

    def _peer(self) -> Peer:
        return Peer(self._socket().fileno(), self._is_open)


def adapt(app: Any, limits: Limits, unsent: Unsent) -> Any:
    """``app`` with the extension, and with limits on headers and on announced bodies."""

    async def adapted(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
        elif status := _refusal(scope, limits):
            # HTTP/2 has no such header, and refuses it.
            close = [(b"connection", b"close")] if scope["http_version"].startswith("1") else []
            headers = [(b"content-length", b"0"), *close]
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send(END)
        elif (server := _server(send)) is None:
            await app(scope, receive, send)
        else:
            ends = scope["scheme"] == "https" or not scope["http_version"].startswith("1")
            connection = HypercornConnection(server, receive, send, ends, unsent)
            scope["extensions"]["gateway.connection"] = connection
            if await connection.has_room():
                await _answer(app, scope, receive, connection)

    return adapted


async def _answer(app: Any, scope: Any, receive: Any, connection: HypercornConnection) -> None:
    """The end of the answer is said last: hypercorn may close the connection with it, and on a
    closed one nothing can be seen any more."""
    is_ended = False

    async def send_all_but_the_end(message: Any) -> None:
        nonlocal is_ended
        if message["type"] == "http.response.body" and not message.get("more_body"):
            is_ended = True
            message = {**message, "more_body": True}
        await connection.send(message)

    try:
        await app(scope, receive, send_all_but_the_end)
        if is_ended:
            await connection.end()
    except ResponseBroken as error:  # without an end hypercorn cuts a connection of HTTP/1
        log.debug("%s", error)
        connection.break_off()
    except ConnectionAbortedError as error:
        log.debug("%s", error)
    finally:
        connection.release()


def _server(send: Any) -> Any:
    """hypercorn's server of one connection; None when its inside is not as it was."""
    stream = getattr(send, "__self__", None)
    protocol = getattr(getattr(stream, "send", None), "__self__", None)
    server = getattr(getattr(protocol, "send", None), "__self__", None)
    return server if hasattr(server, "writer") or hasattr(server, "stream") else None


def _refusal(scope: Any, limits: Limits) -> int:
    """hypercorn bounds only headers that are incomplete, and no body at all."""
    if scope["method"] == "CONNECT":
        return 405
    headers, target = scope["headers"], scope["raw_path"] + scope["query_string"]
    size = sum([len(name) + len(value) + 4 for name, value in headers])
    if size > limits.header_bytes or len(target) > MAX_TARGET:
        return 431
    if has_many_parts(b"".join([target, *[value for _, value in headers]])):
        return 431
    return refusal(headers, scope["http_version"], limits)
