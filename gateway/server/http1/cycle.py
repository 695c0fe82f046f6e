"""One request and its response over HTTP/1.1."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from ...core.asgi import ASGIApp, AsgiResponse, Headers, Message, Scope, send_answer, text
from ...core.proxy import Arrival
from ...errors import ResponseBroken
from ...telemetry.logs import get_logger
from .flow_control import HIGH_WATER_LIMIT, FlowControl
from .output import Output
from .response_head import STATUS_LINES, encode_chunk, encode_constant_headers, encode_headers
from .server_state import ServerState

log = get_logger("gateway.server")

INTERNAL_ERROR = text(500, "Internal Server Error", (b"connection", b"close"))
STOPPING = text(503, "the gateway is stopping", (b"connection", b"close"), (b"retry-after", b"1"))
"""For requests that still run at the end of the grace period."""


class HttpConnection(Protocol):
    """The connection of a cycle: :class:`.protocol.HttpProtocol`."""

    transport: asyncio.Transport
    flow: FlowControl
    output: Output
    state: ServerState
    answer_time: float

    def on_response_complete(self) -> None: ...

    def resume_reading(self) -> None: ...

    def end_soon(self) -> None: ...

    def run(self, app: ASGIApp, scope: Scope, cycle: Cycle) -> None: ...


class Cycle:
    """One request and its response.

    ``more_body``: the body of the request is not complete. ``disconnected``: the connection is
    lost, or cannot be used any more.
    """

    __slots__ = (
        "_connection",
        "_is_chunked",
        "body",
        "disconnected",
        "is_head",
        "keep_alive",
        "more_body",
        "response_complete",
        "response_started",
    )

    def __init__(self, connection: HttpConnection, is_head: bool, keep_alive: bool) -> None:
        self.is_head = is_head
        self.keep_alive = keep_alive
        self.body: bytes | bytearray = b""
        self.more_body = True
        self.disconnected = False
        self.response_started = False
        self.response_complete = False
        self._connection = connection
        self._is_chunked = False

    # Called by the protocol.

    def take_body(self, body: bytes) -> None:
        """Add a piece of the request's body."""
        if not self.body:
            self.body = body
        elif isinstance(self.body, bytearray):
            self.body += body
        else:  # adding bytes to bytes would copy the whole body for each piece
            self.body = bytearray(self.body) + body

    def end_body(self) -> None:
        self.more_body = False

    def lost(self) -> None:
        """The connection is gone, or cannot be used any more."""
        self.disconnected = True

    # For the gateway: gateway.core.direct.DirectClient, gateway.router.request.ClientConnection.

    @property
    def is_gone(self) -> bool:
        return self.disconnected

    def when_arrived(self, arrival: Arrival) -> None:
        if self.disconnected:
            arrival.decided(False)
        else:
            self._connection.output.when_arrived(arrival)

    def _finish(self, written: bytes) -> None:
        """Write the last bytes of the response."""
        self._connection.output.write(written)
        self.response_complete = True
        self._connection.on_response_complete()

    def _begin(self, status: int, headers: Headers, length: int | None) -> bytes:
        """Status line and headers. ``length``: of the body; None: it follows in pieces."""
        # A tuple of headers is a constant of the configuration: it is encoded once.
        encode = encode_constant_headers if type(headers) is tuple else encode_headers
        encoded = encode(headers)
        connection = self._connection
        common = connection.state.coalescer.default_lines(connection.state.default_headers)
        head = STATUS_LINES[status] + common + encoded.lines
        if encoded.closes:
            self.keep_alive = False
        elif not self.keep_alive:
            head += b"connection: close\r\n"
        if length is None:
            if self._is_chunked:
                head += b"transfer-encoding: chunked\r\n"
        elif not encoded.has_length and status not in (204, 304):
            head += b"content-length: %d\r\n" % length
        return head + b"\r\n"


class Http1Cycle(Cycle):
    """A request that has a task, and its response by ASGI.

    A complete response is one write: with it a request to one queue costs 14.5 us instead of 17.9
    (docs/performance-history.md). The scope refers to this object, and this object not to the
    scope: reference cycles would keep the garbage collector busy.
    """

    keeps_body_time = True

    __slots__ = (
        "_expects_continue",
        "_is_awake",
        "_knows_chunks",
        "_start",
        "_waiter",
        "_watcher",
        "task",
        "transport",
    )

    def __init__(
        self,
        connection: HttpConnection,
        is_head: bool,
        keep_alive: bool,
        expects_continue: bool,
        knows_chunks: bool = True,
    ) -> None:
        super().__init__(connection, is_head, keep_alive)
        self.transport = connection.transport
        self.task: asyncio.Task[None] | None = None
        self._expects_continue = expects_continue
        self._start: Message | None = None
        self._knows_chunks = knows_chunks
        self._watcher: Callable[[], object] | None = None
        self._is_awake = False
        self._waiter: asyncio.Future[None] | None = None

    # Called by the protocol.

    def take_body(self, body: bytes) -> None:
        super().take_body(body)
        if len(self.body) > HIGH_WATER_LIMIT:
            self._connection.flow.pause_reading()
        self.wake()

    def end_body(self) -> None:
        self.more_body = False
        self.wake()

    def wake(self) -> None:
        """``receive()`` has something to return."""
        self._is_awake = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def lost(self) -> None:
        self.disconnected = True
        self.wake()
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher()

    # The extension of ASGI (gateway.router.request.ClientConnection).

    def watch(self, callback: Callable[[], object]) -> None:
        """Call back, once, when the connection is lost before the response is complete."""
        if self.disconnected:
            callback()
        elif not self.response_complete:
            self._watcher = callback

    def body_nowait(self) -> bytes | None:
        """The whole body, when it has come with the head, as most do."""
        if self.more_body or self.disconnected:
            return None
        body, self.body = self.body, b""
        return bytes(body)  # copies nothing when the body has come in one piece

    # ASGI.

    async def run_asgi(self, app: ASGIApp, scope: Scope, tasks: set[asyncio.Task[None]]) -> None:
        """The coroutine of ``task``, which is in ``tasks`` until it ends."""
        try:
            await app(scope, self.receive, self.send)
        except ResponseBroken as error:
            log.debug("%s", error)
            self.keep_alive = False
        except asyncio.CancelledError:  # the grace period is over
            await self._give_up(STOPPING)
        except BaseException as error:
            log.error("an error in the application", exc_info=error)
            await self._give_up(INTERNAL_ERROR)
        else:
            if not self.response_started and not self.disconnected:
                log.error("the application has ended without a response")
                await send_answer(self.send, INTERNAL_ERROR)
        finally:
            if not self.keep_alive:
                self._connection.end_soon()
            task, self.task = self.task, None  # the task refers to us: leave no reference cycle
            assert task is not None
            tasks.discard(task)

    async def _give_up(self, response: AsgiResponse) -> None:
        """Send ``response``, or cut off the response that has begun."""
        if self.response_started:
            self._connection.output.end()
        else:
            await send_answer(self.send, response)

    async def receive(self) -> Message:
        connection = self._connection
        if self._expects_continue and not self.transport.is_closing():
            connection.output.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._expects_continue = False
        if not self.disconnected and not self.response_complete:
            if self.more_body:
                connection.resume_reading()
            if not self._is_awake:
                self._waiter = asyncio.get_running_loop().create_future()
                await self._waiter
                self._waiter = None
            self._is_awake = False
        if self.disconnected or self.response_complete:
            return {"type": "http.disconnect"}
        body, self.body = self.body, b""
        return {"type": "http.request", "body": bytes(body), "more_body": self.more_body}

    def send_whole(self, status: int, headers: Headers, body: bytes) -> bool:
        """Send headers and body in one call (see :func:`gateway.core.asgi.send_answer`).

        False when the socket takes no more bytes at the moment; then nothing is sent.
        """
        if self._connection.flow.write_paused:
            return False
        if self.disconnected:
            return True
        if self.response_started:
            raise RuntimeError("the response has begun already")
        self.response_started = True
        written = self._begin(status, headers, len(body))
        self._finish(written if self.is_head else written + body)
        return True

    async def send(self, message: Message) -> None:
        if self.disconnected:
            return
        if message["type"] == "http.response.start":
            if self.response_started:
                raise RuntimeError("the response has begun already")
            self.response_started = True
            self._start = message
            return
        if not self.response_started or self.response_complete:
            raise RuntimeError(f"unexpected ASGI message {message['type']!r}")
        if self._connection.flow.write_paused and not await self._drained():
            return
        body, more_body = message.get("body", b""), message.get("more_body", False)
        start, self._start = self._start, None
        written = b""
        if start is not None:
            headers = start.get("headers", ())
            has_length = not more_body or any(name == b"content-length" for name, _ in headers)
            self._is_chunked = self._knows_chunks and not has_length
            written = self._begin(start["status"], headers, None if more_body else len(body))
        if not self.is_head:
            written += encode_chunk(body, more_body) if self._is_chunked else body
        if more_body:
            self._connection.output.write(written)
        else:
            self._finish(written)

    async def _drained(self) -> bool:
        """Wait until the write buffer is empty; a client that takes too long is cut off."""
        self.transport.set_write_buffer_limits(high=0)
        try:
            async with asyncio.timeout(self._connection.answer_time):
                await self._connection.flow.drain()
        except TimeoutError:
            self.transport.abort()
            self.disconnected = True
        if not self.disconnected:  # a transport that is closed takes no limits
            self.transport.set_write_buffer_limits()
        return not self.disconnected

    def _finish(self, written: bytes) -> None:
        super()._finish(written)
        self._watcher = None
        self.wake()
