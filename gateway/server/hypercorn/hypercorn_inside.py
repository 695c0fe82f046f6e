"""All that is used of hypercorn and is not public.

tests/server/test_hypercorn_inside.py fails with a version that has changed it. hypercorn switches
to HTTP/2 on a client's ``Upgrade: h2c``, treats bytes after the last request of a connection as an
error, and on Trio an unforeseen error in one connection of HTTP/2 ends its server. Here its
protocols are replaced, for configurations of the gateway alone.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import ModuleType
from typing import Any

import h2.events
import h2.exceptions
import h2.settings
import h11
from anyio import Event, current_time, sleep
from anyio.lowlevel import checkpoint
from h2.errors import ErrorCodes
from hypercorn.config import Config
from hypercorn.events import Closed, RawData, Updated
from hypercorn.events import Event as ServerEvent
from hypercorn.protocol import ProtocolWrapper
from hypercorn.protocol.events import Body, StreamClosed
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.h2 import H2Protocol
from hypercorn.protocol.h11 import H2ProtocolAssumedError, H11Protocol

from ...telemetry.logs import get_logger
from ..http1.request_head import MAX_FIELDS, TARGET, host_of, is_host, path_of
from ..settings import Limits
from .http2_frames import FrameFlood, Frames
from .output import ConnectionOutput

log = get_logger("gateway.server")

LAST_FRAME_CHECK_INTERVAL = 0.01
"""Seconds between two checks, during a stop, whether the end of a response is written."""


class EdgeConfig(Config):
    """A configuration of the gateway. Connections with it use the protocols of this module."""

    limits: Limits


def install(tcp_server: ModuleType) -> None:
    """Replace the protocols of ``hypercorn.asyncio.tcp_server``, or of Trio's."""
    if tcp_server.ProtocolWrapper is not _build_protocol:
        tcp_server.ProtocolWrapper = _build_protocol  # type: ignore[attr-defined]
        tcp_server.TCPServer._close = _ignoring_os_errors(tcp_server.TCPServer._close)


def _build_protocol(app: Any, config: Config, *others: Any) -> ConnectionProtocol | ProtocolWrapper:
    protocol_class = ConnectionProtocol if isinstance(config, EdgeConfig) else ProtocolWrapper
    return protocol_class(app, config, *others)


def _ignoring_os_errors(
    close: Callable[[Any], Awaitable[None]],
) -> Callable[[Any], Awaitable[None]]:
    """After the kernel has given up a connection (ETIMEDOUT, TCP_USER_TIMEOUT), asyncio raises the
    error once more when hypercorn closes it, and hypercorn does not handle it."""

    async def close_and_ignore_os_errors(server: Any) -> None:
        try:
            await close(server)
        except OSError:
            if not isinstance(server.config, EdgeConfig):
                raise

    return close_and_ignore_os_errors


@asynccontextmanager
async def guarded(close: Callable[[ServerEvent], Awaitable[None]]) -> AsyncGenerator[None]:
    """An unforeseen error ends its connection alone."""
    try:
        yield
    except OSError:
        raise  # hypercorn handles errors of the socket
    except Exception as error:
        log.error("HTTP: an internal error ends a connection", exc_info=error)
        await close(Closed())


class ConnectionProtocol:
    """The protocol of one connection, with HTTP/1.1 or HTTP/2. It replaces ProtocolWrapper."""

    def __init__(self, *settings: Any) -> None:
        *self._settings, is_tls, client, server, send, alpn_protocol = settings
        self._send = ConnectionOutput(send, is_tls=is_tls)
        self._settings += (is_tls, client, server, self._send)
        protocol_class = Http2 if alpn_protocol == "h2" else Http11
        self.protocol: Http11 | Http2 = protocol_class(*self._settings)

    async def initiate(self) -> None:
        await self.protocol.initiate()

    async def handle(self, event: ServerEvent) -> None:
        self._send.note_received()
        async with guarded(self._send):
            try:
                await self.protocol.handle(event)
            except H2ProtocolAssumedError as error:
                self.protocol = Http2(*self._settings)
                await self.protocol.initiate()
                # The preface of HTTP/2 is not a request: the connection is idle until one comes.
                await self._send(Updated(idle=True))
                await self.protocol.handle(RawData(error.data))
        if isinstance(event, Closed):
            await self._send(
                Updated(idle=False)
            )  # otherwise hypercorn keeps it until the idle timeout


class Http11(H11Protocol):
    """HTTP/1.1."""

    def __init__(self, *settings: Any) -> None:
        super().__init__(*settings)
        self.connection = RequestParser(self.config.h11_max_incomplete_size)
        self._is_closed = False

    @property
    def idle(self) -> bool:
        """No request runs."""
        return self.stream is None

    @property
    def stays_open(self) -> bool:
        """Whether the connection stays open after the response."""
        return not self._is_closed and self.connection.their_state is h11.DONE

    async def handle(self, event: ServerEvent) -> None:
        self._is_closed = self._is_closed or isinstance(event, Closed)
        await super().handle(event)

    async def _maybe_recycle(self) -> None:
        await super()._maybe_recycle()
        if self._is_closed:
            await self.send(Updated(idle=False))  # as in ConnectionProtocol.handle


class RequestParser(h11.Connection):
    """Parses the requests of a connection, and refuses or changes those that h11 would pass on."""

    def __init__(self, header_bytes: int) -> None:
        super().__init__(h11.SERVER, max_incomplete_event_size=header_bytes)
        self._lines = 0
        self._is_first = True

    def receive_data(self, data: bytes) -> None:
        """Bytes after the last request belong to no request (RFC 9112, 9.6)."""
        if self.their_state is h11.MUST_CLOSE and data:
            return
        self._lines += data.count(b"\n")
        super().receive_data(data)

    def next_event(self) -> Any:
        if self.their_state is h11.MUST_CLOSE:
            return h11.NEED_DATA
        if self.their_state is h11.IDLE and self._lines > MAX_FIELDS + 2:
            waiting = self.trailing_data[0]
            self._lines = waiting.count(b"\n")
            if waiting.partition(b"\r\n\r\n")[0].count(b"\n") > MAX_FIELDS:
                raise h11.RemoteProtocolError("too many header fields", error_status_hint=431)
        event = super().next_event()
        if isinstance(event, h11.Request):
            event = self._normalized(event)
            self._is_first = False
        return event

    def _normalized(self, request: h11.Request) -> h11.Request:
        """The request in origin form, and without ``Upgrade``."""
        if request.http_version not in (b"1.1", b"1.0") and not (
            self._is_first and request.method == b"PRI"
        ):
            raise h11.RemoteProtocolError("unknown version of HTTP", error_status_hint=505)
        headers = [header for header in request.headers if header[0] != b"upgrade"]
        target = request.target
        if (host := host_of(target)) is not None:
            if not is_host(host):
                raise h11.RemoteProtocolError("invalid host", error_status_hint=400)
            headers = [header for header in headers if header[0] != b"host"]
            headers.insert(0, (b"host", host))
            target = path_of(target)
        if target is request.target and len(headers) == len(request.headers):
            return request
        return h11.Request(
            method=request.method,
            headers=headers,
            target=target,
            http_version=request.http_version,
        )


class Http2(H2Protocol):
    """``unsent_size``: bytes of responses that wait for the client."""

    stays_open = True

    def __init__(self, *settings: Any) -> None:
        super().__init__(*settings)
        config = self.config
        assert isinstance(config, EdgeConfig)
        codes = h2.settings.SettingCodes
        self.connection.local_settings = h2.settings.Settings(
            client=False,  # without ENABLE_CONNECT_PROTOCOL
            initial_values={
                codes.MAX_CONCURRENT_STREAMS: config.h2_max_concurrent_streams,
                codes.MAX_HEADER_LIST_SIZE: config.h2_max_header_list_size,
            },
        )
        self._frames = Frames(current_time())
        self._room: Event | None = None
        self._limits = config.limits
        self.unsent_size = 0

    # What the client has not read.

    def wait(self, size: int) -> None:
        """``size`` more bytes wait for the client; negative: less."""
        self.unsent_size += size
        if self._room is not None and self.unsent_size <= self._limits.connection_unsent_bytes:
            self._room.set()
            self._room = None

    async def has_room(self) -> None:
        """Wait until the client has read enough of its earlier responses."""
        while self.unsent_size > self._limits.connection_unsent_bytes:
            if self._room is None:
                self._room = Event()
            await self._room.wait()

    def reset(self, stream_id: int) -> None:
        """Send no more of a response. Other streams of the connection go on."""
        self.task_group.spawn(self._reset, stream_id)

    async def _reset(self, stream_id: int) -> None:
        async with guarded(self.send):
            try:
                self.connection.reset_stream(stream_id, ErrorCodes.INTERNAL_ERROR)
            except h2.exceptions.ProtocolError:  # the stream has ended meanwhile
                return
            if (buffer := self.stream_buffers.get(stream_id)) is not None:
                await buffer.close()
            self.priority.unblock(stream_id)  # send_task() removes it
            await self.has_data.set()
            await self._close_stream(stream_id)
            await self._flush()

    # What the client sends.

    async def handle(self, event: ServerEvent) -> None:
        if not isinstance(event, RawData):
            await super().handle(event)
            return
        try:
            for number, piece in enumerate(self._frames.pieces(event.data, current_time())):
                if number:
                    await checkpoint()
                await super().handle(RawData(piece))
        except FrameFlood:
            log.info(
                "HTTP/2: connection closed: the client sends too many frames without a request"
            )
            self.connection.close_connection(ErrorCodes.ENHANCE_YOUR_CALM)
            await self._flush()
            await self.send(Closed())

    async def send_task(self) -> None:
        async with guarded(self.send):
            await super().send_task()

    async def stream_send(self, event: StreamEvent) -> None:
        if isinstance(event, Body):
            self._frames.allow_window_updates(len(event.data))
        elif isinstance(event, StreamClosed) and self.context.terminated.is_set():
            await self.end_written(event.stream_id)  # hypercorn may close the connection now
        async with guarded(self.send):
            await super().stream_send(event)
        if self.closed and isinstance(event, StreamClosed):
            await self.send(Updated(idle=False))  # as in ConnectionProtocol.handle

    async def end_written(self, stream_id: int) -> None:
        """Wait until ``send_task`` has written the end of a complete response."""
        while (
            not self.closed
            and (buffer := self.stream_buffers.get(stream_id)) is not None
            and buffer.complete
        ):
            await sleep(LAST_FRAME_CHECK_INTERVAL)

    async def _handle_events(self, events: list[h2.events.Event]) -> None:
        for event in events:
            if isinstance(event, h2.events.DataReceived) and event.stream_id not in self.streams:
                # The rest of a body whose request has its response.
                self.connection.acknowledge_received_data(
                    event.flow_controlled_length or 0, event.stream_id
                )
            else:
                await super()._handle_events([event])
        await self._flush()

    async def _priority_updated(self, event: h2.events.PriorityUpdated) -> None:
        """Ignored: priorities are deprecated (RFC 9113, 5.3.2)."""

    async def _create_stream(self, request: h2.events.RequestReceived) -> None:
        status = 0
        for name, value in request.headers or ():
            if name == b":method" and value.upper() == b"CONNECT":
                status = 405
            elif name == b":path" and not TARGET.fullmatch(value):
                status = status or 400
        if not status:
            await super()._create_stream(request)
            return
        self.connection.send_headers(request.stream_id, [(b":status", b"%d" % status)], True)
        self.connection.reset_stream(request.stream_id, ErrorCodes.NO_ERROR)
        await self._flush()
