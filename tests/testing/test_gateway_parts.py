"""Link, subscription and publisher on the broker in memory, in virtual time."""

from __future__ import annotations

import logging
from functools import partial

import pytest
from anyio import current_time, sleep

from gateway.amqp.connection.link import Link
from gateway.amqp.connection.urls import parse_broker_url
from gateway.amqp.consume.delivery import Delivery
from gateway.amqp.publish.publication import Outcome
from gateway.core.bridge import AsyncioSide, open_asyncio_side
from gateway.testing.memory_broker import NO_PROPERTIES, MemoryBroker
from gateway.testing.routing import BrokerBinding
from gateway.testing.virtual_time import VirtualTimeLoop
from tests.rabbitmq.amqp import open_subscription, settings, until
from tests.rabbitmq.amqp import take as take_within
from tests.rabbitmq.test_closed_for_error import Outcomes, open_publishers, publish

pytestmark = pytest.mark.anyio

BODIES = [b"%d" % number for number in range(10)]


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    return "asyncio", {"loop_factory": VirtualTimeLoop}


class Taker:
    """A request without a task."""

    def __init__(self) -> None:
        self.taken: list[Delivery] = []

    def take(self, delivery: Delivery) -> None:
        self.taken.append(delivery)


take = partial(take_within, seconds=60)


async def test_a_subscription_takes_and_acknowledges(
    memory: MemoryBroker, side: AsyncioSide
) -> None:
    async with open_subscription(side, memory.url, settings("q")) as subscription:
        memory.publish("any.key", BODIES, "ex")
        for body in BODIES:
            delivery = await take(subscription)
            assert delivery.body == body
            delivery.acknowledge()
    assert memory.count("q") == (0, 0)


async def test_the_backoff_of_a_link_takes_virtual_time(
    memory: MemoryBroker, side: AsyncioSide, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "gateway.amqp")
    wanted = settings("q", backoff_strategy="linear")
    async with open_subscription(side, memory.url, wanted) as subscription:
        memory.is_available = False
        memory.cut()
        start = current_time()
        await sleep(3600)
        assert not subscription.is_ready
        memory.is_available = True
        await until(lambda: subscription.is_ready, seconds=3600)
        assert current_time() - start > 3600
    assert "connection refused" in caplog.text


async def test_a_broker_that_hangs_is_left_after_two_heartbeats(
    memory: MemoryBroker, side: AsyncioSide
) -> None:
    link = Link((parse_broker_url(memory.url),), "consume", side)
    async with link.opened():
        await until(lambda: link.is_connected)
        await sleep(600)
        assert link.is_connected
        memory.hang()
        start = current_time()
        await until(lambda: not link.is_connected, seconds=60)
        assert 15 <= current_time() - start <= 20.1
        memory.resume()
        await until(lambda: link.is_connected, seconds=60)


async def test_a_subscription_becomes_idle_after_idle_return(
    memory: MemoryBroker, side: AsyncioSide
) -> None:
    wanted = settings("q", idle_return=900.0)
    async with open_subscription(side, memory.url, wanted) as subscription:
        memory.publish("q", BODIES)
        for _ in range(3):
            (await take(subscription)).acknowledge()
        held = await take(subscription)
        await until(lambda: len(subscription.buffer) > 0)
        await sleep(899)
        assert memory.count("q")[1] == 1
        await sleep(2)
        assert memory.count("q") == (6, 0)
        assert memory.queue("q").ready[0].body == BODIES[4]
        held.acknowledge()
    assert memory.count("q") == (6, 0)


async def test_without_requests_a_full_buffer_returns_its_messages_too(
    memory: MemoryBroker, side: AsyncioSide
) -> None:
    wanted = settings("q", prefetch_count=5, idle_return=2.0)
    async with open_subscription(side, memory.url, wanted, max_bytes=3000) as subscription:
        first, *others = [Taker() for _ in range(3)]
        for taker in (first, *others):
            subscription.wait(taker)
        await sleep(0.1)
        memory.publish("q", [b"x" * 1000] * 5)
        await sleep(0.1)
        assert [subscription.withdraw(other) for other in others] == [True, True]
        first.taken[0].give_back()
        await sleep(5)
        assert len(subscription.buffer) == 0
        assert memory.count("q") == (5, 0)


async def test_a_request_gets_the_credit_that_a_message_of_an_older_consumer_used(
    memory: MemoryBroker, side: AsyncioSide
) -> None:
    wanted = settings("q", prefetch_count=5, idle_return=0.05)
    async with open_subscription(side, memory.url, wanted) as subscription:
        memory.publish("q", BODIES[:6])
        takers = [Taker() for _ in range(5)]
        for taker in takers[:3]:
            subscription.wait(taker)
        await sleep(0.5)
        assert await subscription.fetch() is not None
        for taker in takers[3:]:
            subscription.wait(taker)
        await sleep(0.5)
        assert [len(each.taken) for each in takers] == [1, 1, 1, 1, 0]
        takers[0].taken[0].acknowledge()
        await sleep(0.5)
        assert [len(each.taken) for each in takers] == [1, 1, 1, 1, 1]


@pytest.mark.parametrize("how", ["acknowledge", "reject", "give_back", "park"])
async def test_rare_requests_hold_no_more_messages_than_the_prefetch(
    memory: MemoryBroker, side: AsyncioSide, how: str
) -> None:
    wanted = settings("q", prefetch_count=1)
    async with open_subscription(side, memory.url, wanted) as subscription:
        memory.publish("q", BODIES)
        first, second = Taker(), Taker()
        subscription.wait(first)
        await sleep(5)
        subscription.wait(second)
        await sleep(5)
        assert (len(first.taken), len(second.taken)) == (1, 0)
        getattr(first.taken[0], how)()
        await sleep(0.5)
        assert len(second.taken) == 1


async def test_a_message_whose_pause_ends_in_an_idle_gateway_returns_in_time(
    memory: MemoryBroker, side: AsyncioSide
) -> None:
    wanted = settings("q", idle_return=2.0)
    async with open_subscription(side, memory.url, wanted) as subscription:
        memory.publish("q", BODIES[:1])
        (await take(subscription)).park(60)
        await sleep(600)
        assert [each.tries for each in subscription.buffer.ready] == [1]
        await sleep(400)
        assert len(subscription.buffer) == 0
        assert memory.count("q") == (1, 0)


async def test_messages_of_a_lost_channel_leave_the_buffer(
    memory: MemoryBroker, side: AsyncioSide
) -> None:
    wanted = settings("q", idle_return="never", prefetch_count=5)
    async with open_subscription(side, memory.url, wanted) as subscription:
        memory.publish("q", BODIES)
        for _ in range(4):
            await take(subscription)
        await until(lambda: len(subscription.buffer) == 1)
        memory.cut()
        await sleep(1)
        assert len(subscription.buffer) == 0


async def test_a_publisher_confirms_through_cuts_and_alarms(
    memory: MemoryBroker, side: AsyncioSide
) -> None:
    outcomes: Outcomes = []
    async with open_publishers(side, memory.url, "ex") as [publisher]:
        memory.state.declare_queue("q")
        memory.state.bind("ex", BrokerBinding("q", "k"))
        publish(publisher, b"k", NO_PROPERTIES, outcomes)
        await until(lambda: len(outcomes) == 1)
        memory.block()
        publish(publisher, b"k", NO_PROPERTIES, outcomes)
        await sleep(60)
        publish(publisher, b"k", NO_PROPERTIES, outcomes)
        await sleep(60)
        assert "memory or disk alarm" in publisher.why_waiting()
        assert memory.count("q") == (2, 0)
        memory.unblock()
        await until(lambda: len(outcomes) == 3)
        memory.hang()
        publish(publisher, b"k", NO_PROPERTIES, outcomes)
        await sleep(1)
        memory.cut()
        memory.resume()
        await until(lambda: len(outcomes) == 4, seconds=60)
    assert {outcome for _, outcome in outcomes} == {Outcome.CONFIRMED}
    assert memory.count("q") == (4, 0)


async def test_an_operator_closes_the_connection_and_messages_return(
    memory: MemoryBroker, side: AsyncioSide, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_subscription(side, memory.url, settings("q")) as subscription:
        memory.publish("q", BODIES)
        held = await take(subscription)
        memory.close_connections(text="CONNECTION_FORCED - by an operator")
        assert memory.count("q") == (10, 0)
        await until(lambda: memory.accepted == 2 and subscription.is_ready)
        held.acknowledge()  # its channel is gone: settles nothing
        again = await take(subscription)
        assert (again.body, again.redelivered) == (BODIES[0], True)
    assert "by an operator" in caplog.text


@pytest.mark.parametrize("seed", range(20))
async def test_bytes_in_pieces_of_any_size_are_the_same(seed: int) -> None:
    memory = MemoryBroker(seed=seed, latency=0.001)
    async with open_asyncio_side(memory.create_connection) as side:
        async with open_subscription(side, memory.url, settings("q")) as subscription:
            bodies = [b"x" * (number * 97) for number in range(30)]
            memory.publish("q", bodies)
            for body in bodies:
                delivery = await take(subscription)
                assert delivery.body == body
                delivery.acknowledge()
        assert memory.count("q") == (0, 0)
        assert memory.connections == []


async def test_a_wrong_password_is_refused() -> None:
    memory = MemoryBroker(users={"guest": "other"})
    async with open_asyncio_side(memory.create_connection) as side:
        link = Link((parse_broker_url(memory.url),), "consume", side)
        async with link.opened():
            await until(lambda: "Login was refused" in link.problem)
