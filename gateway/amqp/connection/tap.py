"""The asyncio protocol under an aiormq connection: it reads tapped channels itself.

Everything else aiormq reads as if we were not here. See ``amqp/wire/`` for what a frame is.
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

from ...telemetry.logs import get_logger
from ..wire import codec

log = get_logger("gateway.amqp")

READER_LIMIT = 1024 * 1024
FLUSH_DELAY = 0.005
"""Seconds that acknowledgements of all channels wait for company, at most."""

FIRST_ERROR_CODE = 501
"""The first reply code for an error that ends a connection and that the client may have caused. A
connection that an operator closes has a lower one (320)."""

_ERRNO = re.compile(r"\[Errno (\d+)\]")

HEARTBEAT_INTERVAL = 1.0
"""Seconds after which aiormq is told that the connection lives, while only we are reading."""


class Tap(asyncio.StreamReaderProtocol):
    """``last_received``: loop time of the last bytes. ``lost``: set when the socket is gone.
    ``problem``: why, where the bytes have said it: the broker's text, or what is wrong with them.
    ``close_code``: with which the broker has closed the connection.

    ``can_publish``: the broker does not block publishers, and the socket takes more.
    ``publishers`` are called when that has become true again.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.reader = asyncio.StreamReader(limit=READER_LIMIT, loop=loop)
        super().__init__(self.reader, loop=loop)
        self.receiver = codec.Receiver(self._forward, self._blocked, self._closing)
        self.can_publish = True
        self.is_blocked = False
        self.publishers: set[Callable[[], None]] = set()
        self.last_received = loop.time()
        self.lost = asyncio.Event()
        self.problem = ""
        self.close_code = 0
        self._time = loop.time
        self._last_forwarded = loop.time()
        self._transport: asyncio.Transport | None = None
        self._call_soon = loop.call_soon
        self._call_later = loop.call_later
        self._scheduled: list[Callable[[], None]] = []
        self._pending: list[bytes] = []
        self._is_full = False

    @property
    def closed_for_error(self) -> bool:
        """The broker has closed the connection, maybe because of what it has received."""
        return self.close_code >= FIRST_ERROR_CODE

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass of it
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        now = self.last_received = self._time()
        try:
            self.receiver.feed(data)
        except (codec.WireError, struct.error, IndexError) as error:  # the latter: what is cut off
            self._give_up(f"the broker sent bytes that are not AMQP: {error}")
            return
        except Exception as error:  # whatever it is, it ends this connection alone
            log.exception("unexpected error while reading from a broker")
            self._give_up(f"unexpected error: {type(error).__name__}")
            return
        if now - self._last_forwarded > HEARTBEAT_INTERVAL:
            self._forward(codec.HEARTBEAT)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()
        super().connection_lost(exc)

    def schedule_flush(self, action: Callable[[], None]) -> None:
        """Call it within :data:`FLUSH_DELAY`, together with what others want: one timer for all."""
        if not self._scheduled:
            self._call_later(FLUSH_DELAY, self._run_scheduled)
        self._scheduled.append(action)

    def _run_scheduled(self) -> None:
        actions, self._scheduled = self._scheduled, []
        for action in actions:
            action()

    def write(self, frames: bytes) -> None:
        """Whole frames only: aiormq writes to the same transport. One turn's are one write."""
        if not self._pending:
            self._call_soon(self.flush)
        self._pending.append(frames)

    def write_large(self, frames: Sequence[bytes | memoryview]) -> None:
        """As :meth:`write`, for pieces that should not be copied: written now."""
        self.flush()
        if self._transport is not None and not self._transport.is_closing():
            self._transport.writelines(frames)

    def flush(self) -> None:
        """Write now what is pending."""
        pending, self._pending = self._pending, []
        if pending and self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"".join(pending))

    def pause_writing(self) -> None:
        """The socket's buffer is full."""
        super().pause_writing()
        self._is_full = True
        self._note_state()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._is_full = False
        self._note_state()

    def _blocked(self, is_blocked: bool) -> None:
        self.is_blocked = is_blocked
        self._note_state()

    def _note_state(self) -> None:
        could_publish = self.can_publish
        self.can_publish = not self._is_full and not self.is_blocked
        if self.can_publish and not could_publish:
            for write_waiting in tuple(self.publishers):
                write_waiting()

    def _closing(self, code: int, text: str) -> None:
        self.problem = text
        self.close_code = code

    def _give_up(self, problem: str) -> None:
        self.problem = self.problem or problem
        self.abort()

    def abort(self) -> None:
        """End the connection now, without a word."""
        if self._transport is not None:
            self._transport.abort()

    def _forward(self, frame: bytes) -> None:
        self._last_forwarded = self.last_received
        self.reader.feed_data(frame)


class TapFactory(TransportFactory):
    """Opens the transport of one connection and keeps its tap."""

    def __init__(self, server_name: str | None = None) -> None:
        self._server_name = server_name
        self.tap: Tap | None = None

    @property
    def problem(self) -> str:
        """What the broker said when it refused the connection; empty when it said nothing."""
        return self.tap.problem if self.tap is not None else ""

    def abort(self) -> None:
        """End the connection, if there is one, without a word."""
        if self.tap is not None:
            self.tap.abort()

    async def create(
        self, url: URL, **kwargs: Any
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        assert url.host is not None
        assert url.port is not None
        loop = asyncio.get_running_loop()
        tap = Tap(loop)
        tls: dict[str, Any] = {}
        if url.scheme == "amqps":
            tls["ssl"] = await kwargs["ssl_context_provider"].get_context()
            tls["server_hostname"] = self._server_name or url.host
        try:
            transport, _ = await loop.create_connection(lambda: tap, url.host, url.port, **tls)
        except UnicodeError as error:
            raise AMQPConnectionError("no host can have this name") from error
        except OSError as error:
            raise AMQPConnectionError(describe_os_error(error)) from error
        self.tap = tap
        return tap.reader, asyncio.StreamWriter(transport, tap, tap.reader, loop)


def describe_os_error(error: OSError) -> str:
    """The operating system's words, once each: of several addresses each has its own error."""
    if isinstance(error, socket.gaierror | ssl.SSLError):
        return str(error.args[-1])
    numbers = [error.errno] if error.errno else map(int, _ERRNO.findall(str(error)))
    return ", ".join(dict.fromkeys(os.strerror(number).lower() for number in numbers)) or str(error)
