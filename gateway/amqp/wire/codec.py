"""Frames in, frames out: AMQP 0-9-1 as bytes, without a socket and without an event loop.

It decodes only the frequent frames: deliveries (also responses to Basic.Get), starts and ends of
consumers, acknowledgements, publishes, confirms and returns. A channel whose frames it decodes is a
"tapped" channel. Every other frame is passed on unchanged. (AMQP 0-9-1, section 2.3; confirms:
RabbitMQ's extension.)"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from struct import Struct as Layout
from typing import NamedTuple, Protocol

from .delivery_fast_path import DeliveryLayout, RawDelivery, learn_layout, read_deliveries
from .frame import BODY, CONTENT_PREFIX_BYTES, FRAME_END, FRAME_OVERHEAD, HEADER, METHOD

DELIVER = b"\x00\x3c\x00\x3c"
GET_OK = b"\x00\x3c\x00\x47"
GET_EMPTY = b"\x00\x3c\x00\x48"
QOS_OK = b"\x00\x3c\x00\x0b"
CONSUME_OK = b"\x00\x3c\x00\x15"
CANCEL_OK = b"\x00\x3c\x00\x1f"
ACK = b"\x00\x3c\x00\x50"
NACK = b"\x00\x3c\x00\x78"
RETURN = b"\x00\x3c\x00\x32"
PUBLISH = b"\x00\x3c\x00\x28"
SELECT_OK = b"\x00\x55\x00\x0b"
CHANNEL_CLOSE = b"\x00\x14\x00\x28"
CONNECTION_CLOSE = b"\x00\x0a\x00\x32"
BLOCKED = b"\x00\x0a\x00\x3c"
UNBLOCKED = b"\x00\x0a\x00\x3d"

CONSUMER_OKS = (QOS_OK, CONSUME_OK, CANCEL_OK)

MAX_FRAME = 128 * 1024 * 1024
"""Bytes of the largest frame that is read when broker and client agreed on no bound."""

MAX_MESSAGE = 512 * 1024 * 1024
"""Bytes of the largest body that is read: RabbitMQ accepts no larger ``max_message_size``."""

REQUEUE = 2
"""The bit "requeue" of Basic.Nack; the bit with value 1 is "multiple"."""

SMALL_BODY = 64 * 1024
"""Bytes of the largest body that is copied together with its headers, so that one write sends both.
It is smaller than RabbitMQ's default frame (128 KiB)."""

HEARTBEAT = b"\x08\x00\x00\x00\x00\x00\x00\xce"

_read_frame_start = Layout(">BHI").unpack_from
_read_tag = Layout(">Q").unpack_from
_read_confirm = Layout(">QB").unpack_from
_read_delivery = Layout(">Q?").unpack_from
_frame_start = Layout(">BHI").pack
_ack = Layout(">BHIHHQBB").pack
_content = Layout(">BHIHHQ").pack


class WireError(Exception):
    """The bytes are not AMQP: the connection cannot be used any further."""


class Sink(Protocol):
    """A tapped channel with a consumer."""

    def delivered(self, messages: Sequence[RawDelivery]) -> None:
        """Complete messages, in the order of their delivery tags."""

    def fetch_ended(self, found: bool) -> None:
        """The response to the oldest Basic.Get: its message was ``delivered``, or the queue is
        empty."""

    def closed(self, closing: ChannelClose) -> None:
        """The broker has closed the channel. A frame that is written on it from now on would make
        the broker close the connection."""


class ConsumerListener(Protocol):
    """A tapped channel that writes Basic.Consume and Basic.Cancel without aiormq."""

    def consumer_changed(self, tag: str) -> None:
        """Basic.Consume-Ok or Basic.Cancel-Ok: the consumer with this tag has started or ended."""


class ChannelClose(NamedTuple):
    """Why the broker has closed a channel. ``method``: class and method that it refused."""

    code: int
    text: str
    method: bytes


class ConfirmListener(Protocol):
    """A tapped channel that publishes, in confirm mode."""

    def confirmed(self, tag: int, is_multiple: bool, is_ack: bool) -> None:
        """The broker has accepted (``is_ack``) or refused the message with this tag; with
        ``is_multiple`` also every unconfirmed message before it."""

    def returned(self, properties: bytes, reason: str) -> None:
        """A mandatory message was routed to no queue. Its confirm follows."""

    def processed(self) -> None:
        """Confirm.Select-Ok: the broker has processed everything that was written before the
        Confirm.Select."""

    def closed(self, closing: ChannelClose) -> None:
        """As :meth:`Sink.closed`."""


class _IncomingMessage:
    """A message of which some frames have not arrived yet. ``is_fetched``: by Basic.Get."""

    __slots__ = ("chunks", "is_fetched", "missing", "properties", "redelivered", "route", "tag")

    def __init__(
        self, tag: int, redelivered: bool, route: bytes, *, is_fetched: bool = False
    ) -> None:
        self.is_fetched = is_fetched
        self.tag = tag
        self.redelivered = redelivered
        self.route = route
        self.properties = b""
        self.missing = -1
        self.chunks: list[bytes] = []

    def begin_body(self, header: bytes) -> None:
        """``header``: the payload of the content header frame."""
        if len(header) < CONTENT_PREFIX_BYTES:
            raise WireError("a content header is too short")
        self.missing = _read_tag(header, 4)[0]
        if self.missing > MAX_MESSAGE:
            raise WireError(f"a body of {self.missing} bytes")
        self.properties = header[CONTENT_PREFIX_BYTES:]


class Receiver:
    """Splits the bytes of a connection into frames. The bytes may arrive in pieces of any size.

    ``sinks``: tapped channels with consumers, by number. ``consumers``: those of them that get the
    responses to Basic.Consume and Basic.Cancel. ``confirms``: tapped channels that publish.
    ``forward`` is called with each frame that is not decoded here, complete and in order.
    ``blocked`` is called with true when the broker blocks publishers, with false when it unblocks
    them. ``closing`` is called with code and text when the broker closes the connection.
    ``frame_max``: bytes of the largest frame that the broker may send."""

    def __init__(
        self,
        forward: Callable[[bytes], None],
        blocked: Callable[[bool], object] = lambda is_blocked: None,
        closing: Callable[[int, str], object] = lambda code, text: None,
    ) -> None:
        self.sinks: dict[int, Sink] = {}
        self.consumers: dict[int, ConsumerListener] = {}
        self.confirms: dict[int, ConfirmListener] = {}
        self._forward = forward
        self._blocked = blocked
        self._closing = closing
        self.frame_max = MAX_FRAME
        self._incomplete = b""
        self._layouts: dict[int, DeliveryLayout] = {}
        self._contents: dict[int, _IncomingMessage] = {}

    def feed(self, data: bytes) -> None:
        """Process bytes that the socket has received. Raises :class:`WireError`."""
        if self._incomplete:
            data = self._incomplete + data
        start, end = 0, len(data)
        sinks = self.sinks
        while end - start >= FRAME_OVERHEAD:
            kind, channel, size = _read_frame_start(data, start)
            sink = sinks.get(channel)
            if sink is not None and (layout := self._layouts.get(channel)) is not None:
                messages, start = read_deliveries(layout, data, start)
                if messages:
                    sink.delivered(messages)
                    continue
            if size > self.frame_max:
                raise WireError(f"a frame of {size} bytes, at most {self.frame_max} are allowed")
            following = start + FRAME_OVERHEAD + size
            if following > end:
                break
            if data[following - 1] != FRAME_END:
                raise WireError("a frame without its end byte")
            if sink is None:
                self._feed_other(kind, channel, data[start:following])
            elif kind == METHOD and self._learns_layout(channel, data, start, following):
                continue
            else:
                self._feed_tapped(kind, channel, data[start:following])
            start = following
        self._incomplete = data[start:]

    def _learns_layout(self, channel: int, data: bytes, start: int, following: int) -> bool:
        """Whether the method is a delivery with another layout than the one before on this
        channel."""
        if not data.startswith(DELIVER, start + 7):
            return False
        layout = learn_layout(data, start, following)
        if layout is None or layout is self._layouts.get(channel):
            return False
        self._layouts[channel] = layout
        return True

    def _feed_tapped(self, kind: int, channel: int, frame: bytes) -> None:
        """A frame of a channel with a consumer."""
        if kind == HEADER and channel in self._contents:
            self._begin_body(channel, frame[7:-1])
        elif kind == BODY and channel in self._contents:
            self._continue_body(channel, frame[7:-1])
        elif kind == METHOD and frame.startswith(DELIVER, 7):
            at = 12 + frame[11]
            tag, again = _read_delivery(frame, at)
            self._contents[channel] = _IncomingMessage(tag, again, frame[at + 9 : -1])
        elif kind == METHOD and frame.startswith(GET_OK, 7):
            self._contents[channel] = _IncomingMessage(
                _read_tag(frame, 11)[0], frame[19] == 1, frame[20:-5], is_fetched=True
            )
        elif kind == METHOD and frame.startswith(GET_EMPTY, 7):
            self.sinks[channel].fetch_ended(False)
        elif kind == METHOD and channel in self.consumers and frame.startswith(CONSUMER_OKS, 7):
            if not frame.startswith(QOS_OK, 7):
                self.consumers[channel].consumer_changed(frame[12 : 12 + frame[11]].decode())
        else:
            if kind == METHOD and frame.startswith(CHANNEL_CLOSE, 7):
                self.sinks[channel].closed(read_channel_close(frame))
                frame = _readable(frame)
            self._forward(frame)

    def _feed_other(self, kind: int, channel: int, frame: bytes) -> None:
        """A frame of a channel without a consumer."""
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
            tag, flags = _read_confirm(frame, 11)
            publisher.confirmed(tag, flags & 1 == 1, method == ACK)
        elif method == RETURN:
            self._contents[channel] = _IncomingMessage(0, False, frame[14 : 14 + frame[13]])
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

    def _feed_returned(
        self, kind: int, channel: int, publisher: ConfirmListener, payload: bytes
    ) -> None:
        """The broker sends the whole message with Basic.Return. Its message id identifies it."""
        content = self._contents[channel]
        if kind == HEADER:
            content.begin_body(payload)
        else:
            content.missing -= len(payload)
        if content.missing <= 0:
            del self._contents[channel]
            publisher.returned(content.properties, content.route.decode(errors="replace"))

    def release(self, channel: int) -> None:
        """The channel is closed: forward its frames from now on."""
        self.sinks.pop(channel, None)
        self.consumers.pop(channel, None)
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
            raise WireError("a body is longer than its header says")

    def _complete(self, channel: int, content: _IncomingMessage, body: bytes) -> None:
        del self._contents[channel]
        message = content.tag, content.redelivered, content.route, content.properties, body
        self.sinks[channel].delivered([message])
        if content.is_fetched:
            self.sinks[channel].fetch_ended(True)


def read_channel_close(frame: bytes) -> ChannelClose:
    """``frame``: the whole frame of a Channel.Close."""
    text_ends = 14 + frame[13]
    text = frame[14:text_ends].decode(errors="replace")
    return ChannelClose(int.from_bytes(frame[11:13]), text, frame[text_ends : text_ends + 4])


def confirm_select(channel: int) -> bytes:
    """Confirm.Select; the broker responds with Select-Ok."""
    return _frame_start(METHOD, channel, 5) + b"\x00\x55\x00\x0a\x00\xce"


def _closing_text(frame: bytes) -> bytes:
    """The text of a Channel.Close or Connection.Close."""
    return frame[14 : 14 + frame[13]] if len(frame) > 14 else b""


def _readable(frame: bytes) -> bytes:
    """A Channel.Close or Connection.Close with a text that is valid UTF-8.

    RabbitMQ shortens a long text, and may do so inside a character. aiormq would end the connection
    for such a text.
    """
    text = _closing_text(frame)
    readable = text.decode(errors="ignore").encode()
    if readable == text:
        return frame
    kind, channel, size = _read_frame_start(frame)
    start = _frame_start(kind, channel, size - len(text) + len(readable))
    return start + frame[7:13] + bytes([len(readable)]) + readable + frame[14 + len(text) :]


def get(channel: int, queue: str) -> bytes:
    """Basic.Get; its message must be acknowledged like a delivery."""
    name = queue.encode()
    payload = b"\x00\x3c\x00\x46\x00\x00%c%b\x00" % (len(name), name)
    return _frame_start(METHOD, channel, len(payload)) + payload + b"\xce"


def ack(channel: int, tag: int, multiple: bool = False) -> bytes:
    """Basic.Ack of one tag; with ``multiple`` of every unacknowledged tag up to this one."""
    return _ack(METHOD, channel, 13, 60, 80, tag, multiple, FRAME_END)


def nack(channel: int, tag: int, multiple: bool = False) -> bytes:
    """Basic.Nack that requeues a message; with ``multiple`` every unacknowledged message up to
    this one."""
    return _ack(METHOD, channel, 13, 60, 120, tag, REQUEUE | multiple, FRAME_END)


def reject(channel: int, tag: int) -> bytes:
    """Basic.Reject of one tag: the broker drops the message or dead-letters it."""
    return _ack(METHOD, channel, 13, 60, 90, tag, False, FRAME_END)


def publish_method(channel: int, exchange: bytes, routing_key: bytes, is_mandatory: bool) -> bytes:
    """The frame of Basic.Publish. ``exchange``, ``routing_key``: UTF-8, at most 255 bytes."""
    payload = b"\x00\x3c\x00\x28\x00\x00%c%b%c%b%c" % (
        len(exchange),
        exchange,
        len(routing_key),
        routing_key,
        is_mandatory,
    )
    return _frame_start(METHOD, channel, len(payload)) + payload + b"\xce"


def publish_content(
    channel: int, method: bytes, properties: bytes, body: bytes, frame_max: int
) -> bytes | list[bytes | memoryview]:
    """``method``, then content header and body as frames. A list of pieces when the body is large:
    the body is not copied then.

    ``properties``: flags and values, as in a content header.
    """
    size = len(body)
    header = _content(HEADER, channel, CONTENT_PREFIX_BYTES + len(properties), 60, 0, size)
    largest = frame_max - FRAME_OVERHEAD
    if 0 < size <= SMALL_BODY and size <= largest:
        body_start = _frame_start(BODY, channel, size)
        return b"%b%b%b\xce%b%b\xce" % (method, header, properties, body_start, body)
    if not size:
        return b"%b%b%b\xce" % (method, header, properties)
    frames: list[bytes | memoryview] = [b"%b%b%b\xce" % (method, header, properties)]
    whole = memoryview(body)
    for at in range(0, size, largest):
        chunk = whole[at : at + largest]
        frames += (_frame_start(BODY, channel, len(chunk)), chunk, b"\xce")
    return frames
