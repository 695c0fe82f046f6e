"""One request and its response over HTTP/3, and whether the response has arrived.

Where a message depends on it, the end of a response is sent after the client has acknowledged
everything before it. A client that has the end may close the connection at once without an
acknowledgement; then it would look like a client that has nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from time import time
from typing import Protocol

from aioquic.h3.connection import ErrorCode
from anyio import CancelScope, Event, current_time, move_on_after

from ...core.asgi import ASGIApp, Message, Scope, send_answer, text
from ...core.proxy import Arrival
from ...errors import ResponseBroken
from ...telemetry.logs import get_logger
from ..unsent import Unsent
from .aioquic_inside import MAX_UNACKNOWLEDGED_BYTES, Http3, Quic, StreamBuffer
from .headers import response_fields

log = get_logger("gateway.server")

MAX_ACK_WAIT_AT_STOP = 3.0
"""Seconds that a client may take to acknowledge its response while the server stops."""
INTERNAL_ERROR = text(500, "Internal Server Error")
NORMAL_CLOSE_CODES = (0, ErrorCode.H3_NO_ERROR)
"""Codes of a client that closes without an error (RFC 9000, 20.1; RFC 9114, 8.1)."""


class StreamConnection(Protocol):
    """The connection of a cycle: :class:`.connection.Http3Connection`."""

    quic: Quic
    http3: Http3
    all_unsent: Unsent

    def has_room(self) -> bool:
        """The client has read enough of its earlier responses to start another request."""
        ...

    def close(self) -> None: ...

    def flush(self) -> None:
        """Send what is written."""
        ...

    def release(self, stream_id: int) -> None:
        """The request has ended, with or without a response."""
        ...


class Http3Cycle:
    """ASGI, and its extension (gateway.router.request.ClientConnection).

    ``is_gone``: the client has reset the stream, has closed the connection, or has not responded
    for too long; or the response was cut off.
    """

    keeps_body_time = False

    def __init__(
        self, connection: StreamConnection, stream_id: int, is_head: bool, answer_time: float
    ) -> None:
        self.is_gone = False
        self.unread = 0
        self._connection = connection
        self._stream_id = stream_id
        self._is_head = is_head
        self._ack_timeout = answer_time
        self._wait_scope = CancelScope()
        self._is_stopping = False
        self._outgoing: StreamBuffer = connection.quic.outgoing(stream_id)
        self._chunks: deque[bytes] = deque()
        self._more_body = True
        self._start: Message | None = None
        self._has_begun = False
        self._is_complete = False
        self._is_ended = False
        self._watcher: Callable[[], object] | None = None
        self._changed: Event | None = None

    # Called by the connection.

    def take_body(self, data: bytes) -> None:
        if not self._is_complete:
            self._chunks.append(data)
            self.unread += len(data)

    def end_body(self) -> None:
        self._more_body = False

    def wake(self) -> None:
        """Something has arrived on the connection, perhaps for another request."""
        if self._is_stopping:
            self.shorten_wait()
        changed, self._changed = self._changed, None
        if changed is not None:
            changed.set()

    def shorten_wait(self) -> None:
        """The server stops: a client that does not acknowledge is given up sooner."""
        self._is_stopping = True
        self._ack_timeout = min(self._ack_timeout, MAX_ACK_WAIT_AT_STOP)
        self._wait_scope.deadline = current_time() + self._ack_timeout

    def lost(self) -> None:
        """The client does not want the response any more, or cannot get it."""
        self.is_gone = True
        self.wake()
        watcher, self._watcher = self._watcher, None
        if watcher is not None and not self._is_complete:
            watcher()

    # The extension of ASGI.

    def watch(self, callback: Callable[[], object]) -> None:
        """Call back, once, when the client goes before the response is complete."""
        if self.is_gone:
            callback()
        else:
            self._watcher = callback

    def body_nowait(self) -> bytes | None:
        if self._more_body or self.is_gone:
            return None
        self.unread = 0
        body = b"".join(self._chunks)
        self._chunks.clear()
        return body

    async def when_arrived(self, arrival: Arrival) -> bool:
        """Wait until the client has acknowledged the whole response; False when it does not.

        A client that has acknowledged everything but the end, and closes without an error, has the
        response.
        """
        connection = self._connection
        arrival.sent()
        connection.flush()
        connection.quic.send_ping(0)  # a second packet is acknowledged at once (RFC 9000, 13.2.2)
        connection.flush()
        if not await self._reached(self._is_acknowledged) or self.is_gone:
            return False
        self._end()
        if await self._reached(self._has_arrived):
            return True
        return self._is_acknowledged() and connection.quic.close_code in NORMAL_CLOSE_CODES

    def _is_acknowledged(self) -> bool:
        return not self._outgoing.unacknowledged

    def _has_arrived(self) -> bool:
        return self._outgoing.has_arrived

    async def _reached(self, is_reached: Callable[[], bool]) -> bool:
        """Wait for ``is_reached``; False: the client has gone, or was cut off after a timeout."""
        with move_on_after(self._ack_timeout) as self._wait_scope:
            while not is_reached() and not self.is_gone:
                await self._wait()
        if not is_reached() and not self.is_gone:
            self._cut()
        return is_reached()

    async def _wait(self) -> None:
        if self._changed is None:
            self._changed = Event()
        await self._changed.wait()

    # ASGI.

    async def run(self, app: ASGIApp, scope: Scope) -> None:
        """Run until the response has arrived or the client has gone."""
        try:
            while not self._connection.has_room() and not self.is_gone:
                await self._wait()
            if not self.is_gone:
                await self._run_app(app, scope)
            if self._is_complete:
                self._end()
                await self._reached(self._has_arrived)
        finally:
            self._connection.all_unsent.wait(self, 0)
            if not self._has_arrived():
                self._cut()
            self._connection.release(self._stream_id)

    async def _run_app(self, app: ASGIApp, scope: Scope) -> None:
        try:
            await app(scope, self.receive, self.send)
        except ResponseBroken as error:
            log.debug("%s", error)
        except Exception as error:
            log.error("an error in the application", exc_info=error)
        else:
            if not self._is_complete and not self.is_gone:
                log.error("the application has ended without a response")
        if self._is_complete or self.is_gone:
            return
        if self._has_begun:
            self._cut()
        else:
            self._start = None
            await send_answer(self.send, INTERNAL_ERROR)

    async def receive(self) -> Message:
        while not (self._chunks or self.is_gone or self._is_complete) and self._more_body:
            await self._wait()
        if self.is_gone or self._is_complete:
            return {"type": "http.disconnect"}
        body = b"".join(self._chunks)
        self._chunks.clear()
        if self.unread:
            self.unread = 0
            self._connection.flush()  # it may send more
        return {"type": "http.request", "body": body, "more_body": self._more_body}

    async def send(self, message: Message) -> None:
        if self.is_gone:
            return
        if message["type"] == "http.response.start":
            if self._start is not None:
                raise RuntimeError("the response has begun already")
            self._start = message
            return
        if self._start is None or self._is_complete:
            raise RuntimeError(f"unexpected ASGI message {message['type']!r}")
        http3 = self._connection.http3
        if not self._has_begun:
            fields = response_fields(self._start["status"], self._start.get("headers", ()), time())
            self._has_begun = True
            http3.send_headers(self._stream_id, fields)
        body = message.get("body", b"")
        if body and not self._is_head:
            http3.send_data(self._stream_id, body, end_stream=False)
            self._connection.all_unsent.wait(self, self.unsent())
        if message.get("more_body", False):
            self._connection.flush()
            await self._reached(lambda: self._outgoing.unacknowledged <= MAX_UNACKNOWLEDGED_BYTES)
        else:
            self._is_complete = True  # when_arrived() or run() say so to the client
            self.wake()

    # What the client has not read.

    def unsent(self) -> int:
        return 0 if self.is_gone else self._outgoing.unacknowledged

    def cut_off(self) -> None:
        """Close the connection: only that frees the bytes that are written."""
        self._connection.close()

    def _end(self) -> None:
        if self._is_ended or self.is_gone:
            return
        self._is_ended = True
        self._connection.http3.end(self._stream_id)
        # The rest of the request is not read (RFC 9114, 4.1).
        self._connection.quic.stop_receiving(self._stream_id, ErrorCode.H3_NO_ERROR)
        self._connection.flush()

    def _cut(self) -> None:
        """Send no more of the response."""
        connection = self._connection
        if not connection.quic.is_over:
            connection.http3.cut(self._stream_id, ErrorCode.H3_INTERNAL_ERROR)
            connection.quic.stop_receiving(self._stream_id, ErrorCode.H3_INTERNAL_ERROR)
            connection.flush()
        self.lost()
