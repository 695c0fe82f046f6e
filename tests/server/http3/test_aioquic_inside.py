"""What gateway/server/http3/aioquic_inside.py leans on is there: a new version that fails here
may tell that an answer has arrived when it has not. Read that file again before the bound in
pyproject.toml is raised_limit.
"""

from __future__ import annotations

import inspect

import pytest
from aioquic.buffer import Buffer  # type: ignore[attr-defined]
from aioquic.h3.connection import H3Connection
from aioquic.quic.connection import QuicConnection
from aioquic.quic.packet_builder import QuicDeliveryState
from aioquic.quic.stream import QuicStreamSender
from aioquic.tls import Context

from gateway.server.http3.aioquic_inside import Http3, Quic, StreamBuffer, raised_limit

ACKED, LOST = QuicDeliveryState.ACKED, QuicDeliveryState.LOST


@pytest.mark.parametrize(
    ("where", "names"),
    [
        (QuicConnection, ["_initialize", "_write_stream_limits", "_write_connection_limits"]),
        (H3Connection, ["_decode_headers", "_get_local_settings", "_init_connection"]),
        (H3Connection, ["_get_or_create_stream"]),
        (Context, ["_server_handle_hello"]),
    ],
)
def test_methods_that_are_replaced_or_used_are_there(where: type, names: list[str]) -> None:
    for name in names:
        assert callable(getattr(where, name, None)), f"{where.__name__}.{name}"


@pytest.mark.parametrize(
    ("ours", "theirs", "name"),
    [
        (Quic, QuicConnection, "_initialize"),
        (Quic, QuicConnection, "_write_stream_limits"),
        (Quic, QuicConnection, "_write_connection_limits"),
        (Http3, H3Connection, "_decode_headers"),
        (Http3, H3Connection, "_get_local_settings"),
        (Http3, H3Connection, "_init_connection"),
    ],
)
def test_methods_take_what_they_took(ours: type, theirs: type, name: str) -> None:
    names = [list(inspect.signature(getattr(each, name)).parameters) for each in (ours, theirs)]
    assert names[0] == names[1]


def test_fields_are_where_they_were() -> None:
    source = inspect.getsource(QuicConnection)
    for field in ("_close_event", "_state", "_streams"):
        assert f"self.{field}: " in source or f"self.{field} = " in source, field
    source = inspect.getsource(H3Connection)
    for field in ("_max_table_capacity", "_blocked_streams", "_decoder", "_stream"):
        assert f"self.{field}" in source, field
    hello = list(inspect.signature(Context._server_handle_hello).parameters)
    assert hello[:2] == ["self", "input_buf"]
    buffer = Buffer(data=b"abc")
    assert buffer.data_slice(0, buffer.capacity) == b"abc"


def test_a_limit_of_which_half_is_used_is_doubled_by_aioquic_alone() -> None:
    source = inspect.getsource(QuicConnection._write_connection_limits)
    assert "if max_data.used * 2 > max_data.value:" in source
    source = inspect.getsource(QuicConnection._write_stream_limits)
    assert "stream.receiver.highest_offset * 2 > stream.max_stream_data_local" in source


@pytest.mark.parametrize(
    ("limit", "read", "expected"), [(100, 0, 100), (100, 49, 100), (100, 50, 150), (150, 150, 250)]
)
def test_a_limit_is_a_window_beyond_what_was_read(limit: int, read: int, expected: int) -> None:
    assert raised_limit(limit, read, 100) == expected


def test_what_has_arrived_is_what_was_acknowledged() -> None:
    sender = QuicStreamSender(stream_id=0, writable=True)
    outgoing = StreamBuffer(sender)
    sender.write(b"0123456789")
    assert outgoing.unacknowledged == 10
    sender.get_frame(5)
    sender.get_frame(5)
    sender.on_data_delivery(ACKED, 5, 10, False)
    assert outgoing.unacknowledged == 10  # the first half may still be missed
    sender.on_data_delivery(LOST, 0, 5, False)
    assert outgoing.unacknowledged == 10
    sender.get_frame(5)
    sender.on_data_delivery(ACKED, 0, 5, False)
    assert (outgoing.unacknowledged, outgoing.has_arrived) == (0, False)
    sender.write(b"", end_stream=True)
    sender.get_frame(5)
    assert not outgoing.has_arrived
    sender.on_data_delivery(ACKED, 10, 10, True)
    assert outgoing.has_arrived


def test_a_reset_that_was_acknowledged_is_no_answer_that_has_arrived() -> None:
    sender = QuicStreamSender(stream_id=0, writable=True)
    sender.write(b"0123456789", end_stream=True)
    sender.get_frame(20)
    sender.reset(error_code=1)
    sender.get_reset_frame()
    sender.on_reset_delivery(ACKED)
    sender.on_data_delivery(ACKED, 0, 10, True)
    assert sender.is_finished
    assert not StreamBuffer(sender).has_arrived
