"""What a node of RabbitMQ does while another one of the cluster hangs or is down; virtual time."""

from __future__ import annotations

from collections import Counter

import pytest
from anyio import current_time, sleep

from gateway.amqp.connection.urls import parse_broker_url
from gateway.amqp.publish.publication import Outcome
from gateway.amqp.publish.publisher import Publisher, PublishLink
from gateway.amqp.settings import ProducerSettings
from gateway.core.bridge import AsyncioSide, open_asyncio_side
from gateway.testing.memory_broker import NO_PROPERTIES, MemoryBroker
from gateway.testing.routing import BrokerBinding
from gateway.testing.virtual_time import VirtualTimeLoop
from tests.rabbitmq.amqp import open_subscription, settings, take, until
from tests.rabbitmq.test_closed_for_error import Outcomes, open_publishers, publish

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    return "asyncio", {"loop_factory": VirtualTimeLoop}


# Rejected messages.


async def test_a_channel_that_rejects_messages_is_replaced_within_a_second(
    memory: MemoryBroker, side: AsyncioSide
) -> None:
    outcomes: Outcomes = []
    async with open_publishers(side, memory.url, "ex") as [publisher]:
        publish(publisher, b"1", NO_PROPERTIES, outcomes)
        await until(lambda: len(outcomes) == 1)
        memory.reject_messages()
        publish(publisher, b"2", NO_PROPERTIES, outcomes)
        await sleep(0.9)
        assert publisher.is_ready
        publish(publisher, b"3", NO_PROPERTIES, outcomes)
        await until(lambda: len(outcomes) == 3)
    assert outcomes == [
        (b"1", Outcome.CONFIRMED),
        (b"2", Outcome.REFUSED),
        (b"3", Outcome.CONFIRMED),
    ]
    assert memory.accepted == 1


@pytest.mark.parametrize("latency", [0.0, 0.01, 0.1, 0.2, 0.4, 0.6])
async def test_while_a_channel_is_replaced_each_message_is_settled_once(latency: float) -> None:
    memory, outcomes = MemoryBroker(latency=latency), Outcomes()
    async with open_asyncio_side(memory.create_connection) as side:
        async with open_publishers(side, memory.url, "ex") as [publisher]:
            memory.state.declare_queue("q")
            memory.state.bind("ex", BrokerBinding("q", "#"))
            for number in range(1000):
                if number == 100:
                    memory.reject_messages()
                publish(publisher, b"%d" % number, NO_PROPERTIES, outcomes)
                await sleep(0.01)
            await until(lambda: len(outcomes) == 1000, seconds=20)
    counts = Counter(outcome for _, outcome in outcomes)
    assert len({key for key, _ in outcomes}) == 1000
    assert counts[Outcome.CONFIRMED] == memory.count("q")[0]
    if latency <= 0.2:
        assert counts[Outcome.CONFIRMED] > 850


async def test_a_channel_that_rejects_a_message_and_falls_silent_is_replaced(
    memory: MemoryBroker, side: AsyncioSide
) -> None:
    outcomes: Outcomes = []
    async with open_publishers(side, memory.url, "ex") as [publisher]:
        memory.state.declare_queue("q")
        memory.state.bind("ex", BrokerBinding("q", "#"))
        memory.reject_messages(falls_silent=True)
        for key in (b"1", b"2", b"3"):
            publish(publisher, key, NO_PROPERTIES, outcomes)
        await until(lambda: len(outcomes) == 3, seconds=1.5)
        assert sorted(outcomes, key=str) == [
            (b"1", Outcome.REFUSED),
            (b"2", Outcome.CONFIRMED),
            (b"3", Outcome.CONFIRMED),
        ]
        memory.close_channels()
        await until(lambda: not publisher.is_ready)
        publish(publisher, b"4", NO_PROPERTIES, outcomes)
        await until(lambda: len(outcomes) == 4)
    assert memory.count("q") == (3, 0)


# No response to bindings.


async def test_a_subscription_that_declared_before_does_not_wait_for_bindings(
    memory: MemoryBroker, side: AsyncioSide
) -> None:
    async with open_subscription(side, memory.url, settings("q")) as subscription:
        memory.publish("q", [b"1", b"2"])
        memory.stop_at_bindings()
        memory.cut()
        await until(lambda: not subscription.is_ready)
        (await take(subscription, seconds=1)).acknowledge()
        await sleep(60)
        memory.resume_bindings()
        (await take(subscription, seconds=1)).acknowledge()
        await sleep(60)
        assert subscription.is_ready
    assert memory.count("q") == (0, 0)
    assert memory.connections == []


async def test_the_repeated_declaration_does_not_stop_deliveries(
    memory: MemoryBroker, side: AsyncioSide
) -> None:
    async with open_subscription(
        side, memory.url, settings("q"), redeclare_interval=10.0
    ) as subscription:
        memory.stop_at_bindings()
        for number in range(60):
            memory.publish("q", [b"%d" % number])
            (await take(subscription, seconds=0.1)).acknowledge()
            await sleep(1)
        memory.resume_bindings()
    assert memory.count("q") == (0, 0)


def new_publisher(side: AsyncioSide, url: str, wanted: ProducerSettings) -> Publisher:
    link = PublishLink((parse_broker_url(url),), side, limit=1000)
    return link.shared("ex", lambda: Publisher(wanted, link, side)).share_with(wanted)


@pytest.mark.parametrize("durable", [True, False])
async def test_a_publisher_waits_for_a_binding_only_if_it_may_be_gone(
    memory: MemoryBroker, side: AsyncioSide, durable: bool
) -> None:
    outcomes: Outcomes = []
    wanted = ProducerSettings(
        exchange="ex", name="q", routing_key="k", static_routing_key=True, durable=durable
    )
    publisher = new_publisher(side, memory.url, wanted)
    async with publisher._link.opened():
        await until(lambda: publisher.is_ready)
        memory.stop_at_bindings()
        memory.cut()
        await until(lambda: not publisher.is_ready)
        began = current_time()
        publish(publisher, b"k", NO_PROPERTIES, outcomes)
        if not durable:
            await sleep(60)
            assert outcomes == []
            memory.resume_bindings()
        await until(lambda: len(outcomes) == 1, seconds=1)
        assert (current_time() - began < 1) is durable
        memory.resume_bindings()
    assert memory.count("q") == (1, 0)
