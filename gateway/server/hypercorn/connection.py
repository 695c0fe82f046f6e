"""Whether a response has arrived, on hypercorn; and the limits that hypercorn lacks.

hypercorn's ``send()`` returns normally when the client has gone. Its connection is found through
the bound methods that the application gets. If a later version passes something else, a response
that hypercorn has accepted counts as sent, as on any other ASGI server.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any

from anyio import CancelScope, current_time, move_on_after, sleep
from hypercorn.events import Updated

from ...core.asgi import ASGIApp, Message, Receive, Scope, Send
from ...core.proxy import Arrival
from ...errors import ResponseBroken
from ...telemetry.logs import get_logger
from ..http1.request_head import MAX_TARGET, has_many_parts, refusal
from ..send_queue import MAX_ACK_WAIT_AT_STOP, is_reset
from ..settings import Limits
from ..unsent import Unsent
from .hypercorn_inside import Http2
from .output import ConnectionOutput

log = get_logger("gateway.server")

RESPONSE_END = {"type": "http.response.body", "body": b"", "more_body": False}
BUFFER_CHECK_INTERVAL = 0.01
"""Seconds between two checks of a write buffer that is not empty."""
FIRST_LOOK, MAX_LOOK_INTERVAL = 0.005, 0.1
"""Seconds until the first look whether a response has arrived, and between two later ones."""


class HypercornConnection:
    """One request on hypercorn (gateway.router.request.ClientConnection).

    hypercorn calls a request a stream; HTTP/2 has several on a connection. ``ends_with_client``:
    after the client has ended, hypercorn drops what is written and does not report it. That is so
    with HTTP/2 and with TLS.
    """

    keeps_body_time = False

    def __init__(
        self,
        output: ConnectionOutput,
        receive: Receive,
        send: Send,
        scope: Scope,
        answer_time: float,
        unsent: Unsent,
    ) -> None:
        stream: Any = getattr(send, "__self__", None)
        self._output = output
        self._stream = stream
        is_http1 = scope["http_version"].startswith("1")
        self._ends_with_client = scope["scheme"] == "https" or not is_http1
        self._answer_time = answer_time
        protocol = self._protocol = stream.send.__self__
        self._http2 = protocol if isinstance(protocol, Http2) else None
        self._is_ended = False
        # HTTP/2: bytes that the client does not let us send yet, by stream.
        self._buffers = getattr(protocol, "stream_buffers", {})
        self._receive = receive
        self._send = send
        self._all_unsent = unsent
        self._size = 0
        self.is_gone = False

    # What the client has not read.

    async def has_room(self) -> bool:
        """Wait until the client has read enough of earlier responses; False when it has gone."""
        if self._http2 is not None:
            await self._http2.has_room()
        return self._is_open()

    async def send(self, message: Message) -> None:
        """Send, and count the bytes that wait. Raises OSError when the client is cut off."""
        if self.is_gone:
            raise ConnectionAbortedError("the client does not read its response")
        self._wait(len(message.get("body", b"")))
        await self._send(message)
        self._wait(self._unsent())

    async def end(self) -> None:
        """Send the end of the response, once."""
        if self._is_ended:
            return
        self._is_ended = True
        with suppress(OSError):  # the client has gone
            await self._send(RESPONSE_END)

    def break_off(self) -> None:
        """Reset a stream of HTTP/2: hypercorn would let its client wait for the rest."""
        if self._http2 is not None:
            self._http2.reset(self._stream.stream_id)

    def release(self) -> None:
        """No byte of the response waits any more."""
        self._wait(0)

    def _wait(self, size: int) -> None:
        if self._http2 is not None:
            self._http2.wait(size - self._size)
        self._size = size
        self._all_unsent.wait(self, size)

    def unsent(self) -> int:
        """Bytes that wait. On Trio the whole last message counts: its buffer is not shown."""
        is_shown = self._http2 is not None or self._output.transports()
        return self._unsent() if is_shown else self._size

    def cut_off(self) -> None:
        """Close the connection; with HTTP/2 only the stream, as a proxy shares a connection."""
        self.is_gone = True
        if self._http2 is not None:
            self._http2.reset(self._stream.stream_id)
        elif transports := self._output.transports():
            transports[0].abort()
        else:
            self._output.socket().close()

    def watch(self, callback: Callable[[], object]) -> Callable[[], Coroutine[Any, Any, None]]:
        return partial(self._wait_gone, callback)

    async def _wait_gone(self, callback: Callable[[], object]) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.is_gone = True
        callback()

    def body_nowait(self) -> bytes | None:
        """hypercorn does not have it here."""
        return None

    async def when_arrived(self, arrival: Arrival) -> bool:
        buffer = self._buffers.get(self._stream.stream_id)
        if buffer is not None and buffer.buffer:
            await buffer.drain()
        while self._unsent() and not self.is_gone:  # cut_off() ends it after too long
            await sleep(BUFFER_CHECK_INTERVAL)
        if self.is_gone or not self._is_open():
            return False
        arrival.sent()
        last_byte = self._output.written
        if self._is_stopping() or not self._protocol.stays_open:
            return await self._arrives(last_byte)
        output = self._output
        output.undecided += 1
        try:
            await self.end()
            if self._http2 is not None:
                await self._http2.end_written(self._stream.stream_id)
            return await self._arrives(last_byte)
        finally:
            output.undecided -= 1
            if self._protocol.idle:
                await output(Updated(idle=True))

    async def _arrives(self, last_byte: int) -> bool:
        """Whether the client's kernel acknowledges this byte in time."""
        with move_on_after(self._answer_time) as wait:
            return await self._is_acknowledged(last_byte, wait)
        log.debug("a client that does not acknowledge its response in time is cut off")
        self.cut_off()
        return False

    async def _is_acknowledged(self, last_byte: int, wait: CancelScope) -> bool:
        """Look again and again."""
        output, interval, is_stopping = self._output, FIRST_LOOK, False
        while self._is_open():
            output.look()
            if output.arrived >= last_byte or is_reset(output.socket().fileno()):
                break
            if not is_stopping and self._is_stopping():
                is_stopping = True
                wait.deadline = min(wait.deadline, current_time() + MAX_ACK_WAIT_AT_STOP)
            with move_on_after(interval):
                await output.wait_received()
            interval = min(2 * interval, MAX_LOOK_INTERVAL)
        return output.arrived >= last_byte

    def _unsent(self) -> int:
        """Bytes of the response that the kernel does not have yet; 0 when the client has gone."""
        if not self._is_open():
            return 0
        buffer = self._buffers.get(self._stream.stream_id)
        waiting = len(buffer.buffer) if buffer is not None else 0
        waiting += int(
            self._output.server.send_lock.locked()
        )  # the last bytes may be in transit (Trio)
        return waiting + sum(each.get_write_buffer_size() for each in self._output.transports())

    def _is_stopping(self) -> bool:
        return bool(self._stream.context.terminated.is_set())

    def _is_open(self) -> bool:
        """The connection is open, and the client has not reset the stream."""
        if self._ends_with_client and self._stream.closed and not self._is_ended:
            return False
        return self._output.is_open


def adapt(app: ASGIApp, limits: Limits, unsent: Unsent) -> ASGIApp:
    """``app`` with the extension, and with limits of headers and of announced bodies."""

    async def adapted(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
        elif status := _refusal(scope, limits):
            # HTTP/2 does not allow this header.
            close = [(b"connection", b"close")] if scope["http_version"].startswith("1") else []
            headers = [(b"content-length", b"0"), *close]
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send(RESPONSE_END)
        elif (output := _output(send)) is None:
            await app(scope, receive, send)
        else:
            answer_time = limits.answer_time
            connection = HypercornConnection(output, receive, send, scope, answer_time, unsent)
            scope["extensions"]["gateway.connection"] = connection
            if await connection.has_room():
                await _respond(app, scope, receive, connection)

    return adapted


async def _respond(
    app: ASGIApp, scope: Scope, receive: Receive, connection: HypercornConnection
) -> None:
    """Send the end of the response last, or when its messages wait for the client: hypercorn may
    then close the connection, and a closed one cannot be examined any more."""
    is_ended = False

    async def send_without_end(message: Message) -> None:
        nonlocal is_ended
        if message["type"] == "http.response.body" and not message.get("more_body"):
            is_ended = True
            message = {**message, "more_body": True}
        await connection.send(message)

    try:
        await app(scope, receive, send_without_end)
        if is_ended:
            await connection.end()
    except ResponseBroken as error:  # without an end hypercorn closes a connection of HTTP/1.1
        log.debug("%s", error)
        connection.break_off()
    except ConnectionAbortedError as error:
        log.debug("%s", error)
    finally:
        connection.release()


def _output(send: Send) -> ConnectionOutput | None:
    """What the connection writes; None: this version of hypercorn is built in another way."""
    stream = getattr(send, "__self__", None)
    protocol = getattr(getattr(stream, "send", None), "__self__", None)
    output = getattr(protocol, "send", None)
    if not isinstance(output, ConnectionOutput):
        return None
    return output if hasattr(output.server, "writer") or hasattr(output.server, "stream") else None


def _refusal(scope: Scope, limits: Limits) -> int:
    """The status that refuses a request; 0: none. hypercorn only limits incomplete headers."""
    if scope["method"] == "CONNECT":
        return 405
    headers, target = scope["headers"], scope["raw_path"] + scope["query_string"]
    size = sum([len(name) + len(value) + 4 for name, value in headers])
    if size > limits.header_bytes or len(target) > MAX_TARGET:
        return 431
    if has_many_parts(b"".join([target, *[value for _, value in headers]])):
        return 431
    return refusal(headers, scope["http_version"], limits)
