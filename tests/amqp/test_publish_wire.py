"""Publishing as bytes, held against a library; confirms and returns, cut anywhere."""

from __future__ import annotations

from itertools import pairwise

import pamqp.frame
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands
from pamqp.base import Frame
from pamqp.body import ContentBody
from pamqp.header import ContentHeader

from gateway.amqp.wire import codec
from gateway.amqp.wire.message import (
    ChosenProperties,
    encode_properties,
    encode_shared,
    encode_time,
)
from gateway.amqp.wire.properties import MESSAGE_ID, PRIORITY, split_properties

CHANNEL = 5
TIME = encode_time(100)
ORIGIN = encode_shared(b"text/plain", b"", {}, 2)
PROPERTIES = encode_properties(ORIGIN, ChosenProperties(), b"m-1", encode_time(77))


class ConfirmListener:
    def __init__(self) -> None:
        self.received: list[object] = []

    def confirmed(self, tag: int, is_multiple: bool, is_ack: bool) -> None:
        self.received.append((tag, is_multiple, is_ack))

    def returned(self, properties: bytes, reason: str) -> None:
        self.received.append((split_properties(properties)[MESSAGE_ID][1:], reason))

    def processed(self) -> None:
        self.received.append("processed")

    def closed(self, closing: codec.ChannelClose) -> None:
        self.received.append(closing)


def marshal(frame: Frame | ContentHeader | ContentBody, channel: int = CHANNEL) -> bytes:
    return pamqp.frame.marshal(frame, channel)


def returned(body: bytes) -> bytes:
    properties = commands.Basic.Properties(message_id="m-1")
    chunks = [body[at : at + 10] for at in range(0, len(body), 10)]
    return (
        marshal(commands.Basic.Return(312, "NO_ROUTE", "ex", "key"))
        + marshal(ContentHeader(0, len(body), properties))
        + b"".join(marshal(ContentBody(chunk)) for chunk in chunks)
    )


OTHERS = (
    marshal(commands.Exchange.DeclareOk()),
    marshal(commands.Connection.Blocked("memory"), 0),
    marshal(commands.Basic.Ack(9, True), CHANNEL + 1),
    marshal(commands.Connection.Unblocked(), 0),
)
CLOSE = marshal(commands.Channel.Close(403, "refused: schlüssel", 60, 40))
AFTER_CLOSE = marshal(commands.Basic.Ack(7, False))
STREAM = (
    OTHERS[0]
    + marshal(commands.Basic.Ack(1, False))
    + OTHERS[1]
    + returned(b"x" * 25)
    + marshal(commands.Basic.Ack(3, True))
    + returned(b"")
    + OTHERS[2]
    + marshal(commands.Basic.Nack(4, False, False))
    + marshal(commands.Basic.Nack(6, True, False))
    + marshal(commands.Confirm.SelectOk())
    + OTHERS[3]
    + CLOSE
    + AFTER_CLOSE
)


@given(st.lists(st.integers(0, len(STREAM)), max_size=20))
def test_confirms_and_returns_are_decoded_and_other_frames_forwarded(cuts: list[int]) -> None:
    confirms, forwarded, blocked = ConfirmListener(), bytearray(), list[bool]()
    receiver = codec.Receiver(forwarded.extend, blocked.append)
    receiver.confirms[CHANNEL] = confirms
    for start, end in pairwise([0, *sorted(cuts), len(STREAM)]):
        receiver.feed(STREAM[start:end])
    assert confirms.received == [
        (1, False, True),
        (b"m-1", "NO_ROUTE"),
        (3, True, True),
        (b"m-1", "NO_ROUTE"),
        (4, False, False),
        (6, True, False),
        "processed",
        codec.ChannelClose(403, "refused: schlüssel", codec.PUBLISH),
    ]
    assert blocked == [True, False]
    assert forwarded == b"".join(OTHERS) + CLOSE + AFTER_CLOSE


def test_confirm_select_is_encoded_as_by_pamqp() -> None:
    assert codec.confirm_select(CHANNEL) == marshal(commands.Confirm.Select())


@pytest.mark.parametrize("is_mandatory", [False, True])
def test_a_publish_is_encoded_as_by_pamqp(is_mandatory: bool) -> None:
    ours = codec.publish_method(CHANNEL, b"ex", "schlüssel".encode(), is_mandatory)
    theirs = commands.Basic.Publish(exchange="ex", routing_key="schlüssel", mandatory=is_mandatory)
    assert ours == marshal(theirs)


@given(st.integers(0, 300_000), st.sampled_from([4096, 131_072]))
def test_a_body_is_split_into_frames_of_at_most_frame_max(size: int, frame_max: int) -> None:
    body = bytes(size)
    frames = codec.publish_content(CHANNEL, b"", PROPERTIES, body, frame_max)
    stream = frames if isinstance(frames, bytes) else b"".join(frames)
    received = b""
    consumed, channel, header = pamqp.frame.unmarshal(stream)
    assert isinstance(header, ContentHeader)
    assert channel == CHANNEL
    assert header.body_size == size
    assert header.properties.message_id == "m-1"
    stream = stream[consumed:]
    while stream:
        consumed, _, chunk = pamqp.frame.unmarshal(stream)
        assert isinstance(chunk, ContentBody)
        assert consumed <= frame_max
        received += chunk.value or b""
        stream = stream[consumed:]
    assert received == body


def test_properties_are_encoded_as_by_pamqp() -> None:
    origin = encode_shared(b"application/json", b"gzip", {b"X-A": b"1", b"X-B": "ä".encode()}, 2)
    chosen = ChosenProperties(PRIORITY, b"\x07", b"")
    payload = b"\x00\x3c\x00\x00" + bytes(8) + encode_properties(origin, chosen, b"id", TIME)
    header = ContentHeader()
    header.unmarshal(payload)
    properties = header.properties
    assert properties.content_type == "application/json"
    assert properties.content_encoding == "gzip"
    assert properties.headers == {"X-A": "1", "X-B": "ä"}
    assert properties.delivery_mode == 2
    assert properties.priority == 7
    assert properties.message_id == "id"
    assert properties.timestamp is not None
    assert properties.timestamp.timestamp() == 100
