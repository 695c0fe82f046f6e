"""Every message is in exactly one state, whatever happens in which order: on the broker in
memory, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf
from typing import Any

import hypothesis
import pytest
from hypothesis import Phase
from hypothesis import strategies as st
from hypothesis.stateful import run_state_machine_as_test

from gateway.amqp.consume.subscription_channel import SubscriptionChannel
from gateway.amqp.settings import ConsumerSettings
from gateway.amqp.wire.properties import delivery_count
from gateway.testing.memory_broker import MemoryBroker
from gateway.testing.queue import BrokerQueue, QueueConsumer
from gateway.testing.rules import BY_VERSION
from gateway.testing.session_channel import BrokerChannel
from gateway.testing.virtual_time import VirtualTimeLoop
from tests.rabbitmq.every_message import DEAD, QUEUE, EveryMessage, Replica

TEXT = "CONNECTION_FORCED - test"


def bodies(queue: BrokerQueue) -> list[bytes]:
    return [message.body for message in queue.ready]


class OnBrokerInMemory(EveryMessage):
    """``gone``: acknowledged at the broker. ``dead``: rejected at the broker."""

    dies = ({}, {}, {"delete": True}, {"arguments": {"x-expires": 3_600_000}})

    def choose_broker(self, data: st.DataObject) -> None:
        version = data.draw(st.sampled_from(sorted(BY_VERSION)))
        latency, seed = data.draw(st.sampled_from([(0.0, None), (0.0, 1), (0.001, 2)]))
        self.memory = MemoryBroker(BY_VERSION[version], latency=latency, seed=seed)

    url = "amqp://guest:guest@broker.memory/"
    memory: MemoryBroker

    def new_loop(self) -> asyncio.AbstractEventLoop:
        self.gone: set[bytes] = set()
        self.dead: set[bytes] = set()
        return VirtualTimeLoop()

    async def connect(self, *args: Any, **options: Any) -> Any:
        self.memory.is_available = self.is_available
        return await self.memory.create_connection(*args, **options)

    async def prepare(self, wanted: ConsumerSettings) -> None:
        self.memory.state.declare_queue(DEAD, durable=True)
        self.keep_queue()

    def keep_queue(self) -> None:
        """Another client has a consumer, which gets no message: so the queue is not deleted when
        the gateways have none."""
        if self.wanted.dies_without_consumer:
            queue = self.memory.queue(QUEUE)
            other = QueueConsumer("other", queue, lambda *_: None, lambda _: None, prefetch=1)
            other.unacked = 1
            queue.consumers.append(other)
            queue.used()

    async def publish(self, bodies: list[bytes]) -> None:
        self.memory.publish(QUEUE, bodies)

    def faults(self) -> list[Callable[[Replica], object]]:
        return [
            *super().faults(),
            self.close_connections,
            self.close_channels,
            self.cancel_consumers,
        ]

    def close_connections(self, replica: Replica) -> None:
        self.fault()
        self.memory.close_connections()

    def close_channels(self, replica: Replica) -> None:
        self.fault()
        self.memory.close_channels()

    def cancel_consumers(self, replica: Replica) -> None:
        self.memory.cancel_consumers(QUEUE)
        self.keep_queue()

    # What the broker has.

    def check_states(self) -> None:
        super().check_states()
        self.check_broker()

    def broker_channels(self) -> list[tuple[Any, BrokerChannel]]:
        """With the gateway's end of their connections."""
        return [
            (transport.get_protocol(), channel)
            for transport in self.memory.connections
            for channel in transport.session.channels.values()
        ]

    def check_broker(self) -> None:
        """At any moment: each message is ready, unacknowledged, rejected or acknowledged."""
        if QUEUE not in self.memory.state.queues or DEAD not in self.memory.state.queues:
            return
        queue, dead = self.memory.queue(QUEUE), self.memory.queue(DEAD)
        unacked = [
            each.entry.message.body
            for _, channel in self.broker_channels()
            for each in channel.unacked.values()
        ]
        found = [*bodies(queue), *unacked, *bodies(dead)]
        assert len(set(found)) == len(found), "the broker has a message twice"
        assert set(found) <= set(self.published)
        gone = set(self.published) - set(found)
        assert self.gone <= gone, "an acknowledged message is there again"
        assert self.dead <= set(bodies(dead))
        self.gone, self.dead = gone, set(bodies(dead))

    async def look(self) -> None:
        """Also: what the gateways have is exactly what the broker knows as unacknowledged."""
        await self.until_quiet()
        super().check_states()
        before_gone, before_dead = self.known
        self.check_broker()
        acknowledged, rejected, perhaps_acknowledged, perhaps_rejected = self.settled_surely()
        new_gone, new_dead = self.gone - before_gone, self.dead - before_dead
        assert acknowledged <= self.gone, "an acknowledgement was lost"
        assert rejected <= self.dead, "a rejection was lost"
        assert new_gone <= acknowledged | perhaps_acknowledged, "a message is lost"
        assert new_dead <= rejected | perhaps_rejected, (
            "a message was rejected, but no request has rejected it"
        )
        self.known = self.gone, self.dead
        matched = [self.check_replica(replica) for replica in self.replicas]
        for _, channel in self.broker_channels():
            assert channel in matched or not channel.unacked, (
                "a message is unacknowledged, but no gateway has it"
            )

    known: tuple[set[bytes], set[bytes]] = (set(), set())

    async def until_quiet(self) -> None:
        quiet = 0
        for _ in range(5000):
            await asyncio.sleep(0.02)
            is_quiet = not any(
                len(stream)
                for each in self.memory.connections
                for stream in (each._to_client, each._to_broker)
            ) and all(
                replica.running is not None and replica.running.done() == replica.is_stopped
                for replica in self.replicas
            )
            quiet = quiet + 1 if is_quiet else 0
            if quiet == 3:
                return
        raise AssertionError("never quiet")

    def check_replica(self, replica: Replica) -> BrokerChannel | None:
        channel = replica.channel
        if channel is None:
            assert not any(each.channel.is_open for each in replica.held)
            assert not replica.subscription.buffer.ready, "messages of a lost channel"
            return None
        assert channel.is_open
        assert len(replica.buffered(channel)) == len(replica.subscription.buffer)
        theirs = next(
            other
            for tap, other in self.broker_channels()
            if tap is replica.tap and other.number == channel._channel
        )
        known = {
            each.tag: each.body
            for each in (
                *replica.buffered(channel),
                *replica.held_on(channel),
                *channel._timers,
            )
        }
        unacked = {tag: each.entry.message.body for tag, each in theirs.unacked.items()}
        assert known == unacked, f"known {sorted(known)}, unacknowledged {sorted(unacked)}"
        assert not replica.fetches, "a fetch has no response"
        self.check_demand(replica, channel, theirs)
        self.check_supply(replica, channel)
        return theirs

    def check_supply(self, replica: Replica, channel: SubscriptionChannel) -> None:
        """No request waits while a message is ready, unless a bound is reached. And no bound is
        passed. (Basic.Get takes a message beyond the prefetch, for a request that is there.)"""
        subscription = replica.subscription
        assert subscription._attachment is not None
        maximum = subscription._max_prefetch
        bounds = subscription._attachment._bounds
        if not self.fetched:
            raised = maximum + 2 * replica.largest_raise
            most = 2 * raised + 2 * self.wanted.dies_without_consumer
            assert channel.in_use <= most, f"{channel.in_use} messages, at most {maximum}"
            unsent = [each for each in replica.held_on(channel) if not each.is_sent]
            unparked = sum(not each.tries for each in unsent)
            assert unparked <= maximum, f"requests hold {unparked} messages, at most {maximum}"
        now = self.loop.time()
        if min(now - self.changed_at, now - (subscription._ready_at or 0.0)) < 1.0:
            return
        if replica.waiting and len(self.memory.queue(QUEUE)):
            has_room = channel.held_bytes <= subscription._max_bytes // 2
            assert not has_room or not bounds.room, (
                f"a request waits: {channel.in_use_unsent} of {maximum} messages, "
                f"{channel.held_bytes} bytes"
            )

    def check_demand(
        self, replica: Replica, channel: SubscriptionChannel, theirs: BrokerChannel
    ) -> None:
        """A gateway without requests has no message, and no consumer."""
        subscription = replica.subscription
        silence = self.loop.time() - max(replica.asked_at, subscription._ready_at or 0.0)
        idle_return = subscription._idle_return
        if idle_return == inf or silence < idle_return + 1.0:
            return
        kept = 1 if self.wanted.dies_without_consumer else 0
        assert len(theirs.consumers) == kept, f"{len(theirs.consumers)} consumers when idle"
        buffered = [
            each
            for each in replica.buffered(channel)
            if not (each.tries and self.loop.time() - each.parked_at < 1.5 * self.max_parked)
            and delivery_count(each.properties) < 10
        ]
        assert len(buffered) <= 2 * kept, f"{len(buffered)} messages in the buffer when idle"

    async def check_end(self) -> None:
        await asyncio.sleep(0.05)
        self.check_broker()
        assert not self.broker_channels()
        queue = self.memory.queue(QUEUE)
        rest = set(self.published) - self.gone - self.dead
        assert set(bodies(queue)) == rest
        queue.arguments.pop("x-expires", None)
        queue.used()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        assert not others, f"tasks left: {others}"
        timers = [each for each in self.loop._scheduled if not each.cancelled()]  # type: ignore[attr-defined]
        assert not timers, f"timers left: {timers}"


@pytest.mark.timeout(300)  # of a failure: its steps are made fewer
def test_every_message_is_in_exactly_one_state() -> None:
    run_state_machine_as_test(
        OnBrokerInMemory,
        settings=hypothesis.settings(
            max_examples=300, stateful_step_count=40, phases=[Phase.generate, Phase.shrink]
        ),
    )
