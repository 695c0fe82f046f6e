"""The queues of a scenario: declared, kept full or in a steady state, and read after the run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from functools import partial

from aiormq.channel import Channel

from .fill import Filler, open_filler, ready, top_up
from .flow import Feed, FlowPlan, open_flow
from .load.plan import Step
from .messages import first_number, message
from .reading import opened_channel, reading
from .scenario import EXCHANGE, Scenario

FULL_ENOUGH = 400_000
"""The most messages of one queue: a broker with more of them becomes slower."""

FULL_ENOUGH_BYTES = 2_000_000_000

RESERVE = 2000
"""Messages in each full queue when a load on steady-state queues begins."""

RESERVE_BYTES = 64_000_000

SETTLED = 10.0
"""Seconds in which the broker must have noticed that a consumer is gone."""


class Stock:
    """The queues of a scenario in one virtual host.

    ``filled``: how many messages each full queue has received; their numbers are consecutive.
    """

    def __init__(self, scenario: Scenario, url: str) -> None:
        self.url = url
        self.scenario = scenario
        self.full = [queue for queue in scenario.queues if queue.is_full]
        self.filled = 0
        self._behind: list[int] = []
        self._backlog = 0
        self._taken: list[int] = []
        self._read: list[int] = []

    def set_up(self) -> None:
        """Declare and bind empty queues."""
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
        """Fill the queues until there are messages for ``requests``."""
        if self.full:
            asyncio.run(self._top_up(requests * self.scenario.takes // len(self.full)))

    def lengthen(self, requests: int) -> None:
        """Like :meth:`top_up`, in addition to the scenario's backlog. The queue of published
        messages receives the backlog as well."""
        backlog = self.scenario.backlog
        if self.full:
            taken = requests * self.scenario.takes // len(self.full)
            asyncio.run(self._top_up(backlog + taken))
        if self.scenario.publishes:
            asyncio.run(self._put_backlog(backlog))

    async def _top_up(self, each: int) -> None:
        """Until there are ``each`` messages in every full queue."""
        async with open_filler(self.url) as filler:
            present = await ready(filler.channel, self.full[0].name)
            bound = min(FULL_ENOUGH, FULL_ENOUGH_BYTES // self._largest)
            await self._put(filler, max(0, min(each, bound) - present))

    async def _put(self, filler: Filler, number: int) -> None:
        for index, queue in enumerate(self.full):
            body = partial(message, index, size=queue.body_bytes)
            first = first_number(index) + self.filled
            await top_up(filler, queue.name, first, number, body)
        self.filled += number

    async def _put_backlog(self, number: int) -> None:
        index = len(self.full)
        missing = max(0, number - self._backlog)
        async with open_filler(self.url) as filler:
            first = first_number(index) + self._backlog
            body = partial(message, index)
            await top_up(filler, self.scenario.target, first, missing, body)
        self._backlog += missing

    @contextmanager
    def in_steady_state(self, steps: Sequence[Step]) -> Generator[Callable[[], None]]:
        """Keep the queues in a steady state during a load of ``steps``.

        Full queues are first reduced to a reserve, then fed at the rate at which the load consumes.
        What is published is consumed at once. Yields a function to call when the load begins.
        """
        with open_flow() as flow:
            asyncio.run(self._shorten())
            flow.prepare(self._flow_plan(steps))
            yield flow.begin
            flowed = flow.end()
        self.filled += flowed.fed
        self._read += flowed.read
        self._behind = flowed.behind

    def shortage(self, step: int) -> str:
        """Why queues were not in a steady state in a step of the last load; "" when they were."""
        behind = self._behind[step] if self._behind else 0
        return f"queues were fed {behind} messages late" if behind > self._reserve / 2 else ""

    def _flow_plan(self, steps: Sequence[Step]) -> FlowPlan:
        scenario = self.scenario
        each = scenario.takes * scenario.taking_part / max(1, len(self.full))
        return FlowPlan(
            url=self.url,
            feeds=[
                Feed(queue.name, index, first_number(index) + self.filled, queue.body_bytes)
                for index, queue in enumerate(self.full)
            ],
            reads=[scenario.target] if scenario.publishes else [],
            steps=[Step(step.rate * each, step.seconds) for step in steps if self.full],
        )

    async def _shorten(self) -> None:
        if self.full:
            self._taken += await _drain(self.url, [queue.name for queue in self.full])
            async with open_filler(self.url) as filler:
                await self._put(filler, self._reserve)
        if self.scenario.publishes:
            self._read += await _drain(self.url, [self.scenario.target])

    @property
    def _reserve(self) -> int:
        return min(RESERVE, RESERVE_BYTES // self._largest)

    @property
    def _largest(self) -> int:
        return max((queue.body_bytes for queue in self.full), default=1)

    def numbers(self) -> set[int]:
        """Every number that was filled in."""
        return {
            first_number(index) + number
            for index in range(len(self.full))
            for number in range(self.filled)
        }

    def remaining(self) -> list[int]:
        """The numbers that were filled in and that no candidate consumed. Empties the queues."""
        taken, self._taken = self._taken, []
        return taken + (drain(self.url, [queue.name for queue in self.full]) if self.full else [])

    def published(self) -> list[int]:
        """The numbers that came into the queue of published messages. Empties the queue."""
        read, self._read = self._read, []
        target = self.scenario.target
        return read + (drain(self.url, [target]) if target else [])

    def least(self) -> int:
        """Messages in the emptiest of the full queues."""
        return min(self.count(queue.name) for queue in self.full)

    def count(self, queue: str) -> int:
        return asyncio.run(self._count(queue))

    async def _count(self, queue: str) -> int:
        async with open_filler(self.url) as filler:
            return await ready(filler.channel, queue)


def drain(url: str, queues: Sequence[str]) -> list[int]:
    """Consume all messages of queues that no candidate consumes any more. Returns the numbers."""
    return asyncio.run(_drain(url, queues, is_alone=True))


async def _drain(url: str, queues: Sequence[str], is_alone: bool = False) -> list[int]:
    """``is_alone``: first wait until the queues have no other consumer."""
    async with opened_channel(url) as (connection, channel):
        if is_alone:
            await _wait_alone(channel, queues)
        async with reading(connection, channel, queues) as found:
            for queue in queues:
                while await ready(channel, queue):
                    await asyncio.sleep(0.005)
        return found.numbers


async def _wait_alone(channel: Channel, queues: Sequence[str]) -> None:
    async with asyncio.timeout(SETTLED):
        for queue in queues:
            while (await channel.queue_declare(queue, passive=True)).consumer_count:
                await asyncio.sleep(0.05)
