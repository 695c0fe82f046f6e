"""What a scenario needs on the broker: made, kept full, and looked through afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

from aiormq.channel import Channel
from pamqp.commands import Basic

from gateway.amqp.link import Connection, open_connection
from gateway.amqp.urls import parse_broker_url

from .fill import open_filler, ready, top_up
from .messages import first_number, message
from .scenario import EXCHANGE, Scenario

FULL_ENOUGH = 400_000
"""Messages of one filling at most: a broker that stores more slows down."""

FULL_ENOUGH_BYTES = 800_000_000

SETTLED = 10.0
"""Seconds in which a broker has noticed that a consumer is gone."""


class Stock:
    """The queues of a scenario in one virtual host. ``filled``: how many messages each full
    queue was given; their numbers follow on each other."""

    def __init__(self, scenario: Scenario, url: str) -> None:
        self.url = url
        self.scenario = scenario
        self.full = [queue for queue in scenario.queues if queue.is_full]
        self.filled = 0

    def set_up(self) -> None:
        """Declare and bind everything, empty."""
        asyncio.run(self._set_up())

    async def _set_up(self) -> None:
        async with open_filler(self.url) as filler:
            channel = filler.channel
            await channel.exchange_declare(EXCHANGE, exchange_type="topic", durable=True)
            for queue in self.scenario.queues:
                await channel.queue_delete(queue.name)
                await channel.queue_declare(queue.name, durable=True, arguments=queue.arguments)
                await channel.queue_bind(queue.name, EXCHANGE, queue.routing_key or queue.name)

    def top_up(self, requests: int) -> None:
        """Put in messages for so many requests more than are there."""
        if self.full:
            asyncio.run(self._top_up(requests))

    async def _top_up(self, requests: int) -> None:
        each = requests * self.scenario.takes // len(self.full)
        async with open_filler(self.url) as filler:
            present = await ready(filler.channel, self.full[0].name)
            size = max(queue.body_bytes for queue in self.full)
            bound = min(FULL_ENOUGH, FULL_ENOUGH_BYTES // size)
            missing = max(0, min(each, bound) - present)
            for index, queue in enumerate(self.full):
                body = partial(message, index, size=queue.body_bytes)
                first = first_number(index) + self.filled
                await top_up(filler, queue.name, first, missing, body)
            self.filled += missing

    def numbers(self) -> set[int]:
        """Every number that was put in."""
        return {
            first_number(index) + number
            for index in range(len(self.full))
            for number in range(self.filled)
        }

    def remaining(self) -> list[bytes]:
        """Take what is left of the messages that were put in."""
        return [body for queue in self.full for body in drain(self.url, queue.name)]

    def published(self) -> list[bytes]:
        """Take what was published."""
        target = self.scenario.target
        return drain(self.url, target) if target else []

    def least(self) -> int:
        """Messages in the emptiest of the full queues."""
        return min(self.count(queue.name) for queue in self.full)

    def count(self, queue: str) -> int:
        return asyncio.run(self._count(queue))

    async def _count(self, queue: str) -> int:
        async with open_filler(self.url) as filler:
            return await ready(filler.channel, queue)


def drain(url: str, queue: str) -> list[bytes]:
    """Take all that is in a queue that nobody else consumes any more."""
    return asyncio.run(_drain(url, queue))


async def _drain(url: str, queue: str) -> list[bytes]:
    async with opened_channel(url) as (connection, channel):
        expected = await _count_alone(channel, queue)
        taken = Taken(expected)
        if expected:
            connection.tap.receiver.sinks[channel.number] = taken
            await channel.rpc(Basic.Consume(queue=queue, no_ack=True))
            await taken.over.wait()
        return taken.bodies


@asynccontextmanager
async def opened_channel(url: str) -> AsyncGenerator[tuple[Connection, Channel]]:
    async with open_connection(parse_broker_url(url)) as connection:
        async with connection.channel() as channel:
            yield connection, channel


async def _count_alone(channel: Channel, queue: str) -> int:
    """How many messages there are, as soon as nobody else holds any."""
    async with asyncio.timeout(SETTLED):
        while True:
            declared = await channel.queue_declare(queue, passive=True)
            if not declared.consumer_count:
                return declared.message_count or 0
            await asyncio.sleep(0.05)


class Taken:
    """A sink of the tap that keeps bodies until there are as many as ``expected``."""

    def __init__(self, expected: int) -> None:
        self.bodies: list[bytes] = []
        self.over = asyncio.Event()
        self._expected = expected

    def delivered(
        self, tag: int, redelivered: bool, route: bytes, header: bytes, body: bytes
    ) -> None:
        self.bodies.append(body)
        if len(self.bodies) == self._expected:
            self.over.set()

    def fetched_nothing(self) -> None:
        """Nobody fetches."""
