"""Frames in, frames out: AMQP 0-9-1 as bytes, without a socket and without an event loop.

Only what is hot is understood here: deliveries on tapped channels, also those that Basic.Get
fetches, acknowledgements, and publishing with its confirms and returns. Every other frame is handed
on untouched. (AMQP 0-9-1, section 2.3; confirms: RabbitMQ's extension.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from struct import Struct as Layout
from typing import NamedTuple, Protocol

from .delivery_fast_path import NO_SHAPE, Message, read_alike, shape_of
from .frame import BODY, CONTENT_HEAD, FRAME_END, FRAME_OVERHEAD, HEADER, METHOD

DELIVER = b"\x00\x3c\x00\x3c"
GET_OK = b"\x00\x3c\x00\x47"
GET_EMPTY = b"\x00\x3c\x00\x48"
ACK = b"\x00\x3c\x00\x50"
NACK = b"\x00\x3c\x00\x78"
RETURN = b"\x00\x3c\x00\x32"
PUBLISH = b"\x00\x3c\x00\x28"
SELECT_OK = b"\x00\x55\x00\x0b"
CHANNEL_CLOSE = b"\x00\x14\x00\x28"
CONNECTION_CLOSE = b"\x00\x0a\x00\x32"
BLOCKED = b"\x00\x0a\x00\x3c"
UNBLOCKED = b"\x00\x0a\x00\x3d"

MAX_FRAME = 128 * 1024 * 1024
"""Bytes of a frame that is read where no bound was negotiated."""

MAX_MESSAGE = 512 * 1024 * 1024
"""Bytes of a body: no RabbitMQ can be told to take a larger one (``max_message_size``)."""

REQUEUE = 2
"""The bit of Basic.Nack beside ``multiple``."""

SMALL_BODY = 64 * 1024
"""Bytes of a body that is copied into one piece with its head: fewer pieces are fewer calls. Below
the frame size of every broker that has not been told otherwise (RabbitMQ: 128 KiB)."""

HEARTBEAT = b"\x08\x00\x00\x00\x00\x00\x00\xce"

_frame_head = Layout(">BHI").unpack_from
_tag_at = Layout(">Q").unpack_from
_confirm_at = Layout(">QB").unpack_from
_delivery_at = Layout(">Q?").unpack_from
_head = Layout(">BHI").pack
_ack = Layout(">BHIHHQBB").pack
_content = Layout(">BHIHHQ").pack


class WireError(Exception):
    """The bytes are not AMQP: the connection cannot be used any further."""


class Sink(Protocol):
    """A tapped channel."""

    def delivered(self, messages: Sequence[Message]) -> None:
        """Whole messages, in the order of their tags."""

    def fetched_nothing(self) -> None:
        """The answer to a Basic.Get: the queue is empty."""

    def closed(self, closing: ChannelClose) -> None:
        """The broker has closed the channel: from now on nothing may be written to it."""


class ChannelClose(NamedTuple):
    """How the broker has closed a channel. ``method``: class and method of what it refused."""

    code: int
    text: str
    method: bytes


class Confirms(Protocol):
    """A tapped channel that publishes, in confirm mode."""

    def confirmed(self, tag: int, is_multiple: bool, is_ack: bool) -> None:
        """The broker has taken a message, or with ``is_ack`` false refused it; with
        ``is_multiple`` every one up to it."""

    def returned(self, properties: bytes, reason: str) -> None:
        """A mandatory message that no queue takes; its confirm follows."""

    def processed(self) -> None:
        """Confirm.Select is answered: the broker has processed what was written before it."""

    def closed(self, closing: ChannelClose) -> None:
        """The broker has closed the channel: nothing may be written on it any more."""


class _Content:
    """A message whose frames are still coming in."""

    __slots__ = ("chunks", "missing", "properties", "redelivered", "route", "tag")

    def __init__(self, tag: int, redelivered: bool, route: bytes) -> None:
        self.tag = tag
        self.redelivered = redelivered
        self.route = route
        self.properties = b""
        self.missing = -1
        self.chunks: list[bytes] = []

    def begin_body(self, header: bytes) -> None:
        """``header``: the payload of the content header frame."""
        if len(header) < CONTENT_HEAD:
            raise WireError("a content header that is too short")
        self.missing = _tag_at(header, 4)[0]
        if self.missing > MAX_MESSAGE:
            raise WireError(f"a body of {self.missing} bytes")
        self.properties = header[CONTENT_HEAD:]


class Receiver:
    """Cuts a byte stream into frames; it may be split anywhere.

    ``sinks``: tapped channels by number; ``confirms``: those that publish. ``forward`` gets every
    frame that is not of interest here, whole and in order. ``blocked`` is called when the broker
    blocks publishers and when it takes that back, ``closing`` with its code and text when it closes
    the connection. ``frame_max``: bytes of a frame, at most.
    """

    def __init__(
        self,
        forward: Callable[[bytes], None],
        blocked: Callable[[bool], object] = lambda is_blocked: None,
        closing: Callable[[int, str], object] = lambda code, text: None,
    ) -> None:
        self.sinks: dict[int, Sink] = {}
        self.confirms: dict[int, Confirms] = {}
        self._forward = forward
        self._blocked = blocked
        self._closing = closing
        self.frame_max = MAX_FRAME
        self._rest = b""
        self._shape = NO_SHAPE
        self._contents: dict[int, _Content] = {}

    def feed(self, data: bytes) -> None:
        """Take what the socket gave. Raises :class:`WireError`."""
        if self._rest:
            data = self._rest + data
        start, end = 0, len(data)
        sinks = self.sinks
        while end - start >= FRAME_OVERHEAD:
            shape = self._shape
            if data.startswith(shape.begin, start) and shape.channel in sinks:
                messages, start = read_alike(shape, data, start)
                if messages:
                    sinks[shape.channel].delivered(messages)
                    continue
            kind, channel, size = _frame_head(data, start)
            if size > self.frame_max:
                raise WireError(f"a frame of {size} bytes, of {self.frame_max} that are allowed")
            following = start + FRAME_OVERHEAD + size
            if following > end:
                break
            if data[following - 1] != FRAME_END:
                raise WireError("a frame without its end octet")
            if channel not in sinks:
                self._feed_other(kind, channel, data[start:following])
            elif kind == METHOD and self._learns_shape(data, start, following):
                continue
            else:
                self._feed_tapped(kind, channel, data[start:following])
            start = following
        self._rest = data[start:]

    def _learns_shape(self, data: bytes, start: int, following: int) -> bool:
        """Whether the method is a delivery of another shape than the last one."""
        if not data.startswith(DELIVER, start + 7):
            return False
        shape = shape_of(data, start, following)
        if shape is None or shape is self._shape:
            return False
        self._shape = shape
        return True

    def _feed_tapped(self, kind: int, channel: int, frame: bytes) -> None:
        """A frame of a channel that consumes."""
        if kind == HEADER and channel in self._contents:
            self._begin_body(channel, frame[7:-1])
        elif kind == BODY and channel in self._contents:
            self._continue_body(channel, frame[7:-1])
        elif kind == METHOD and frame.startswith(DELIVER, 7):
            at = 12 + frame[11]
            tag, again = _delivery_at(frame, at)
            self._contents[channel] = _Content(tag, again, frame[at + 9 : -1])
        elif kind == METHOD and frame.startswith(GET_OK, 7):
            self._contents[channel] = _Content(_tag_at(frame, 11)[0], frame[19] == 1, frame[20:-5])
        elif kind == METHOD and frame.startswith(GET_EMPTY, 7):
            self.sinks[channel].fetched_nothing()
        else:
            if kind == METHOD and frame.startswith(CHANNEL_CLOSE, 7):
                self.sinks[channel].closed(read_channel_close(frame))
                frame = _readable(frame)
            self._forward(frame)

    def _feed_other(self, kind: int, channel: int, frame: bytes) -> None:
        """A frame of a channel that does not consume."""
        method = frame[7:11] if kind == METHOD else b""
        publisher = self.confirms.get(channel)
        if publisher is None:
            if channel == 0 and method in (BLOCKED, UNBLOCKED):
                self._blocked(method == BLOCKED)
            elif method in (CHANNEL_CLOSE, CONNECTION_CLOSE):
                frame = _readable(frame)
                if method == CONNECTION_CLOSE:
                    code = int.from_bytes(frame[11:13])
                    self._closing(code, _closing_text(frame).decode())
            self._forward(frame)
        elif method in (ACK, NACK):
            tag, flags = _confirm_at(frame, 11)
            publisher.confirmed(tag, flags & 1 == 1, method == ACK)
        elif method == RETURN:
            self._contents[channel] = _Content(0, False, frame[14 : 14 + frame[13]])
        elif channel in self._contents and kind in (HEADER, BODY):
            self._feed_returned(kind, channel, publisher, frame[7:-1])
        elif method == SELECT_OK:
            publisher.processed()
        elif method == CHANNEL_CLOSE:
            self.release(channel)
            publisher.closed(read_channel_close(frame))
            self._forward(_readable(frame))
        else:
            self._forward(frame)

    def _feed_returned(self, kind: int, channel: int, publisher: Confirms, payload: bytes) -> None:
        """The returned message itself comes back with it; only its header says which it is."""
        content = self._contents[channel]
        if kind == HEADER:
            content.begin_body(payload)
        else:
            content.missing -= len(payload)
        if content.missing <= 0:
            del self._contents[channel]
            publisher.returned(content.properties, content.route.decode(errors="replace"))

    def release(self, channel: int) -> None:
        """The channel is closed: no frame of it is of interest any more."""
        self.sinks.pop(channel, None)
        self.confirms.pop(channel, None)
        self._contents.pop(channel, None)

    def _begin_body(self, channel: int, header: bytes) -> None:
        content = self._contents[channel]
        content.begin_body(header)
        if content.missing == 0:
            self._complete(channel, content, b"")

    def _continue_body(self, channel: int, chunk: bytes) -> None:
        content = self._contents[channel]
        content.missing -= len(chunk)
        if content.missing == 0 and not content.chunks:
            self._complete(channel, content, chunk)
            return
        content.chunks.append(chunk)
        if content.missing == 0:
            self._complete(channel, content, b"".join(content.chunks))
        elif content.missing < 0:
            raise WireError("a body longer than its header says")

    def _complete(self, channel: int, content: _Content, body: bytes) -> None:
        del self._contents[channel]
        message = content.tag, content.redelivered, content.route, content.properties, body
        self.sinks[channel].delivered([message])


def read_channel_close(frame: bytes) -> ChannelClose:
    """The whole frame of Channel.Close."""
    text_ends = 14 + frame[13]
    text = frame[14:text_ends].decode(errors="replace")
    return ChannelClose(int.from_bytes(frame[11:13]), text, frame[text_ends : text_ends + 4])


def confirm_select(channel: int) -> bytes:
    """Confirm.Select, to be answered."""
    return _head(METHOD, channel, 5) + b"\x00\x55\x00\x0a\x00\xce"


def _closing_text(frame: bytes) -> bytes:
    """The text of a Channel.Close or Connection.Close."""
    return frame[14 : 14 + frame[13]] if len(frame) > 14 else b""


def _readable(frame: bytes) -> bytes:
    """A Channel.Close or Connection.Close whose text is UTF-8.

    RabbitMQ cuts long texts, also inside a character, and aiormq would end the connection.
    """
    text = _closing_text(frame)
    readable = text.decode(errors="ignore").encode()
    if readable == text:
        return frame
    kind, channel, size = _frame_head(frame)
    head = _head(kind, channel, size - len(text) + len(readable))
    return head + frame[7:13] + bytes([len(readable)]) + readable + frame[14 + len(text) :]


def get(channel: int, queue: str) -> bytes:
    """Basic.Get, to be acknowledged like a delivery."""
    name = queue.encode()
    payload = b"\x00\x3c\x00\x46\x00\x00%c%b\x00" % (len(name), name)
    return _head(METHOD, channel, len(payload)) + payload + b"\xce"


def ack(channel: int, tag: int, multiple: bool = False) -> bytes:
    """Basic.Ack of one tag, or of every outstanding tag up to it."""
    return _ack(METHOD, channel, 13, 60, 80, tag, multiple, FRAME_END)


def nack(channel: int, tag: int, multiple: bool = False) -> bytes:
    """Basic.Nack that returns one tag to its queue, or every outstanding tag up to it."""
    return _ack(METHOD, channel, 13, 60, 120, tag, REQUEUE | multiple, FRAME_END)


def reject(channel: int, tag: int) -> bytes:
    """Basic.Reject of one tag: it leaves its queue, dropped or dead-lettered."""
    return _ack(METHOD, channel, 13, 60, 90, tag, False, FRAME_END)


def publish_method(channel: int, exchange: bytes, routing_key: bytes, is_mandatory: bool) -> bytes:
    """The frame Basic.Publish; names as UTF-8 of at most 255 bytes."""
    payload = b"\x00\x3c\x00\x28\x00\x00%c%b%c%b%c" % (
        len(exchange),
        exchange,
        len(routing_key),
        routing_key,
        is_mandatory,
    )
    return _head(METHOD, channel, len(payload)) + payload + b"\xce"


def publish_content(
    channel: int, method: bytes, properties: bytes, body: bytes, frame_max: int
) -> bytes | list[bytes | memoryview]:
    """``method``, the content header and the body as frames; in pieces when the body is large,
    which is not copied.

    ``properties``: flags and values, as in a content header.
    """
    size = len(body)
    head = _content(HEADER, channel, 12 + len(properties), 60, 0, size)
    largest = frame_max - FRAME_OVERHEAD
    if 0 < size <= SMALL_BODY and size <= largest:
        body_head = _head(BODY, channel, size)
        return b"%b%b%b\xce%b%b\xce" % (method, head, properties, body_head, body)
    if not size:
        return b"%b%b%b\xce" % (method, head, properties)
    frames: list[bytes | memoryview] = [b"%b%b%b\xce" % (method, head, properties)]
    whole = memoryview(body)
    for at in range(0, size, largest):
        chunk = whole[at : at + largest]
        frames += (_head(BODY, channel, len(chunk)), chunk, b"\xce")
    return frames
