"""What hypercorn's server writes to one connection, and how much of it the client's kernel has."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from socket import socket
from typing import Any, Protocol

from anyio import Event
from hypercorn.events import Closed, RawData, Updated
from hypercorn.events import Event as ServerEvent

from ..send_queue import is_reset, send_queue


class WriteTransport(Protocol):
    """What is used of a transport of asyncio."""

    def abort(self) -> None: ...

    def get_extra_info(self, name: str) -> Any: ...

    def get_write_buffer_size(self) -> int: ...

    def is_closing(self) -> bool: ...


class ConnectionOutput:
    """The ``send`` that hypercorn's protocol of a connection gets.

    It is examined before hypercorn closes the connection, because a closed one cannot be examined
    any more. ``server``: hypercorn's server of the connection. ``written``: bytes, plain text with
    TLS; each is at least one byte on the wire. ``arrived``: those of them that the client's kernel
    has acknowledged, as :meth:`look` has seen it. ``undecided``: responses that may not have
    arrived. While there are some, hypercorn does not learn that the connection is idle: it closes
    idle connections at a stop.
    """

    def __init__(self, send: Callable[[ServerEvent], Awaitable[None]], *, is_tls: bool) -> None:
        self.server: Any = getattr(send, "__self__", None)
        self.written = 0
        self.arrived = 0
        self.undecided = 0
        self._send = send
        self._is_tls = is_tls
        self._written_before = 0
        self._received = Event()

    async def __call__(self, event: ServerEvent) -> None:
        if isinstance(event, Closed):
            self.look()
        elif isinstance(event, Updated) and event.idle and self.undecided:
            return
        await self._send(event)
        if isinstance(event, RawData):
            self.written += len(event.data)

    def look(self) -> None:
        """Update ``arrived``."""
        if not self.is_open or is_reset(descriptor := self.socket().fileno()):
            return
        transports = self.transports()
        waiting = send_queue(descriptor)
        waiting += sum(each.get_write_buffer_size() for each in transports)
        if not self._is_tls or len(transports) != 1:
            self.arrived = self.written - waiting
            return
        # uvloop's TLS does not show the buffer below it. It is empty when the kernel's is, twice.
        if not waiting:
            self.arrived = self._written_before
        self._written_before = 0 if waiting else self.written

    def note_received(self) -> None:
        """The client has sent bytes, or has ended."""
        self._received.set()
        self._received = Event()

    async def wait_received(self) -> None:
        await self._received.wait()

    @property
    def is_open(self) -> bool:
        if any(each.is_closing() for each in self.transports()):
            return False
        return self.socket().fileno() >= 0

    def transports(self) -> tuple[WriteTransport, ...]:
        """asyncio's transport; with TLS also the one below it (not with uvloop). None on Trio."""
        transport = getattr(getattr(self.server, "writer", None), "transport", None)
        below = getattr(getattr(transport, "_ssl_protocol", None), "_transport", None)
        return tuple(each for each in (transport, below) if each is not None)

    def socket(self) -> socket:
        found: socket
        if transports := self.transports():
            found = transports[0].get_extra_info("socket")
        else:
            stream = self.server.stream
            found = getattr(stream, "transport_stream", stream).socket
        return found
