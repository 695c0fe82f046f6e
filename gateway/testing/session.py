"""One client's connection to the broker in memory: bytes in, bytes out, without an event loop.

The handshake, the channels, and how a channel or the connection is closed, by either side.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from itertools import count

from msgspec import Struct
from pamqp import commands
from pamqp.base import Frame
from pamqp.common import FieldTable

from .broker import BrokerState
from .frames import (
    BODY,
    FRAME_OVERHEAD,
    HEADER,
    HEARTBEAT,
    HEARTBEAT_FRAME,
    PROTOCOL_HEADER,
    FrameReader,
    PeerFrame,
    encode_method,
)
from .rules import BrokerRefusal
from .session_channel import BrokerChannel

CHANNEL_MAX = 2047
HEARTBEAT_SECONDS = 60
"""What RabbitMQ proposes."""

CONNECTION_FORCED = 320

MAX_TEXT_BYTES = 255

CAPABILITIES = (
    "authentication_failure_close",
    "basic.nack",
    "connection.blocked",
    "consumer_cancel_notify",
    "consumer_priorities",
    "exchange_exchange_bindings",
    "per_consumer_qos",
    "publisher_confirms",
)


class _PartialMessage(Struct):
    """A Basic.Publish of which frames have not arrived yet."""

    method: commands.Basic.Publish
    missing: int = -1
    properties: bytes = b""
    body: bytes = b""


class BrokerSession:
    """``write``: sends bytes to the client. ``hang_up``: closes the socket after them.

    ``users``: passwords by name; None: every login is accepted. ``heartbeat``: seconds that both
    sides agreed on, 0: none. ``blocked_reason``: why publishers are blocked, else empty.
    """

    def __init__(
        self,
        broker: BrokerState,
        write: Callable[[bytes], object],
        hang_up: Callable[[], object],
        users: dict[str, str] | None = None,
    ) -> None:
        self.broker = broker
        self.frame_max = broker.rules.frame_max
        self.channel_max = CHANNEL_MAX
        self.heartbeat = 0
        self.vhost = ""
        self.is_open = False
        self.wants_cancels = False
        self.blocked_reason = ""
        self.channels: dict[int, BrokerChannel] = {}
        self._write = write
        self._hang_up = hang_up
        self._users = users
        self._wants_blocked = False
        self._is_reading_paused = False
        self._is_started = False
        self._is_closing = False
        self._is_lost = False
        self._closing_channels: set[int] = set()
        self._partial: dict[int, _PartialMessage] = {}
        self._frames = FrameReader()
        self._waiting: list[PeerFrame] = []
        self._numbers = count(1)

    def write(self, data: bytes) -> None:
        if not self._is_lost:
            self._write(data)

    def new_number(self) -> int:
        """For names that the broker makes."""
        return next(self._numbers)

    def feed(self, data: bytes) -> None:
        """Process bytes of the client."""
        try:
            if not self._is_started:
                begins = self._frames.starts_with_protocol(data)
                if begins is False:
                    self.write(PROTOCOL_HEADER)
                    self._end()
                if not begins:
                    return
                self._is_started, data = True, b""
                self._write_method(_start())
            self._waiting += self._frames.feed(data)
        except BrokerRefusal as refusal:
            self._refuse(refusal, 0, None)
        self._process()

    def lost(self) -> None:
        """The socket is closed: every channel ends."""
        if not self._is_lost:
            self._is_lost = True
            self._end_channels()

    def close(self, code: int = CONNECTION_FORCED, text: str = "CONNECTION_FORCED - test") -> None:
        """Close the connection by AMQP; the socket is closed after Close-Ok."""
        if not self._is_closing:
            self._close_connection(code, text, 0)

    def close_channel(self, number: int, refusal: BrokerRefusal) -> None:
        """Close a channel for another cause than a method of the client."""
        self._refuse(refusal, number, None)

    def beat(self) -> None:
        """Send a heartbeat."""
        if not self._is_closing:
            self.write(HEARTBEAT_FRAME)

    def block(self, reason: str) -> None:
        """As an alarm of RabbitMQ: it takes effect with the next message that is published. From
        then on nothing is read from this connection."""
        self.blocked_reason = reason

    def unblock(self) -> None:
        self.blocked_reason = ""
        if self._is_reading_paused:
            self._is_reading_paused = False
            if self._wants_blocked:
                self._write_method(commands.Connection.Unblocked())
            self._process()

    # Frames.

    def _process(self) -> None:
        while self._waiting and not self._is_reading_paused and not self._is_lost:
            frame = self._waiting.pop(0)
            try:
                self._frame(frame)
            except BrokerRefusal as refusal:
                self._refuse(refusal, frame.channel, frame.method)

    def _frame(self, frame: PeerFrame) -> None:
        method = frame.method
        if len(frame.payload) + FRAME_OVERHEAD > self.frame_max:
            raise BrokerRefusal(501, "a frame is larger than frame_max")
        if self._is_closing:
            if isinstance(method, commands.Connection.Close):
                self._write_method(commands.Connection.CloseOk())
            elif isinstance(method, commands.Connection.CloseOk):
                self._end()
        elif frame.kind == HEARTBEAT:
            return
        elif frame.channel == 0:
            if method is None:
                raise BrokerRefusal(505, "content on channel 0")
            self._connection_method(method)
        elif not self.is_open:
            raise BrokerRefusal(503, "the connection is not open")
        elif frame.channel in self._closing_channels:
            self._closing_channel_method(frame.channel, method)
        elif method is None:
            self._content(frame)
        elif frame.channel in self._partial:
            raise BrokerRefusal(505, "expected content, got a method")
        else:
            self._channel_method(frame.channel, method)

    def _connection_method(self, method: Frame) -> None:
        if isinstance(method, commands.Connection.StartOk):
            self._log_in(method)
        elif isinstance(method, commands.Connection.TuneOk):
            self.frame_max = method.frame_max or self.frame_max
            self.channel_max = method.channel_max or CHANNEL_MAX
            self.heartbeat = method.heartbeat
        elif isinstance(method, commands.Connection.Open):
            self.vhost = method.virtual_host
            self.is_open = True
            self._write_method(commands.Connection.OpenOk())
        elif isinstance(method, commands.Connection.Close):
            self._end_channels()
            self._write_method(commands.Connection.CloseOk())
            self._end()
        else:
            raise BrokerRefusal(503, f"{method.name} on channel 0")

    def _log_in(self, method: commands.Connection.StartOk) -> None:
        capabilities = (method.client_properties or {}).get("capabilities")
        if isinstance(capabilities, dict):
            self.wants_cancels = bool(capabilities.get("consumer_cancel_notify"))
            self._wants_blocked = bool(capabilities.get("connection.blocked"))
        _, user, password = [*method.response.split("\0"), "", ""][:3]
        if self._users is not None and self._users.get(user) != password:
            raise BrokerRefusal(
                403,
                f"Login was refused using authentication mechanism {method.mechanism}. For details "
                "see the broker logfile.",
            )
        tune = commands.Connection.Tune(CHANNEL_MAX, self.frame_max, HEARTBEAT_SECONDS)
        self._write_method(tune)

    def _channel_method(self, number: int, method: Frame) -> None:
        channel = self.channels.get(number)
        if isinstance(method, commands.Channel.Open):
            if channel is not None:
                raise BrokerRefusal(504, "second 'channel.open' seen")
            if number > self.channel_max:
                raise BrokerRefusal(530, f"number of channels opened ({number}) is too large")
            self.channels[number] = BrokerChannel(number, self)
            self._write_method(commands.Channel.OpenOk(), number)
        elif channel is None:
            raise BrokerRefusal(504, "expected 'channel.open'")
        elif channel.stops_at(method):
            return
        elif isinstance(method, commands.Channel.Close):
            self._end_channel(number)
            self._write_method(commands.Channel.CloseOk(), number)
        elif isinstance(method, commands.Basic.Publish):
            self._partial[number] = _PartialMessage(method)
        else:
            channel.handle(method)

    def resume_channels(self) -> None:
        """Process the methods at which the channels have stopped."""
        for number, channel in tuple(self.channels.items()):
            stopped, channel.stopped = channel.stopped, []
            for method in stopped:
                self._channel_method(number, method)

    def _closing_channel_method(self, number: int, method: Frame | None) -> None:
        """Until Close-Ok all other frames of the channel are ignored."""
        if isinstance(method, commands.Channel.CloseOk):
            self._closing_channels.discard(number)
        elif isinstance(method, commands.Channel.Close):
            self._write_method(commands.Channel.CloseOk(), number)

    def _content(self, frame: PeerFrame) -> None:
        partial = self._partial.get(frame.channel)
        if partial is None or (frame.kind == HEADER) != (partial.missing < 0):
            raise BrokerRefusal(505, "content that belongs to no method")
        if frame.kind == HEADER:
            partial.missing = struct.unpack_from(">Q", frame.payload, 4)[0]
            partial.properties = frame.payload[12:]
        elif frame.kind == BODY:
            partial.missing -= len(frame.payload)
            partial.body += frame.payload
        if partial.missing < 0:
            raise BrokerRefusal(501, "a body is longer than its header says")
        if partial.missing == 0:
            del self._partial[frame.channel]
            self._publish(frame.channel, partial)

    def _publish(self, number: int, partial: _PartialMessage) -> None:
        method = partial.method
        try:
            self.channels[number].publish(method, partial.properties, partial.body)
        except BrokerRefusal as refusal:
            self._refuse(refusal, number, method)
        if self.blocked_reason and not self._is_reading_paused:
            self._is_reading_paused = True
            if self._wants_blocked:
                self._write_method(commands.Connection.Blocked(self.blocked_reason))

    # The end.

    def _refuse(self, refusal: BrokerRefusal, number: int, method: Frame | None) -> None:
        index = 0 if method is None else method.index
        if refusal.ends_connection or number not in self.channels:
            self._close_connection(refusal.code, refusal.text, index)
            return
        self._end_channel(number)
        self._closing_channels.add(number)
        text = _short(refusal.text)
        close = commands.Channel.Close(refusal.code, text, index >> 16, index & 0xFFFF)
        self._write_method(close, number)

    def _close_connection(self, code: int, text: str, index: int) -> None:
        self._is_closing = True
        self._end_channels()
        text = _short(text)
        self._write_method(commands.Connection.Close(code, text, index >> 16, index & 0xFFFF))
        self._is_reading_paused = False

    def _end_channel(self, number: int) -> None:
        self._partial.pop(number, None)
        self.channels.pop(number).close()

    def _end_channels(self) -> None:
        for number in tuple(self.channels):
            self._end_channel(number)
        self.broker.remove_queues_of(self)

    def _end(self) -> None:
        self._is_closing = True
        self._waiting.clear()
        self._hang_up()

    def _write_method(self, method: Frame, channel: int = 0) -> None:
        self.write(encode_method(method, channel))


def _start() -> Frame:
    properties: FieldTable = {
        "capabilities": dict.fromkeys(CAPABILITIES, True),
        "product": "broker in memory",
    }
    return commands.Connection.Start(
        server_properties=properties, mechanisms="PLAIN AMQPLAIN", locales="en_US"
    )


def _short(text: str) -> str:
    """At most 255 bytes, and no half character."""
    return text.encode()[:MAX_TEXT_BYTES].decode(errors="ignore")
