"""Bytes to frames and back, for the broker in memory. Pure.

Methods are pamqp's. Content headers and bodies stay bytes.
"""

from __future__ import annotations

import struct

import pamqp.frame
from msgspec import Struct
from pamqp import commands
from pamqp.base import Frame
from pamqp.exceptions import PAMQPException

from .content import StoredMessage
from .rules import BrokerRefusal

METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8

PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"

HEARTBEAT_FRAME = b"\x08\x00\x00\x00\x00\x00\x00\xce"

FRAME_OVERHEAD = 8


class DeliverMethod(commands.Basic.Deliver):
    def validate(self) -> None:
        """Accept every name: RabbitMQ allows any UTF-8, but pamqp refuses most of it."""


class GetOkMethod(commands.Basic.GetOk):
    def validate(self) -> None:
        """As for deliveries."""


class ReturnMethod(commands.Basic.Return):
    def validate(self) -> None:
        """As for deliveries."""


class QueueDeclareOk(commands.Queue.DeclareOk):
    def validate(self) -> None:
        """As for deliveries."""


class PeerFrame(Struct, frozen=True):
    """A frame that a client has sent. ``method``: decoded; None for another kind."""

    kind: int
    channel: int
    payload: bytes
    method: Frame | None = None


class FrameReader:
    """Splits the bytes of a client into frames. They may arrive in pieces of any size."""

    def __init__(self) -> None:
        self._incomplete = b""

    def starts_with_protocol(self, data: bytes) -> bool | None:
        """Whether a connection begins as AMQP 0-9-1; None: not decided yet."""
        self._incomplete += data
        start = self._incomplete[: len(PROTOCOL_HEADER)]
        if start != PROTOCOL_HEADER[: len(start)]:
            return False
        if len(start) < len(PROTOCOL_HEADER):
            return None
        self._incomplete = self._incomplete[len(PROTOCOL_HEADER) :]
        return True

    def feed(self, data: bytes) -> list[PeerFrame]:
        """The frames that are complete now. Raises :class:`BrokerRefusal`."""
        data, start, frames = self._incomplete + data, 0, []
        while len(data) - start >= FRAME_OVERHEAD:
            kind, channel, size = struct.unpack_from(">BHI", data, start)
            end = start + FRAME_OVERHEAD + size
            if len(data) < end:
                break
            if data[end - 1] != 0xCE or kind not in (METHOD, HEADER, BODY, HEARTBEAT):
                raise BrokerRefusal(501, "type or end of a frame is wrong")
            frames.append(_decode(kind, channel, data[start:end]))
            start = end
        self._incomplete = data[start:]
        return frames


def _decode(kind: int, channel: int, frame: bytes) -> PeerFrame:
    if kind != METHOD:
        return PeerFrame(kind, channel, frame[7:-1])
    try:
        method = pamqp.frame.unmarshal(frame)[2]
    except (PAMQPException, ValueError, IndexError, struct.error) as error:
        raise BrokerRefusal(501, f"a method cannot be read: {error}") from error
    assert isinstance(method, Frame)
    return PeerFrame(kind, channel, frame[7:-1], method)


def encode_method(method: Frame, channel: int) -> bytes:
    return pamqp.frame.marshal(method, channel)


def encode_content(method: Frame, channel: int, message: StoredMessage, frame_max: int) -> bytes:
    """A method with a message: its content header, and its body in frames of at most
    ``frame_max`` bytes."""
    body, largest = message.body, frame_max - FRAME_OVERHEAD
    header = struct.pack(">HHQ", 60, 0, len(body)) + message.properties
    frames = [encode_method(method, channel), _frame(HEADER, channel, header)]
    frames += [
        _frame(BODY, channel, body[start : start + largest])
        for start in range(0, len(body), largest)
    ]
    return b"".join(frames)


def _frame(kind: int, channel: int, payload: bytes) -> bytes:
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + b"\xce"
