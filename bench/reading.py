"""Consumes queues: what was read is acknowledged, and all other messages stay in their queue."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from aiormq.channel import Channel
from pamqp.commands import Basic

from gateway.amqp.connection.link import BrokerConnection, open_connection
from gateway.amqp.connection.tap import Tap
from gateway.amqp.connection.urls import parse_broker_url
from gateway.amqp.wire import codec
from gateway.amqp.wire.delivery_fast_path import RawDelivery

from .messages import NUMBER

PREFETCH = 1000
BATCH = 100
"""Deliveries that are acknowledged together."""


class Reading:
    """Receives deliveries. ``numbers``: of all messages that were read."""

    def __init__(self, channel: int, tap: Tap) -> None:
        self.numbers: list[int] = []
        self._channel = channel
        self._tap = tap
        self._last = self._acknowledged = 0
        self._is_over = False

    def delivered(self, messages: Sequence[RawDelivery]) -> None:
        if self._is_over:
            return
        for tag, *_, body in messages:
            found = NUMBER.search(body)
            if found is not None:
                self.numbers.append(int(found[1]))
            self._last = tag
        if self._last - self._acknowledged >= BATCH:
            self._acknowledge()

    def fetch_ended(self, found: bool) -> None:
        """This client does not use basic.get."""

    def closed(self, closing: codec.ChannelClose) -> None:
        """The run ends with its connection."""

    def end(self) -> None:
        """Acknowledge what was read. Later deliveries are ignored and go back to their queue."""
        self._is_over = True
        if self._last > self._acknowledged:
            self._acknowledge()
            self._tap.flush()

    def _acknowledge(self) -> None:
        self._tap.write(codec.ack(self._channel, self._last, multiple=True))
        self._acknowledged = self._last


@asynccontextmanager
async def opened_channel(url: str) -> AsyncGenerator[tuple[BrokerConnection, Channel]]:
    async with open_connection(parse_broker_url(url)) as connection:
        async with connection.channel() as channel:
            yield connection, channel


@asynccontextmanager
async def reading(
    connection: BrokerConnection, channel: Channel, queues: Sequence[str]
) -> AsyncGenerator[Reading]:
    """Read the queues during the block; close the channel after it."""
    sink = Reading(channel.number, connection.tap)
    connection.tap.receiver.sinks[channel.number] = sink
    await channel.basic_qos(prefetch_count=PREFETCH)
    for queue in queues:
        await channel.rpc(Basic.Consume(queue=queue, consumer_tag=queue))
    yield sink
    for queue in queues:
        await channel.rpc(Basic.Cancel(consumer_tag=queue))
    sink.end()
