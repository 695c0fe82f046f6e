"""Fills queues quickly: frames of many messages in one write, without confirms."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import aiormq
from aiormq.connection import TransportFactory
from yarl import URL

from gateway.amqp.wire import codec

BATCH = 500
BATCH_BYTES = 1_000_000
FRAME_MAX = 131_072
"""Bytes of a frame, RabbitMQ's default."""


class _Factory(TransportFactory):
    writer: asyncio.StreamWriter

    async def create(
        self, url: URL, **kwargs: object
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, self.writer = await asyncio.open_connection(url.host, url.port)
        return reader, self.writer


def properties(delivery_mode: int) -> bytes:
    """Properties of a JSON message on the wire: content type, delivery mode (2: persistent)."""
    return b"\x90\x00\x10application/json%c" % delivery_mode


class Filler:
    """Publishes on one channel without confirms. ``channel``: for all other methods of AMQP."""

    def __init__(
        self, channel: aiormq.abc.AbstractChannel, writer: asyncio.StreamWriter, delivery_mode: int
    ) -> None:
        self.channel = channel
        self._writer = writer
        self._properties = properties(delivery_mode)

    def put(self, exchange: str, routing_key: str, bodies: Iterable[bytes]) -> None:
        """Write the messages to the socket's buffer; :meth:`drained` waits until it has room."""
        number = self.channel.number
        method = codec.publish_method(number, exchange.encode(), routing_key.encode(), False)
        pieces: list[bytes | memoryview] = []
        for body in bodies:
            frames = codec.publish_content(number, method, self._properties, body, FRAME_MAX)
            if isinstance(frames, bytes):
                pieces.append(frames)
            else:
                pieces += frames
        self._writer.writelines(pieces)

    async def drained(self) -> None:
        """Wait until the socket's buffer has room."""
        await self._writer.drain()


@asynccontextmanager
async def open_filler(url: str, delivery_mode: int = 1) -> AsyncGenerator[Filler]:
    factory = _Factory()
    async with aiormq.connect(url, transport_factory=factory) as connection:
        channel = await connection.channel(publisher_confirms=False)
        yield Filler(channel, factory.writer, delivery_mode)


async def top_up(
    filler: Filler, queue: str, first: int, number: int, body: Callable[[int], bytes]
) -> None:
    """Publish the messages ``first`` to ``first + number - 1`` to the queue.

    Returns when the broker has read all of them.
    """
    if not number:
        return
    batch = max(1, min(BATCH, BATCH_BYTES // len(body(first))))
    for start in range(first, first + number, batch):
        filler.put("", queue, map(body, range(start, min(start + batch, first + number))))
        await filler.drained()
    await ready(filler.channel, queue)


async def ready(channel: aiormq.abc.AbstractChannel, queue: str) -> int:
    """How many messages are ready in the queue: those without the unacknowledged ones."""
    declared = await channel.queue_declare(queue, passive=True)
    return declared.message_count or 0


async def fill(
    url: str,
    queue: str,
    number: int,
    body: Callable[[int], bytes],
    delivery_mode: int = 1,
    arguments: dict[str, Any] | None = None,
) -> None:
    """Declare ``queue`` (durable), empty it, and publish ``number`` messages to it."""
    async with open_filler(url, delivery_mode) as filler:
        channel = filler.channel
        await channel.queue_declare(queue, durable=True, arguments=arguments)
        await channel.queue_purge(queue)
        await top_up(filler, queue, 0, number, body)
        while await ready(channel, queue) < number:
            await asyncio.sleep(0.1)
