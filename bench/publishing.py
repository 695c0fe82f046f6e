"""Publishes with the gateway's own AMQP client, without HTTP."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager

from pamqp.commands import Confirm

from gateway.amqp.connection.tap import Tap
from gateway.amqp.wire import codec
from gateway.amqp.wire.codec import ChannelClose

from .fill import FRAME_MAX, properties
from .messages import message
from .reading import opened_channel
from .scenario import EXCHANGE

OnConfirm = Callable[[Sequence[int], bool], object]
"""Called with the publications, counted from 0, that the broker has confirmed, and whether each is
acknowledged (True) or rejected."""


class Publishing:
    """Publishes on one channel and receives its confirms. Nothing else may publish on it."""

    def __init__(
        self, channel: int, tap: Tap, routing_key: str, delivery_mode: int, on_confirm: OnConfirm
    ) -> None:
        self._channel = channel
        self._tap = tap
        self._heard = on_confirm
        self._method = codec.publish_method(channel, EXCHANGE.encode(), routing_key.encode(), False)
        self._properties = properties(delivery_mode)
        self._last = 0
        self._unconfirmed: dict[int, None] = {}

    def publish(self, number: int) -> None:
        """Publish the message with that number."""
        frames = codec.publish_content(
            self._channel, self._method, self._properties, message(0, number), FRAME_MAX
        )
        assert isinstance(frames, bytes)
        self._tap.write(frames)
        self._last += 1
        self._unconfirmed[self._last] = None

    def confirmed(self, tag: int, is_multiple: bool, is_ack: bool) -> None:
        over = [each for each in self._unconfirmed if each <= tag] if is_multiple else [tag]
        for each in over:
            del self._unconfirmed[each]
        self._heard([each - 1 for each in over], is_ack)

    def returned(self, properties: bytes, reason: str) -> None:
        """No message is mandatory, so none is returned."""

    def processed(self) -> None:
        """Nothing waits for this."""

    def closed(self, closing: ChannelClose) -> None:
        """The measurement fails: no more confirms come."""


@asynccontextmanager
async def open_publishing(
    url: str, routing_key: str, delivery_mode: int, on_confirm: OnConfirm
) -> AsyncGenerator[Publishing]:
    async with opened_channel(url) as (connection, channel):
        await channel.rpc(Confirm.Select())
        publishing = Publishing(
            channel.number, connection.tap, routing_key, delivery_mode, on_confirm
        )
        connection.tap.receiver.confirms[channel.number] = publishing
        yield publishing
