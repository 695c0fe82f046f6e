"""One request and its answer over HTTP/3, and whether the answer has arrived.

The end of an answer is held back until the client has acknowledged everything before it, where a
message depends on it: a client that has the end may close at once, without an acknowledgement,
and then nobody could tell it from one that has nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from time import time
from typing import Protocol

from aioquic.h3.connection import ErrorCode
from anyio import CancelScope, Event, current_time, move_on_after

from ...core.asgi import ASGIApp, Message, Scope, send_answer, text
from ...errors import ResponseBroken
from ...telemetry.logs import get_logger
from ..unsent import Unsent
from .aioquic_inside import HIGH_WATER, Http3, Quic, StreamBuffer
from .headers import answer_fields

log = get_logger("gateway.server")

PARTING_TIME = 3.0
"""Seconds without a word from a client that has its answer, while the server stops."""
FAILURE = text(500, "Internal Server Error")
GOODBYES = (0, ErrorCode.H3_NO_ERROR)
"""Codes of a client that closes because it has what it wanted (RFC 9000, 20.1; RFC 9114, 8.1)."""


class StreamConnection(Protocol):
    """The connection of an exchange: :class:`.connection.Http3Connection`."""

    quic: Quic
    http3: Http3
    all_unsent: Unsent

    def has_room(self) -> bool:
        """What the client has asked for before does not wait for it to any amount."""
        ...

    def close(self) -> None: ...

    def flush(self) -> None:
        """Send what is written."""
        ...

    def release(self, stream_id: int) -> None:
        """The exchange is over, whatever became of it."""
        ...


class Http3Cycle:
    """What the router asks of a client (gateway.router.request.ClientConnection), and ASGI.

    ``is_gone``: the client has reset the stream, has closed the connection, or is silent for too
    long; or the answer was broken off.
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
        self._patience = answer_time
        self._waiting = CancelScope()
        self._is_hurried = False
        self._outgoing: StreamBuffer = connection.quic.outgoing(stream_id)
        self._chunks: deque[bytes] = deque()
        self._more_body = True
        self._head: Message | None = None
        self._has_begun = False
        self._is_complete = False
        self._is_ended = False
        self._watcher: Callable[[], object] | None = None
        self._changed: Event | None = None

    # What the connection tells.

    def take_body(self, data: bytes) -> None:
        if not self._is_complete:
            self._chunks.append(data)
            self.unread += len(data)

    def end_body(self) -> None:
        self._more_body = False

    def wake(self) -> None:
        """Something has come: of the body, or an acknowledgement, or of another request."""
        if self._is_hurried:
            self.hurry()
        changed, self._changed = self._changed, None
        if changed is not None:
            changed.set()

    def hurry(self) -> None:
        """The server stops: whoever is not heard of any more has vanished."""
        self._is_hurried = True
        self._patience = min(self._patience, PARTING_TIME)
        self._waiting.deadline = current_time() + self._patience

    def lost(self) -> None:
        """The client wants no answer any more, or cannot get one."""
        self.is_gone = True
        self.wake()
        watcher, self._watcher = self._watcher, None
        if watcher is not None and not self._is_complete:
            watcher()

    # What the application is told beyond ASGI.

    def watch(self, callback: Callable[[], object]) -> None:
        """Call back, once, when the client goes before the answer is complete."""
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

    async def left(self) -> bool:
        """Wait until the client has acknowledged the whole answer; False when it does not.

        One that has everything but the end, and then closes without an error, has it too.
        """
        connection = self._connection
        connection.flush()
        connection.quic.send_ping(0)  # a second packet is acknowledged at once (RFC 9000, 13.2.2)
        connection.flush()
        if not await self._reached(self._is_acknowledged) or self.is_gone:
            return False
        self._end()
        if await self._reached(self._has_arrived):
            return True
        return self._is_acknowledged() and connection.quic.close_code in GOODBYES

    def _is_acknowledged(self) -> bool:
        return not self._outgoing.unacknowledged

    def _has_arrived(self) -> bool:
        return self._outgoing.has_arrived

    async def _reached(self, is_reached: Callable[[], bool]) -> bool:
        """Whether it is before the client has gone; one that takes too long is cut off."""
        with move_on_after(self._patience) as self._waiting:
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
        """Until the answer has arrived, or the client has gone."""
        try:
            while not self._connection.has_room() and not self.is_gone:
                await self._wait()
            if not self.is_gone:
                await self._answer(app, scope)
            if self._is_complete:
                self._end()
                await self._reached(self._has_arrived)
        finally:
            self._connection.all_unsent.wait(self, 0)
            if not self._has_arrived():
                self._cut()
            self._connection.release(self._stream_id)

    async def _answer(self, app: ASGIApp, scope: Scope) -> None:
        try:
            await app(scope, self.receive, self.send)
        except ResponseBroken as error:
            log.debug("%s", error)
        except Exception as error:
            log.error("an error in the application", exc_info=error)
        else:
            if not self._is_complete and not self.is_gone:
                log.error("the application has not answered")
        if self._is_complete or self.is_gone:
            return
        if self._has_begun:
            self._cut()
        else:
            self._head = None
            await send_answer(self.send, FAILURE)

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
            if self._head is not None:
                raise RuntimeError("the response has begun already")
            self._head = message
            return
        if self._head is None or self._is_complete:
            raise RuntimeError(f"unexpected ASGI message {message['type']!r}")
        http3 = self._connection.http3
        if not self._has_begun:
            fields = answer_fields(self._head["status"], self._head.get("headers", ()), time())
            self._has_begun = True
            http3.send_headers(self._stream_id, fields)
        body = message.get("body", b"")
        if body and not self._is_head:
            http3.send_data(self._stream_id, body, end_stream=False)
            self._connection.all_unsent.wait(self, self.unsent())
        if message.get("more_body", False):
            self._connection.flush()
            await self._reached(lambda: self._outgoing.unacknowledged <= HIGH_WATER)
        else:
            self._is_complete = True  # left() or run() say so to the client
            self.wake()

    # What the client has not taken.

    def unsent(self) -> int:
        return 0 if self.is_gone else self._outgoing.unacknowledged

    def cut_off(self) -> None:
        """The connection, which alone frees what is written."""
        self._connection.close()

    def _end(self) -> None:
        if self._is_ended or self.is_gone:
            return
        self._is_ended = True
        self._connection.http3.end(self._stream_id)
        # Nobody reads what may still come (RFC 9114, 4.1).
        self._connection.quic.stop_receiving(self._stream_id, ErrorCode.H3_NO_ERROR)
        self._connection.flush()

    def _cut(self) -> None:
        """Nothing more of it is sent."""
        connection = self._connection
        if not connection.quic.is_over:
            connection.http3.cut(self._stream_id, ErrorCode.H3_INTERNAL_ERROR)
            connection.quic.stop_receiving(self._stream_id, ErrorCode.H3_INTERNAL_ERROR)
            connection.flush()
        self.lost()
