"""One connection over HTTP/3: passes the events of aioquic to the server and to the requests."""

from __future__ import annotations

from math import inf
from typing import Protocol

from aioquic.h3.connection import ErrorCode
from aioquic.h3.events import DataReceived, H3Event, HeadersReceived
from aioquic.quic import events
from aioquic.quic.configuration import QuicConfiguration
from anyio import current_time

from ...core.asgi import Scope
from ..settings import Limits
from ..unsent import Unsent
from .aioquic_inside import Http3, Quic
from .cycle import Http3Cycle
from .datagrams import Datagrams
from .headers import MAX_HEADER_BYTES, header_limit, request_scope


class DatagramServer(Protocol):
    """The server of a connection: :class:`.server.Http3Server`."""

    limits: Limits
    unsent: Unsent
    is_stopping: bool

    def choose(self, name: str) -> QuicConfiguration:
        """The configuration for the name that a client requests."""
        ...

    def add_id(self, connection: Http3Connection, identity: bytes) -> None:
        """Datagrams to this ``identity`` are for the connection."""
        ...

    def remove_id(self, identity: bytes) -> None: ...

    def has_opened(self, connection: Http3Connection) -> None:
        """Its handshake is complete."""
        ...

    def start(self, cycle: Http3Cycle, scope: Scope | int) -> None:
        """Respond to a request, or refuse it with a status."""
        ...

    def flush(self, connection: Http3Connection) -> None:
        """Send what is written."""
        ...


class Http3Connection:
    """``cycles``: the requests whose responses have not arrived, by their stream.

    ``idle_since``: since then there is no request. ``wakes_at``: when the timers of the connection
    are due.
    """

    http3: Http3

    def __init__(
        self,
        server: DatagramServer,
        datagrams: Datagrams,
        original_id: bytes,
        retry_id: bytes | None,
    ) -> None:
        self.quic = Quic(server.choose, self._unread_bytes, original_id, retry_id)
        self.datagrams = datagrams
        self.cycles: dict[int, Http3Cycle] = {}
        self.ids: set[bytes] = set()
        self.idle_since = current_time()
        self.wakes_at = inf
        self.all_unsent = server.unsent
        self._has_protocol = False
        self._next_stream_id = 0
        self._server = server

    def _unread_bytes(self, stream_id: int | None) -> int:
        """Bytes of one stream that the application has not read; None: of all streams."""
        if stream_id is None:
            return sum(cycle.unread for cycle in self.cycles.values())
        cycle = self.cycles.get(stream_id)
        return cycle.unread if cycle is not None else 0

    def has_room(self) -> bool:
        size = sum(cycle.unsent() for cycle in self.cycles.values())
        return size <= self._server.limits.connection_unsent_bytes

    def flush(self) -> None:
        self._server.flush(self)

    def release(self, stream_id: int) -> None:
        cycle = self.cycles.pop(stream_id, None)
        if cycle is not None and cycle.unread:
            self.flush()  # other requests may send these bytes now
        self.idle_since = current_time()
        if self._server.is_stopping and not self.cycles:
            self.close()

    def say_goaway(self) -> None:
        """Finish the requests that have come, and take no further ones."""
        if self._has_protocol:
            self.http3.say_goaway(self._next_stream_id)
        if not self.cycles:
            self.close()
        for cycle in self.cycles.values():
            cycle.shorten_wait()
        self.flush()

    def close(self) -> None:
        self.quic.close(error_code=ErrorCode.H3_NO_ERROR)
        self.flush()

    def take_events(self) -> None:
        """Handle what a datagram or a timer has caused."""
        while (event := self.quic.next_event()) is not None:
            self._take(event)
        is_over = self.quic.is_over
        for cycle in tuple(self.cycles.values()):
            if is_over:
                cycle.lost()
            else:
                cycle.wake()

    def _take(self, event: events.QuicEvent) -> None:
        if isinstance(event, events.ConnectionIdIssued):
            self._server.add_id(self, event.connection_id)
        elif isinstance(event, events.ConnectionIdRetired):
            self._server.remove_id(event.connection_id)
        elif isinstance(event, events.HandshakeCompleted):
            self._server.has_opened(self)
        elif isinstance(event, events.ProtocolNegotiated):
            self.http3 = Http3(self.quic, header_limit(self._server.limits))
            self._has_protocol = True
        elif self._has_protocol:
            self._take_of_stream(event)

    def _take_of_stream(self, event: events.QuicEvent) -> None:
        for http_event in self.http3.handle_event(event):
            self._take_http(http_event)
        if isinstance(event, events.StreamReset | events.StopSendingReceived):
            if (cycle := self.cycles.get(event.stream_id)) is not None:
                cycle.lost()
        elif self.http3.buffered > MAX_HEADER_BYTES:
            # Frames of headers, and of settings, are kept until they are whole.
            self.quic.close(error_code=ErrorCode.H3_EXCESSIVE_LOAD)

    def _take_http(self, event: H3Event) -> None:
        if isinstance(event, HeadersReceived):
            # Trailers have no pseudo-headers. They are ignored.
            if event.headers and event.headers[0][0].startswith(b":"):
                self._begin(event)
        elif not isinstance(event, DataReceived):
            return
        cycle = self.cycles.get(event.stream_id)
        if cycle is not None:
            if isinstance(event, DataReceived):
                cycle.take_body(event.data)
            if event.stream_ended:
                cycle.end_body()

    def _begin(self, event: HeadersReceived) -> None:
        server, stream_id = self._server, event.stream_id
        if server.is_stopping:
            self.http3.cut(stream_id, ErrorCode.H3_REQUEST_REJECTED)
            self.quic.stop_receiving(stream_id, ErrorCode.H3_REQUEST_REJECTED)
            return
        self._next_stream_id = max(self._next_stream_id, stream_id + 4)
        client = (self.quic.get_peer_address() or ())[:2]
        scope = request_scope(event.headers, server.limits, client, self.datagrams.address)
        if stream_id in self.http3.too_large:
            self.http3.too_large.discard(stream_id)
            scope = 431
        is_head = not isinstance(scope, int) and scope["method"] == "HEAD"
        cycle = Http3Cycle(self, stream_id, is_head, server.limits.answer_time)
        self.cycles[stream_id] = cycle
        server.start(cycle, scope)
