"""One request and its response on uvicorn, and whether the response has left.

uvicorn's last ``send()`` only fills a buffer, and tells nothing of a client that has gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple, Protocol

from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from ...core.asgi import ASGIApp, AsgiResponse, Message, Scope, send_answer, text
from ...errors import ResponseBroken
from ...telemetry.logs import get_logger
from .peer import Peer

log = get_logger("gateway.server")

STATUS_LINES = STATUS_LINE | {status: b"HTTP/1.1 %d \r\n" % status for status in range(600, 1000)}
"""Backends answer with statuses beyond HTTP's, too."""

MAX_BURST = 1024 * 1024
"""Bytes that are collected in one turn of the loop."""

FAILURE = text(500, "Internal Server Error", (b"connection", b"close"))
STOPPING = text(503, "the gateway is stopping", (b"connection", b"close"), (b"retry-after", b"1"))
"""To requests that the grace period was too short for."""


class WriteCoalescer:
    """Collects what is written in one turn of the loop, and writes it in one go at its end.

    Answers that leave one by one wake the clients' side one by one; on a busy machine that costs
    more than the answers (measured: 42 us a request, 36 in bursts).
    """

    def __init__(self) -> None:
        self._pending: list[tuple[asyncio.Transport, bytes]] = []
        self._size = 0
        self._defaults: list[tuple[bytes, bytes]] = []
        self._default_lines = b""

    def default_lines(self, headers: list[tuple[bytes, bytes]]) -> bytes:
        """The server's own headers: a new list each second."""
        if headers is not self._defaults:
            self._defaults, self._default_lines = headers, _lines(headers).text
        return self._default_lines

    def write(self, transport: asyncio.Transport, data: bytes) -> None:
        self._pending.append((transport, data))
        self._size += len(data)
        if self._size > MAX_BURST:  # what waits is counted when transports have it
            self._flush()
        elif len(self._pending) == 1:
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        pending, self._pending = self._pending, []
        self._size = 0
        for transport, data in pending:
            if not transport.is_closing():  # uvloop raises, and the others would get nothing
                transport.write(data)


class HttpConnection(Protocol):
    """The connection of an exchange: :class:`.uvicorn_protocol.HttpProtocol`."""

    transport: asyncio.Transport
    flow: FlowControl
    peer: Peer
    burst: WriteCoalescer
    answer_time: float

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]: ...

    def on_response_complete(self) -> None: ...

    def resume_reading(self) -> None: ...


class Http1Cycle:
    """In the place of uvicorn's cycle, and leaner: a complete answer is one write.

    It closes the connection, where that is to be done, only after ``left()`` has decided: on a
    closed socket nothing can be seen any more. It does not know its scope, which knows it: a cycle
    for each request would keep the garbage collector busy.
    """

    keeps_body_time = True

    __slots__ = (
        "_connection",
        "_expects_continue",
        "_head",
        "_is_awake",
        "_is_chunked",
        "_knows_chunks",
        "_waiter",
        "_watcher",
        "body",
        "disconnected",
        "is_head",
        "is_undecided",
        "keep_alive",
        "more_body",
        "response_complete",
        "response_started",
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
        self.is_head = is_head
        self.transport = connection.transport
        self.keep_alive = keep_alive
        self.body: bytes | bytearray = b""
        self.more_body = True
        self.disconnected = False
        self.response_started = False
        self.response_complete = False
        self.is_undecided = False
        self.task: asyncio.Task[None] | None = None
        self._connection = connection
        self._expects_continue = expects_continue
        self._head: Message | None = None
        self._is_chunked = False
        self._knows_chunks = knows_chunks
        self._watcher: Callable[[], object] | None = None
        self._is_awake = False
        self._waiter: asyncio.Future[None] | None = None

    # What the protocol tells.

    def take_body(self, body: bytes) -> None:
        """A piece of the request's body."""
        if not self.body:
            self.body = body
        elif isinstance(self.body, bytearray):
            self.body += body
        else:  # a sum of bytes would copy all of it for each piece
            self.body = bytearray(self.body) + body
        if len(self.body) > HIGH_WATER_LIMIT:
            self._connection.flow.pause_reading()
        self.wake()

    def end_body(self) -> None:
        self.more_body = False
        self.wake()

    def wake(self) -> None:
        """There is something to receive."""
        self._is_awake = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # What the application is told beyond ASGI (gateway.router.request.ClientConnection).

    @property
    def is_gone(self) -> bool:
        return self.disconnected

    def watch(self, callback: Callable[[], object]) -> None:
        """Call back, once, when the connection is lost before the response is complete."""
        if self.disconnected:
            callback()
        elif not self.response_complete:
            self._watcher = callback

    def body_nowait(self) -> bytes | None:
        """The whole body, when the last of it has come with the head, as most do."""
        if self.more_body or self.disconnected:
            return None
        body, self.body = self.body, b""
        return bytes(body)  # no copy of what has come in one piece

    async def left(self) -> bool:
        """Wait until every byte has left the process; False when the client has gone."""
        self.is_undecided = True
        try:
            await asyncio.sleep(0)  # the end of the burst
            if self.transport.get_write_buffer_size() and not await self._drained():
                return False
            if self.disconnected or self.transport.is_closing():
                return False
            return await self._connection.peer.has_acknowledged_all()
        finally:
            self.is_undecided = False

    def lost(self) -> None:
        """The connection is gone, or of no use any more."""
        self.disconnected = True
        self.wake()
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher()

    # ASGI.

    async def run_asgi(self, app: ASGIApp, scope: Scope, tasks: set[asyncio.Task[None]]) -> None:
        """What ``task`` does, which is among ``tasks`` until it ends."""
        try:
            await app(scope, self.receive, self.send)
        except ResponseBroken as error:
            log.debug("%s", error)
            self.keep_alive = False
        except asyncio.CancelledError:  # the grace period is over
            await self._give_up(STOPPING)
        except BaseException as error:
            log.error("an error in the application", exc_info=error)
            await self._give_up(FAILURE)
        else:
            if not self.response_started and not self.disconnected:
                log.error("the application has not answered")
                await send_answer(self.send, FAILURE)
        finally:
            if not self.keep_alive:
                asyncio.get_running_loop().call_soon(self.transport.close)  # behind the burst
            task, self.task = self.task, None  # which knows us: no cycle is left behind
            assert task is not None
            tasks.discard(task)

    async def _give_up(self, answer: AsgiResponse) -> None:
        """The application will not answer, or not to the end."""
        if self.response_started:
            self.transport.close()
        else:
            await send_answer(self.send, answer)

    async def receive(self) -> Message:
        connection = self._connection
        if self._expects_continue and not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
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

    def send_whole(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> bool:
        """Head and body of the answer in one call (see :func:`gateway.core.asgi.send_answer`).

        False, and nothing has happened, when the socket takes no more at the moment.
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
            self._head = message
            return
        if not self.response_started or self.response_complete:
            raise RuntimeError(f"unexpected ASGI message {message['type']!r}")
        if self._connection.flow.write_paused and not await self._drained():
            return
        body, more_body = message.get("body", b""), message.get("more_body", False)
        head, self._head = self._head, None
        written = b""
        if head is not None:
            headers = head.get("headers", ())
            has_length = not more_body or any(name == b"content-length" for name, _ in headers)
            self._is_chunked = self._knows_chunks and not has_length
            written = self._begin(head["status"], headers, None if more_body else len(body))
        if not self.is_head:
            written += _chunk(body, more_body) if self._is_chunked else body
        if more_body:
            self._connection.burst.write(self.transport, written)
        else:
            self._finish(written)

    def _finish(self, written: bytes) -> None:
        """The last bytes of the answer."""
        self._connection.burst.write(self.transport, written)
        self.response_complete = True
        self._watcher = None
        self.wake()
        self._connection.on_response_complete()

    def _begin(
        self, status: int, headers: Sequence[tuple[bytes, bytes]], length: int | None
    ) -> bytes:
        """Status line and headers; ``length`` None: the body follows in pieces."""
        # A tuple is a constant of the configuration.
        lines = _kept_lines(headers) if type(headers) is tuple else _lines(headers)
        connection = self._connection
        common = connection.burst.default_lines(connection.default_headers)
        head = STATUS_LINES[status] + common + lines.text
        if lines.closes:
            self.keep_alive = False
        elif not self.keep_alive:
            head += b"connection: close\r\n"
        if length is None:
            if self._is_chunked:
                head += b"transfer-encoding: chunked\r\n"
        elif not lines.has_length and status not in (204, 304):
            head += b"content-length: %d\r\n" % length
        return head + b"\r\n"

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


class Lines(NamedTuple):
    """Headers as lines. ``closes``: they say that the connection is closed behind the answer;
    ``has_length``: that of its body."""

    text: bytes
    closes: bool
    has_length: bool


def _lines(headers: Sequence[tuple[bytes, bytes]]) -> Lines:
    text = b"".join([b"%b: %b\r\n" % header for header in headers])
    if not (text.count(b"\n") == text.count(b"\r") == len(headers)):
        raise RuntimeError("a header with a line break")
    behind = b"\n" + text
    return Lines(
        text, behind.find(b"\nconnection: close\r\n") >= 0, behind.find(b"\ncontent-length: ") >= 0
    )


_kept_lines = lru_cache(256)(_lines)


def _chunk(body: bytes, more_body: bool) -> bytes:
    chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
    return chunk if more_body else chunk + b"0\r\n\r\n"
