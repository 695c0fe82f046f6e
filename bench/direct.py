"""The broker's limit: a queue without HTTP, by plain aiormq and by the gateway's own AMQP client.

python -m bench.direct raw-amqp consume URL QUEUE SECONDS
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Sequence

import aiormq
import uvloop
from aiormq.abc import DeliveredMessage
from msgspec import Struct, json
from pamqp.commands import Basic

from gateway.amqp.wire import codec
from gateway.amqp.wire.delivery_fast_path import RawDelivery

from .messages import PUBLISHED, message
from .publishing import open_publishing
from .reading import opened_channel
from .scenario import EXCHANGE

PREFETCH = 100
IN_FLIGHT = 64
"""Unconfirmed messages at a time: as many as there are HTTP connections to the gateway."""

BATCH = 16
"""Deliveries that are acknowledged together, about as many as the gateway does."""

PERSISTENT = Basic.Properties(content_type="application/json", delivery_mode=2)


class Direct(Struct, frozen=True):
    """``messages``: count of those consumed or published in ``seconds``. ``cpu``: seconds of the
    client."""

    messages: int
    seconds: float
    cpu: float


async def consume_aiormq(url: str, queue: str, seconds: float) -> int:
    taken = 0

    async def take(delivered: DeliveredMessage) -> None:
        nonlocal taken
        assert isinstance(delivered.delivery, Basic.Deliver)
        assert delivered.delivery.delivery_tag is not None
        taken += 1
        await delivered.channel.basic_ack(delivered.delivery.delivery_tag, wait=False)

    async with aiormq.connect(url) as connection:
        channel = await connection.channel()
        await channel.basic_qos(prefetch_count=PREFETCH)
        await channel.basic_consume(queue, take)
        await asyncio.sleep(seconds)
    return taken


async def publish_aiormq(url: str, queue: str, seconds: float) -> int:
    published = 0

    async def keep_publishing(channel: aiormq.abc.AbstractChannel, end: float) -> None:
        nonlocal published
        while time.monotonic() < end:
            body = message(0, PUBLISHED + published)
            await channel.basic_publish(
                body, exchange=EXCHANGE, routing_key=queue, properties=PERSISTENT
            )
            published += 1

    async with aiormq.connect(url) as connection:
        channel = await connection.channel()
        end = time.monotonic() + seconds
        async with asyncio.TaskGroup() as publishers:
            for _ in range(IN_FLIGHT):
                publishers.create_task(keep_publishing(channel, end))
    return published


class _Taking:
    """Acknowledges deliveries in batches."""

    def __init__(self, channel: int, write: Callable[[bytes], None]) -> None:
        self.taken = self._acknowledged = 0
        self.is_over = False
        self._channel = channel
        self._write = write

    def delivered(self, messages: Sequence[RawDelivery]) -> None:
        self.taken = messages[-1][0]
        if self.taken - self._acknowledged >= BATCH and not self.is_over:
            self._acknowledged = self.taken
            self._write(codec.ack(self._channel, self.taken, multiple=True))

    def fetch_ended(self, found: bool) -> None:
        """This client does not use basic.get."""

    def closed(self, closing: codec.ChannelClose) -> None:
        """The run ends with its connection."""


async def consume_raw(url: str, queue: str, seconds: float) -> int:
    async with opened_channel(url) as (connection, channel):
        taking = _Taking(channel.number, connection.tap.write)
        connection.tap.receiver.sinks[channel.number] = taking
        await channel.basic_qos(prefetch_count=PREFETCH)
        await channel.rpc(Basic.Consume(queue=queue))
        await asyncio.sleep(seconds)
        taking.is_over = True
        return taking.taken


async def publish_raw(url: str, queue: str, seconds: float) -> int:
    """Keep :data:`IN_FLIGHT` messages unconfirmed."""
    published = confirmed = 0
    is_over = asyncio.Event()
    end = time.monotonic() + seconds

    def publish(number: int) -> None:
        nonlocal published
        for _ in range(number):
            publishing.publish(PUBLISHED + published)
            published += 1

    def on_confirm(over: Sequence[int], is_ack: bool) -> None:
        nonlocal confirmed
        confirmed += len(over)
        if time.monotonic() >= end:
            is_over.set()
        else:
            publish(len(over))

    async with open_publishing(url, queue, 2, on_confirm) as publishing:
        publish(IN_FLIGHT)
        await is_over.wait()
        return confirmed


Client = Callable[[str, str, float], Awaitable[int]]
CLIENTS: dict[tuple[str, str], Client] = {
    ("aiormq", "consume"): consume_aiormq,
    ("aiormq", "publish"): publish_aiormq,
    ("raw-amqp", "consume"): consume_raw,
    ("raw-amqp", "publish"): publish_raw,
}


async def measured(client: Client, url: str, queue: str, seconds: float) -> Direct:
    began, cpu = time.monotonic(), time.process_time()
    messages = await client(url, queue, seconds)
    return Direct(messages, time.monotonic() - began, time.process_time() - cpu)


def main() -> None:
    name, what, url, queue, seconds = sys.argv[1:]
    direct = uvloop.run(measured(CLIENTS[name, what], url, queue, float(seconds)))
    sys.stdout.buffer.write(json.encode(direct))


if __name__ == "__main__":
    main()
