"""Link, subscription and publisher on the broker in memory, in virtual time."""

from __future__ import annotations

import logging

import pytest
from anyio import current_time, fail_after, sleep

from gateway.amqp.connection.link import Link
from gateway.amqp.connection.urls import parse_broker_url
from gateway.amqp.consume.buffer import Delivery
from gateway.amqp.consume.subscription import Subscription
from gateway.core.bridge import AsyncioSide
from gateway.testing.memory_broker import MemoryBroker
from gateway.testing.virtual_time import VirtualTimeLoop
from tests.rabbitmq.amqp import open_subscription, settings, until

pytestmark = pytest.mark.anyio

BODIES = [b"%d" % number for number in range(10)]


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    return "asyncio", {"loop_factory": VirtualTimeLoop}


async def take(subscription: Subscription) -> Delivery:
    with fail_after(60):
        return subscription.buffer.take_nowait() or await subscription.take()


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


async def test_a_subscription_becomes_idle_after_15_minutes(
    memory: MemoryBroker, side: AsyncioSide
) -> None:
    async with open_subscription(side, memory.url, settings("q")) as subscription:
        memory.publish("q", BODIES)
        (await take(subscription)).acknowledge()
        await sleep(899)
        assert memory.count("q") == (0, 1)
        await sleep(2)
        assert memory.count("q") == (9, 0)
        assert memory.queue("q").ready[0].body == BODIES[1]
