"""The asyncio protocol of an aiormq connection: it handles the frames of tapped channels itself.

aiormq opens and closes connections and channels, declares and starts consumers. Deliveries,
acknowledgements, publishes and confirms do not pass through it: it needs a task and several queues
for each message. ``amqp/wire/`` has the format of frames.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl
import struct
from collections.abc import Callable, Sequence
from typing import Any, cast

from aiormq.connection import TransportFactory
from aiormq.exceptions import AMQPConnectionError
from yarl import URL

from ...core.bridge import TICKS, Connect, next_tick
from ...telemetry.logs import get_logger
from ..wire import codec

log = get_logger("gateway.amqp")

READER_LIMIT = 1024 * 1024
"""Bytes that aiormq may leave unread."""

FLUSH_DELAY = 1.5 / TICKS
"""Seconds after which acknowledgements are written at the latest: one write for all channels."""

FIRST_ERROR_CODE = 501
"""The lowest reply code of Connection.Close for an error that the client may have caused. When an
operator closes the connection the code is lower (320)."""

_ERRNO = re.compile(r"\[Errno (\d+)\]")

HEARTBEAT_INTERVAL = 1.0
"""Seconds without a frame for aiormq, after which it gets a heartbeat frame: it would close the
connection if only tapped channels received frames."""


class Tap(asyncio.StreamReaderProtocol):
    """The protocol of one connection.

    ``last_received``: loop time of the last bytes. ``lost``: set when the socket is closed.
    ``problem``: why, if it is known: the text of the broker, or the error in its bytes.
    ``close_code``: reply code of the broker's Connection.Close, else 0.

    ``note_blocked``: called when the broker begins or ends to block publishers.

    ``can_publish``: the broker does not block publishers, and the send buffer is not full.
    ``can_publish_callbacks``: called when this becomes true again.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.reader = asyncio.StreamReader(limit=READER_LIMIT, loop=loop)
        super().__init__(self.reader, loop=loop)
        self.receiver = codec.Receiver(self._forward, self._blocked, self._closing)
        self.can_publish = True
        self.is_blocked = False
        self.note_blocked: Callable[[bool], object] = lambda is_blocked: None
        self.can_publish_callbacks: set[Callable[[], None]] = set()
        self.last_received = loop.time()
        self.lost = asyncio.Event()
        self.problem = ""
        self.close_code = 0
        self._time = loop.time
        self._last_forwarded = loop.time()
        self._transport: asyncio.Transport | None = None
        self._call_soon = loop.call_soon
        self._call_at = loop.call_at
        self._scheduled: list[Callable[[], None]] = []
        self._pending: list[bytes] = []
        self._is_full = False

    @property
    def closed_for_error(self) -> bool:
        """The broker has closed the connection with an error that a message may have caused."""
        return self.close_code >= FIRST_ERROR_CODE

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass of it
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        now = self.last_received = self._time()
        try:
            self.receiver.feed(data)
        except (
            codec.WireError,
            struct.error,
            IndexError,
        ) as error:  # the last two: a truncated frame
            self._give_up(f"the broker sent bytes that are not AMQP: {error}")
            return
        except Exception as error:  # of any type: it must end this connection only
            log.exception("unexpected error while reading from a broker")
            self._give_up(f"unexpected error: {type(error).__name__}")
            return
        if now - self._last_forwarded > HEARTBEAT_INTERVAL:
            self._forward(codec.HEARTBEAT)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()
        super().connection_lost(exc)

    def schedule_flush(self, action: Callable[[], None]) -> None:
        """Call ``action`` at a tick within :data:`FLUSH_DELAY`: one timer for all that are
        scheduled."""
        if not self._scheduled:
            self._call_at(next_tick(self._time()), self._run_scheduled)
        self._scheduled.append(action)

    def _run_scheduled(self) -> None:
        actions, self._scheduled = self._scheduled, []
        for action in actions:
            action()

    def write(self, frames: bytes) -> None:
        """Write complete frames: aiormq writes to the same transport. The frames of one turn of the
        event loop are written together."""
        if not self._pending:
            self._call_soon(self.flush)
        self._pending.append(frames)

    def write_large(self, frames: Sequence[bytes | memoryview]) -> None:
        """As :meth:`write`, at once and without a copy of the pieces."""
        self.flush()
        if self._transport is not None and not self._transport.is_closing():
            self._transport.writelines(frames)

    def flush(self) -> None:
        """Write the pending frames now."""
        pending, self._pending = self._pending, []
        if pending and self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"".join(pending))

    def pause_writing(self) -> None:
        """The send buffer is full."""
        super().pause_writing()
        self._is_full = True
        self._note_state()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._is_full = False
        self._note_state()

    def _blocked(self, is_blocked: bool) -> None:
        self.is_blocked = is_blocked
        self.note_blocked(is_blocked)
        self._note_state()

    def _note_state(self) -> None:
        could_publish = self.can_publish
        self.can_publish = not self._is_full and not self.is_blocked
        if self.can_publish and not could_publish:
            for write_waiting in tuple(self.can_publish_callbacks):
                write_waiting()

    def _closing(self, code: int, text: str) -> None:
        self.problem = " ".join(text.split())  # some texts of RabbitMQ have several lines
        self.close_code = code

    def _give_up(self, problem: str) -> None:
        self.problem = self.problem or problem
        self.abort()

    def abort(self) -> None:
        """End the connection now, without closing it by AMQP."""
        if self._transport is not None:
            self._transport.abort()

    def _forward(self, frame: bytes) -> None:
        self._last_forwarded = self.last_received
        self.reader.feed_data(frame)


class TapFactory(TransportFactory):
    """Opens the transport of one connection for aiormq, and keeps its tap.

    ``connect``: how; None: a socket of the loop.
    """

    def __init__(self, server_name: str | None = None, connect: Connect | None = None) -> None:
        self._server_name = server_name
        self._connect = connect
        self.tap: Tap | None = None

    @property
    def problem(self) -> str:
        """Why the broker refused the connection; empty when it gave no reason."""
        return self.tap.problem if self.tap is not None else ""

    def abort(self) -> None:
        """As :meth:`Tap.abort`, if there is a connection."""
        if self.tap is not None:
            self.tap.abort()

    async def create(
        self, url: URL, **kwargs: Any
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        assert url.host is not None
        assert url.port is not None
        loop = asyncio.get_running_loop()
        tap = Tap(loop)
        context: ssl.SSLContext | None = None
        server_name: str | None = None
        if url.scheme == "amqps":
            context = await kwargs["ssl_context_provider"].get_context()
            server_name = self._server_name or url.host
        try:
            connect = self._connect or loop.create_connection
            opened, _ = await connect(
                lambda: tap, url.host, url.port, ssl=context, server_hostname=server_name
            )
        except UnicodeError as error:
            raise AMQPConnectionError("this is no valid name of a host") from error
        except OSError as error:
            raise AMQPConnectionError(describe_os_error(error)) from error
        self.tap = tap
        transport = cast(asyncio.WriteTransport, opened)
        return tap.reader, asyncio.StreamWriter(transport, tap, tap.reader, loop)


def describe_os_error(error: OSError) -> str:
    """The texts of the operating system. A host may have several addresses, each with its own
    error: equal texts are named once."""
    if isinstance(error, socket.gaierror | ssl.SSLError):
        return str(error.args[-1])
    numbers = [error.errno] if error.errno else map(int, _ERRNO.findall(str(error)))
    return ", ".join(dict.fromkeys(os.strerror(number).lower() for number in numbers)) or str(error)
