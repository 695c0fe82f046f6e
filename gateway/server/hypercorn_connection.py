"""Whether an answer has left, on hypercorn; and the limits that it lacks.

hypercorn's ``send()`` returns normally to a client that has gone. The connection behind it is
found by way of the bound methods it hands to the application; should a later version hand over
something else, what it took counts as sent, as on any foreign server.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from anyio import move_on_after, sleep

from ..errors import AnswerBroken
from .peer import Peer
from .settings import Limits

log = logging.getLogger("gateway.server")

END = {"type": "http.response.body", "body": b"", "more_body": False}
BUFFER_CHECK = 0.01
"""Seconds between looks at a write buffer that is not empty."""


class HypercornConnection:
    """What the router asks of a connection (gateway.router.request.Connection)."""

    keeps_body_time = False

    def __init__(self, server: Any, receive: Any, answer_time: float) -> None:
        self._server = server
        self._receive = receive
        self._answer_time = answer_time
        self.is_gone = False

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
        transport = getattr(getattr(self._server, "writer", None), "transport", None)
        if transport is not None:  # asyncio: its own buffer is before the kernel's
            with move_on_after(self._answer_time):
                while transport.get_write_buffer_size() and not transport.is_closing():
                    await sleep(BUFFER_CHECK)
            if transport.is_closing() or transport.get_write_buffer_size():
                transport.abort()
                return False
        descriptor = self._descriptor(transport)
        return descriptor >= 0 and await Peer(descriptor).has_taken_all()

    def _descriptor(self, transport: Any) -> int:
        if transport is not None:
            return int(transport.get_extra_info("socket").fileno())
        stream = self._server.stream
        return int(getattr(stream, "transport_stream", stream).socket.fileno())


def adapt(app: Any, limits: Limits) -> Any:
    """``app`` with the extension, and with limits on headers and on announced bodies."""

    async def adapted(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
        elif status := _refusal(scope["headers"], limits):
            headers = [(b"content-length", b"0"), (b"connection", b"close")]
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send(END)
        elif (server := _server(send)) is None:
            await app(scope, receive, send)
        else:
            connection = HypercornConnection(server, receive, limits.answer_time)
            scope["extensions"]["gateway.connection"] = connection
            await _answer(app, scope, receive, send)

    return adapted


async def _answer(app: Any, scope: Any, receive: Any, send: Any) -> None:
    """The end of the answer is said last: hypercorn may close the connection with it, and on a
    closed one nothing can be seen any more."""
    is_ended = False

    async def send_all_but_the_end(message: Any) -> None:
        nonlocal is_ended
        if message["type"] == "http.response.body" and not message.get("more_body"):
            is_ended = True
            message = {**message, "more_body": True}
        await send(message)

    try:
        await app(scope, receive, send_all_but_the_end)
    except AnswerBroken as error:  # without an end hypercorn cuts a connection of HTTP/1
        log.debug("%s", error)
        await _reset(send)
    if is_ended:
        await send(END)


async def _reset(send: Any) -> None:
    """End a stream of HTTP/2: hypercorn would leave its client waiting for the rest."""
    stream = getattr(send, "__self__", None)
    protocol = getattr(getattr(stream, "send", None), "__self__", None)
    reset_stream = getattr(getattr(protocol, "connection", None), "reset_stream", None)
    flush = getattr(protocol, "_flush", None)
    if stream is not None and reset_stream is not None and flush is not None:
        reset_stream(stream.stream_id)
        await flush()


def _server(send: Any) -> Any:
    """hypercorn's server of one connection; None when its inside is not as it was."""
    stream = getattr(send, "__self__", None)
    protocol = getattr(getattr(stream, "send", None), "__self__", None)
    server = getattr(getattr(protocol, "send", None), "__self__", None)
    return server if hasattr(server, "writer") or hasattr(server, "stream") else None


def _refusal(headers: Any, limits: Limits) -> int:
    """hypercorn bounds only headers that are incomplete, and no body at all."""
    size = 0
    for name, value in headers:
        size += len(name) + len(value) + 4
        if name == b"content-length" and int(value) > limits.body_bytes:
            return 413
    return 431 if size > limits.header_bytes else 0
