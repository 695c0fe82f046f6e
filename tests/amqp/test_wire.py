"""Recorded-like streams, made with pamqp, cut wherever a socket may cut them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pamqp.frame
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands
from pamqp.base import Frame
from pamqp.body import ContentBody
from pamqp.header import ContentHeader
from pamqp.heartbeat import Heartbeat

from gateway.amqp.wire import codec
from gateway.amqp.wire.delivery_fast_path import RawDelivery
from gateway.amqp.wire.message import decode_route

from .codec import decode_properties

TAPPED = 3


class Sink:
    def __init__(self) -> None:
        self.messages: list[RawDelivery] = []
        self.runs = 0
        self.empty = 0
        self.closing: list[codec.ChannelClose] = []

    def delivered(self, messages: Sequence[RawDelivery]) -> None:
        self.messages += messages
        self.runs += 1

    def fetch_ended(self, found: bool) -> None:
        self.empty += not found

    def closed(self, closing: codec.ChannelClose) -> None:
        self.closing.append(closing)


def marshal(frame: Frame | ContentHeader | ContentBody | Heartbeat, channel: int = TAPPED) -> bytes:
    return pamqp.frame.marshal(frame, channel)


def content(body: bytes, frame_size: int, channel: int = TAPPED) -> bytes:
    properties = commands.Basic.Properties(content_type="application/json", message_id="m")
    chunks = [body[at : at + frame_size] for at in range(0, len(body), frame_size)]
    return marshal(ContentHeader(0, len(body), properties), channel) + b"".join(
        marshal(ContentBody(chunk), channel) for chunk in chunks
    )


def delivery(tag: int, body: bytes, frame_size: int = 1000, channel: int = TAPPED) -> bytes:
    method = commands.Basic.Deliver("ctag", tag, tag % 2 == 0, "ex", f"key.{tag}")
    return marshal(method, channel) + content(body, frame_size, channel)


def receive(chunks: list[bytes]) -> tuple[Sink, bytes]:
    sink, forwarded = Sink(), bytearray()
    receiver = codec.Receiver(forwarded.extend)
    receiver.sinks[TAPPED] = sink
    for chunk in chunks:
        receiver.feed(chunk)
    return sink, bytes(forwarded)


OTHERS = (
    marshal(Heartbeat(), 0),
    marshal(commands.Basic.QosOk()),
    delivery(9, b"not tapped", channel=4),
    marshal(commands.Basic.Cancel("ctag")),
    marshal(commands.Connection.Blocked("memory"), 0),
)
STREAM = (
    OTHERS[0]
    + delivery(1, b'{"n":1}')
    + OTHERS[1]
    + delivery(2, b"")
    + OTHERS[2]
    + delivery(3, b"x" * 2500)
    + OTHERS[3]
    + marshal(commands.Basic.GetOk(4, False, "ex", "key.4", 7))
    + content(b"fetched", 1000)
    + marshal(commands.Basic.GetEmpty())
    + OTHERS[4]
)


def check(sink: Sink, forwarded: bytes) -> None:
    assert [(tag, again, body) for tag, again, _, _, body in sink.messages] == [
        (1, False, b'{"n":1}'),
        (2, True, b""),
        (3, False, b"x" * 2500),
        (4, False, b"fetched"),
    ]
    assert [decode_route(message[2]) for message in sink.messages] == [
        ("ex", f"key.{tag}") for tag in (1, 2, 3, 4)
    ]
    assert {decode_properties(message[3]).message_id for message in sink.messages} == {"m"}
    assert sink.empty == 1
    assert forwarded == b"".join(OTHERS)


def test_a_stream_in_one_piece() -> None:
    check(*receive([STREAM]))


def test_a_stream_cut_in_two_at_every_byte() -> None:
    for cut in range(len(STREAM)):
        check(*receive([STREAM[:cut], STREAM[cut:]]))


def test_a_stream_byte_by_byte() -> None:
    check(*receive([STREAM[at : at + 1] for at in range(len(STREAM))]))


@given(st.lists(st.integers(0, len(STREAM)), max_size=20))
def test_a_stream_cut_anywhere(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(STREAM)]
    check(*receive([STREAM[a:b] for a, b in pairwise(places)]))


@given(st.lists(st.binary(max_size=50), max_size=8), st.integers(1, 9))
def test_messages_of_two_channels_may_interleave(bodies: list[bytes], frame_size: int) -> None:
    streams = [
        [delivery(tag, body, frame_size, channel) for tag, body in enumerate(bodies, 1)]
        for channel in (TAPPED, TAPPED + 1)
    ]
    sinks = [Sink(), Sink()]
    receiver = codec.Receiver(lambda frame: None)
    receiver.sinks.update({TAPPED: sinks[0], TAPPED + 1: sinks[1]})
    for pair in zip(*streams, strict=True):
        frames = [list(_frames(stream)) for stream in pair]
        for number in range(max(map(len, frames))):
            for of_channel in frames:
                receiver.feed(b"".join(of_channel[number : number + 1]))
    for sink in sinks:
        assert [message[4] for message in sink.messages] == bodies


def test_deliveries_with_the_same_layout_come_in_one_call() -> None:
    sinks = Sink(), Sink()
    receiver = codec.Receiver(lambda frame: None)
    receiver.sinks.update({TAPPED: sinks[0], TAPPED + 1: sinks[1]})
    alike = [delivery(tag, b"%d" % tag) for tag in (1, 3, 5, 7)]
    receiver.feed(b"".join(alike) + delivery(2, b"b", channel=TAPPED + 1) + alike[0][:-1])
    assert [[message[0] for message in sink.messages] for sink in sinks] == [[1, 3, 5, 7], [2]]
    assert [sink.runs for sink in sinks] == [1, 1]
    receiver.feed(alike[0][-1:])
    assert sinks[0].messages[4:] == sinks[0].messages[:1]


def _frames(stream: bytes) -> list[bytes]:
    frames = []
    while stream:
        size = 8 + int.from_bytes(stream[3:7], "big")
        frames.append(stream[:size])
        stream = stream[size:]
    return frames


def test_after_release_the_frames_of_a_channel_are_forwarded() -> None:
    forwarded = bytearray()
    receiver = codec.Receiver(forwarded.extend)
    receiver.sinks[TAPPED] = Sink()
    receiver.feed(marshal(commands.Basic.Deliver("c", 1, False, "", "q")))
    receiver.release(TAPPED)
    receiver.feed(marshal(ContentHeader(0, 0, commands.Basic.Properties())))
    assert forwarded == marshal(ContentHeader(0, 0, commands.Basic.Properties()))


@pytest.mark.parametrize(
    "stream",
    [
        marshal(Heartbeat(), 0)[:-1] + b"\x00",
        marshal(commands.Basic.Deliver("c", 1, False, "", "q"))
        + marshal(ContentHeader(0, 2, commands.Basic.Properties()))
        + marshal(ContentBody(b"abc")),
    ],
    ids=["no end octet", "body longer than announced"],
)
def test_bytes_that_are_not_amqp_are_an_error(stream: bytes) -> None:
    with pytest.raises(codec.WireError):
        receive([stream])


class FrameByFrame(codec.Receiver):
    """Reads every delivery frame by frame."""

    def _learns_layout(self, channel: int, data: bytes, start: int, following: int) -> bool:
        return False


KINDS = st.tuples(
    st.sampled_from([TAPPED, TAPPED + 1]),
    st.sampled_from(["a", "longer"]),
    st.sampled_from(["k", "key.1"]),
    st.sampled_from([None, "m", "n"]),
    st.sampled_from([b"", b"{}", b"[1,2]", b"x" * 30]),
    st.sampled_from([10, 1000]),
)
"""Channel, consumer tag, routing key, message id, body, frame size."""


def stream_of(kinds: list[tuple[int, str, str, str | None, bytes, int]]) -> bytes:
    stream = b""
    for tag, (channel, consumer, key, message_id, body, frame_size) in enumerate(kinds, 1):
        method = commands.Basic.Deliver(consumer, tag, False, "ex", key)
        known = commands.Basic.Properties(message_id=message_id)
        stream += marshal(method, channel) + marshal(ContentHeader(0, len(body), known), channel)
        for at in range(0, len(body), frame_size):
            stream += marshal(ContentBody(body[at : at + frame_size]), channel)
    return stream


def received_by(make: type[codec.Receiver], chunks: list[bytes]) -> tuple[list[Any], bytes, bool]:
    sinks, forwarded = [Sink(), Sink()], bytearray()
    receiver = make(forwarded.extend)
    receiver.sinks.update({TAPPED: sinks[0], TAPPED + 1: sinks[1]})
    is_broken = False
    try:
        for chunk in chunks:
            receiver.feed(chunk)
    except Exception:  # whatever it is, the connection ends
        is_broken = True
    return [sink.messages for sink in sinks], bytes(forwarded), is_broken


@given(st.lists(KINDS, max_size=12), st.lists(st.integers(0, 2000), max_size=6))
def test_the_fast_path_reads_every_stream_of_deliveries_correctly(
    kinds: list[tuple[int, str, str, str | None, bytes, int]], cuts: list[int]
) -> None:
    stream = stream_of(kinds)
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    chunks = [stream[a:b] for a, b in pairwise(places)]
    messages, forwarded, is_broken = received_by(codec.Receiver, chunks)
    assert not is_broken
    assert not forwarded
    for channel, received in enumerate(messages, TAPPED):
        assert [(tag, decode_route(route), body) for tag, _, route, _, body in received] == [
            (tag, ("ex", key), body)
            for tag, (of, _, key, _, body, _) in enumerate(kinds, 1)
            if of == channel
        ]
        assert [decode_properties(properties).message_id for *_, properties, _ in received] == [
            message_id for of, _, _, message_id, _, _ in kinds if of == channel
        ]


@given(
    st.lists(KINDS, min_size=2, max_size=4),
    st.lists(st.tuples(st.integers(0, 500), st.integers(0, 255)), min_size=1, max_size=3),
)
def test_malformed_deliveries_fail_as_when_they_are_read_frame_by_frame(
    kinds: list[tuple[int, str, str, str | None, bytes, int]], changes: list[tuple[int, int]]
) -> None:
    stream = bytearray(stream_of(kinds))
    for at, byte in changes:
        stream[at % len(stream)] = byte
    assert received_by(codec.Receiver, [bytes(stream)]) == received_by(
        FrameByFrame, [bytes(stream)]
    )


def test_every_byte_around_a_body_is_checked() -> None:
    kind = (TAPPED, "a", "k", "m", b"{}", 1000)
    first, both = stream_of([kind]), stream_of([kind, kind])
    for at in range(len(first), len(both)):
        stream = bytearray(both)
        stream[at] ^= 0x41
        assert received_by(codec.Receiver, [bytes(stream)]) == received_by(
            FrameByFrame, [bytes(stream)]
        ), at


def test_frames_are_encoded_as_by_pamqp() -> None:
    assert codec.ack(7, 2**40, multiple=True) == marshal(commands.Basic.Ack(2**40, True), 7)
    assert codec.ack(7, 5) == marshal(commands.Basic.Ack(5, False), 7)
    assert codec.nack(7, 5) == marshal(commands.Basic.Nack(5, False, True), 7)
    assert codec.nack(7, 9, multiple=True) == marshal(commands.Basic.Nack(9, True, True), 7)
    assert codec.reject(7, 5) == marshal(commands.Basic.Reject(5, False), 7)
    assert codec.get(7, "hare") == marshal(commands.Basic.Get(0, "hare", False), 7)
    assert marshal(Heartbeat(), 0) == codec.HEARTBEAT


def closing_frame(method: bytes, channel: int, text: bytes) -> bytes:
    payload = method + b"\x01\x96" + bytes([len(text)]) + text + b"\x00\x3c\x00\x50"
    return b"\x01" + struct.pack(">HI", channel, len(payload)) + payload + b"\xce"


def test_a_channel_close_is_reported_at_once_and_forwarded_with_valid_utf_8() -> None:
    sink, handed_on, closed = Sink(), list[bytes](), list[tuple[int, str]]()
    receiver = codec.Receiver(handed_on.append, closing=lambda *close: closed.append(close))
    receiver.sinks[TAPPED] = sink
    cut = "unknown queue 'ü".encode()[:-1]
    for channel in (TAPPED, TAPPED + 1):
        receiver.feed(closing_frame(codec.CHANNEL_CLOSE, channel, cut))
    receiver.feed(closing_frame(codec.CONNECTION_CLOSE, 0, cut))
    assert [closing.code for closing in sink.closing] == [406]
    assert closed == [(406, "unknown queue '")]
    closes = [pamqp.frame.unmarshal(frame)[2] for frame in handed_on]
    assert [close.reply_text for close in closes] == ["unknown queue '"] * 3  # type: ignore[union-attr]
    assert {(close.class_id, close.method_id) for close in closes} == {(60, 80)}  # type: ignore[union-attr]


def test_a_frame_beyond_the_bound_is_an_error() -> None:
    receiver = codec.Receiver(lambda frame: None)
    receiver.frame_max = 4096
    with pytest.raises(codec.WireError, match="a frame of 5000 bytes"):
        receiver.feed(struct.pack(">BHIB", 1, 0, 5000, 0))


def test_a_body_beyond_the_bound_is_an_error() -> None:
    receiver = codec.Receiver(lambda frame: None)
    receiver.sinks[TAPPED] = Sink()
    receiver.feed(marshal(commands.Basic.Deliver("t", 1, False, "", "q"), TAPPED))
    with pytest.raises(codec.WireError, match="a body of"):
        receiver.feed(marshal(ContentHeader(0, codec.MAX_MESSAGE + 1), TAPPED))
