"""All that is used of aioquic and is not public.

tests/server/http3/test_aioquic_inside.py fails with a version that has changed it. aioquic itself
does not report what has arrived, has one certificate for all names, lets a client send more before
the last bytes are read, and does not limit headers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pylsqpack
from aioquic.buffer import Buffer, encode_uint_var  # type: ignore[attr-defined]
from aioquic.h3.connection import FrameType, H3Connection, Setting, encode_frame
from aioquic.h3.events import Headers as H3Headers
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection, QuicConnectionState
from aioquic.quic.packet_builder import QuicPacketBuilder
from aioquic.quic.recovery import QuicPacketSpace
from aioquic.quic.stream import QuicStream, QuicStreamSender
from aioquic.tls import pull_client_hello

from .certificates import CONNECTION_BYTES, STREAM_BYTES

MAX_UNACKNOWLEDGED_BYTES = 64 * 1024
"""Bytes of a response that the client has not acknowledged. Beyond that its writer waits."""
FIELD_OVERHEAD = 32
"""Bytes that a field counts in addition to its name and value (RFC 9114, 4.2.2)."""


class StreamBuffer:
    """Bytes that were written to a stream, and how many of them the client has acknowledged."""

    def __init__(self, sender: QuicStreamSender) -> None:
        self._sender = sender

    @property
    def unacknowledged(self) -> int:
        """Bytes. After a reset they are never acknowledged."""
        return self._sender._buffer_stop - self._sender._buffer_start

    @property
    def has_arrived(self) -> bool:
        """Every byte and the end of the stream are acknowledged."""
        return self._sender.is_finished and self._sender._reset_error_code is None


class Quic(QuicConnection):
    """One connection.

    ``choose``: the configuration with the certificate for the name that a client requests (SNI);
    the name may be empty. ``unread``: bytes of a stream, or of all streams, that were not read.
    A client may send STREAM_BYTES of a stream, and CONNECTION_BYTES of all, beyond what was read.
    """

    tls: Any

    def __init__(
        self,
        choose: Callable[[str], QuicConfiguration],
        unread: Callable[[int | None], int],
        original_id: bytes,
        retry_id: bytes | None,
    ) -> None:
        self._choose = choose
        self._unread = unread
        super().__init__(
            configuration=choose(""),
            original_destination_connection_id=original_id,
            retry_source_connection_id=retry_id,
        )

    @property
    def is_over(self) -> bool:
        """The connection was closed by one of its sides, or has timed out."""
        return self._close_event is not None

    @property
    def close_code(self) -> int | None:
        """The code with which the client has closed the connection; None when it has not."""
        event = self._close_event
        is_theirs = event is not None and self._state is QuicConnectionState.DRAINING
        return event.error_code if event is not None and is_theirs else None

    def outgoing(self, stream_id: int) -> StreamBuffer:
        """The buffer of a stream from which something was received just now."""
        return StreamBuffer(self._streams[stream_id].sender)

    def stop_receiving(self, stream_id: int, code: int) -> None:
        """Tell the client to send no more of a request."""
        stream = self._streams.get(stream_id)
        if stream is not None and not stream.receiver.is_finished:
            stream.receiver.stop(code)

    def _initialize(self, peer_cid: bytes) -> None:
        super()._initialize(peer_cid)
        handle_hello = self.tls._server_handle_hello

        def choose_and_answer(hello: Buffer, *outputs: Buffer) -> None:
            whole = Buffer(data=hello.data_slice(0, hello.capacity))
            chosen = self._choose(pull_client_hello(whole).server_name or "")
            self.tls.certificate = chosen.certificate
            self.tls.certificate_chain = chosen.certificate_chain
            self.tls.certificate_private_key = chosen.private_key
            handle_hello(hello, *outputs)

        self.tls._server_handle_hello = choose_and_answer

    # aioquic doubles a limit when half of it is used, whether that was read or not. Here each limit
    # is set before aioquic writes it, and meanwhile nothing seems to be used.

    def _write_stream_limits(
        self, builder: QuicPacketBuilder, space: QuicPacketSpace, stream: QuicStream
    ) -> None:
        receiver = stream.receiver
        if stream.max_stream_data_local:
            read = receiver.starting_offset() - self._unread(stream.stream_id)
            stream.max_stream_data_local = raised_limit(
                stream.max_stream_data_local, read, STREAM_BYTES
            )
        highest, receiver.highest_offset = receiver.highest_offset, 0
        super()._write_stream_limits(builder, space, stream)
        receiver.highest_offset = highest

    def _write_connection_limits(self, builder: QuicPacketBuilder, space: QuicPacketSpace) -> None:
        receivers = [stream.receiver for stream in self._streams.values()]
        gaps = sum(each.highest_offset - each.starting_offset() for each in receivers)
        limit = self._local_max_data
        read = limit.used - self._unread(None) - gaps
        limit.value = raised_limit(limit.value, read, CONNECTION_BYTES)
        used, limit.used = limit.used, 0
        super()._write_connection_limits(builder, space)
        limit.used = used


def raised_limit(limit: int, read: int, window: int) -> int:
    """How far a client may send: ``window`` bytes beyond what was ``read``.

    The limit is only raised when it grows by half a window or more.
    """
    wanted = read + window
    return wanted if wanted - limit >= window // 2 else limit


class Http3(H3Connection):
    """Requests and responses of a connection.

    ``too_large``: streams with too large headers; only the pseudo-headers of these are kept. There
    is no dynamic table: with one a byte could stand for kilobytes of headers, and a request could
    wait for another.
    """

    def __init__(self, quic: Quic, header_bytes: int) -> None:
        self._header_bytes = header_bytes
        self.too_large: set[int] = set()
        super().__init__(quic)

    @property
    def buffered(self) -> int:
        """Bytes of frames that are not complete."""
        return sum(len(stream.buffer) for stream in self._stream.values())

    def end(self, stream_id: int) -> None:
        """Send the end of a response."""
        with self._get_or_create_stream(stream_id) as stream:
            stream.finish_sending()
        self._quic.send_stream_data(stream_id, b"", end_stream=True)

    def cut(self, stream_id: int, code: int) -> None:
        """Reset the stream: no more of the response is sent."""
        with self._get_or_create_stream(stream_id) as stream:
            stream.sending_ended = True
        self._quic.reset_stream(stream_id, code)

    def say_goaway(self, next_id: int) -> None:
        """Requests from ``next_id`` on get no response (RFC 9114, 5.2)."""
        frame = encode_frame(FrameType.GOAWAY, encode_uint_var(next_id))
        assert self._local_control_stream_id is not None
        self._quic.send_stream_data(self._local_control_stream_id, frame)

    def _init_connection(self) -> None:
        self._max_table_capacity = self._blocked_streams = 0
        self._decoder = pylsqpack.Decoder(0, 0)
        super()._init_connection()

    def _get_local_settings(self) -> dict[int, int]:
        settings = super()._get_local_settings()
        del settings[Setting.ENABLE_CONNECT_PROTOCOL]
        return {**settings, Setting.MAX_FIELD_SECTION_SIZE: self._header_bytes}

    def _decode_headers(self, stream_id: int, frame_data: bytes | None) -> H3Headers:
        headers = super()._decode_headers(stream_id, frame_data)
        size = sum(len(name) + len(value) + FIELD_OVERHEAD for name, value in headers)
        if size <= self._header_bytes:
            return headers
        self.too_large.add(stream_id)
        return [header for header in headers if header[0].startswith(b":")]
