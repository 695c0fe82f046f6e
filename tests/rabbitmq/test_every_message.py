"""Every message is in exactly one state, whatever happens in which order: on RabbitMQ.

RabbitMQ reports only the number of ready messages. The test reads the messages at the end.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from typing import Any

import hypothesis
from hypothesis import Phase
from hypothesis import strategies as st
from hypothesis.stateful import run_state_machine_as_test

from gateway.amqp.settings import ConsumerSettings
from gateway.amqp.wire import codec

from .amqp import connect, count, delete_queue, get_all, open_amqp, publish
from .every_message import DEAD, QUEUE, EveryMessage, Replica

MAX_WAIT = 10.0
"""Seconds within which RabbitMQ must have processed what it has received."""


class OnRabbitMQ(EveryMessage):
    """``acknowledged``, ``rejected``: surely; ``in_doubt``: their channel was lost.
    ``latest``: settled before the last look."""

    pauses = (0.01, 0.05, 0.2)
    max_parked = 0.2
    is_repeatable = False
    idle_returns = (0.05, 0.5, "never")

    def new_loop(self) -> asyncio.AbstractEventLoop:
        self.acknowledged: set[bytes] = set()
        self.rejected: set[bytes] = set()
        self.in_doubt: set[bytes] = set()
        self.latest: set[bytes] = set()
        return asyncio.new_event_loop()

    async def connect(self, *args: Any, **options: Any) -> Any:
        if not self.is_available:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "connection refused")
        return await connect(*args, **options)

    def choose_broker(self, data: st.DataObject) -> None:
        self.loop.run_until_complete(self.delete_queues())

    async def delete_queues(self) -> None:
        """Those of the last example."""
        for name in (QUEUE, DEAD):
            await delete_queue(self.url, name)

    async def prepare(self, wanted: ConsumerSettings) -> None:
        async with open_amqp(self.url) as connection:
            channel = await connection.channel()
            await channel.queue_declare(DEAD, durable=True)

    async def publish(self, bodies: list[bytes]) -> None:
        await publish(self.url, QUEUE, bodies)

    def faults(self) -> list[Callable[[Replica], object]]:
        return [*super().faults(), self.close_channel]

    def close_channel(self, replica: Replica) -> None:
        """RabbitMQ closes it: the gateway acknowledges a message that it does not have."""
        channel = replica.channel
        if channel is not None and channel.is_open:
            replica.had_fault = True
            replica.tap.write(codec.ack(channel._channel, 1 << 30))

    async def look(self) -> None:
        """Wait until RabbitMQ has as many ready messages as it must have."""
        self.note_settled()
        latest = self.loop.time() + MAX_WAIT
        while problem := await self.difference():
            assert self.loop.time() < latest, problem
            await asyncio.sleep(0.01)

    def note_settled(self) -> None:
        """A connection that is cut may lose what RabbitMQ has not read yet. So what was settled
        just before is in doubt too."""
        if any(replica.had_fault for replica in self.replicas):
            self.in_doubt |= self.latest
            self.acknowledged -= self.latest
            self.rejected -= self.latest
        acknowledged, rejected, *perhaps = self.settled_surely()
        self.latest = acknowledged | rejected
        self.acknowledged |= acknowledged
        self.rejected |= rejected
        self.in_doubt |= perhaps[0] | perhaps[1]

    async def difference(self) -> str:
        """Between the numbers of RabbitMQ and of the gateways; empty: none."""
        before = self.in_gateways()
        ready, _ = await count(self.url, QUEUE)
        after = self.in_gateways()
        if before != after:
            return "changing"
        most = len(self.published) - len(self.acknowledged | self.rejected)
        doubt = len(self.in_doubt - self.acknowledged - self.rejected)
        if most - doubt <= ready + after <= most:
            return ""
        return f"{ready} ready, {after} in the gateways, {most} in all, {doubt} of them in doubt"

    def in_gateways(self) -> int:
        return sum(
            len(replica.channel._ledger)
            for replica in self.replicas
            if replica.channel is not None and replica.channel.is_open
        )

    async def check_end(self) -> None:
        """Every message is in one queue or was acknowledged."""
        self.note_settled()
        gone, dead, doubt = self.acknowledged, self.rejected, self.in_doubt
        async with asyncio.timeout(MAX_WAIT):
            ready: list[bytes] = []
            while not set(self.published) - gone - dead - doubt <= set(ready):
                await asyncio.sleep(0.01)
                ready += [body for body, _ in await get_all(self.url, QUEUE)]
            letters: list[bytes] = []
            while not dead <= set(letters):
                letters += [body for body, _ in await get_all(self.url, DEAD)]
        found = ready + letters
        assert len(set(found)) == len(found), "RabbitMQ has a message twice"
        assert not gone & set(found), "an acknowledged message is there again"


def test_every_message_is_in_exactly_one_state(vhost_url: str) -> None:
    class Machine(OnRabbitMQ):
        url = vhost_url

    run_state_machine_as_test(
        Machine,
        settings=hypothesis.settings(
            max_examples=15, stateful_step_count=20, phases=[Phase.generate]
        ),
    )
