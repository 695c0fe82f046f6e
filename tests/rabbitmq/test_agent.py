"""Agents of the whole gateway on a real RabbitMQ: from queue to exchange, in good days and bad."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import aiormq
import pytest
from anyio import fail_after, sleep, to_thread
from pamqp.commands import Basic

from bench.process import agent, configuration, consumer, producer
from gateway.amqp.wire.frame import CONTENT_PREFIX_BYTES
from gateway.app.service import open_gateway
from gateway.core.bridge import AsyncioSide
from gateway.demo.broker import Broker

from ..amqp.codec import encode_known
from .amqp import close_connections, publish, until, until_count

pytestmark = pytest.mark.anyio


def moving(
    url: str, *backends: dict[str, Any], workers: int = 1, **settings: Any
) -> dict[str, Any]:
    """An agent that moves messages from the queue "from" to the exchange "to"."""
    targets = backends or (producer(url, "to", name="target"),)
    return configuration(async_agent=[agent(url, "from", *targets, workers=workers, **settings)])


async def drain(url: str, queue: str) -> list[tuple[bytes, Basic.Properties]]:
    """Everything in the queue. Runs under asyncio."""
    messages: list[tuple[bytes, Basic.Properties]] = []
    async with aiormq.connect(url) as connection:
        channel = await connection.channel()
        while True:
            message = await channel.basic_get(queue, no_ack=True)
            if not isinstance(message.delivery, Basic.GetOk):
                return messages
            messages.append((bytes(message.body), message.header.properties))


async def publish_with(url: str, queue: str, properties: Basic.Properties) -> None:
    async with aiormq.connect(url) as connection:
        channel = await connection.channel()
        await channel.basic_publish(b"x", routing_key=queue, properties=properties)


async def declare(url: str, queue: str) -> None:
    async with aiormq.connect(url) as connection:
        channel = await connection.channel()
        await channel.queue_declare(queue, durable=True)


def numbered(number: int) -> list[bytes]:
    return [b"%d" % each for each in range(number)]


async def test_messages_are_moved_in_their_order(side: AsyncioSide, vhost_url: str) -> None:
    async with open_gateway(moving(vhost_url)) as gateway:
        await until(lambda: gateway.readiness()["ready"])
        await side.run(publish, vhost_url, "from", numbered(200))
        await until_count(side, vhost_url, "target", 200)
    await until_count(side, vhost_url, "from", 0)
    assert [body for body, _ in await side.run(drain, vhost_url, "target")] == numbered(200)


async def test_an_agent_holds_at_most_two_messages_for_each_worker(
    side: AsyncioSide, vhost_url: str
) -> None:
    waits = consumer(vhost_url, "empty")
    wanted = moving(vhost_url, waits, workers=2, prefetch_count=50)
    async with open_gateway(wanted) as gateway:
        await until(lambda: gateway.readiness()["ready"])
        await side.run(publish, vhost_url, "from", numbered(20))
        await until_count(side, vhost_url, "from", 16)
    await until_count(side, vhost_url, "from", 20)


async def test_a_moved_message_keeps_its_properties(side: AsyncioSide, vhost_url: str) -> None:
    properties = Basic.Properties(
        content_type="text/plain",
        correlation_id="c",
        message_id="m-1",
        message_type="order",
        priority=3,
        headers={"X-Tenant": "t", "n": 7},
    )
    target = producer(
        vhost_url,
        "to",
        name="target",
        reply_to_key="{amqp.routing_key}",
    )
    async with open_gateway(moving(vhost_url, target)) as gateway:
        await until(lambda: gateway.readiness()["ready"])
        await side.run(publish_with, vhost_url, "from", properties)
        await until_count(side, vhost_url, "target", 1)
    ((_, moved),) = await side.run(drain, vhost_url, "target")
    assert moved.content_type == "text/plain"
    assert moved.correlation_id == "c"
    assert moved.message_id == "m-1"
    assert moved.message_type == "order"
    assert moved.priority == 3
    assert moved.headers == {"X-Tenant": "t", "n": 7}
    assert moved.delivery_mode == 2
    assert moved.reply_to == "from"


async def test_a_message_whose_properties_are_larger_than_a_frame_fails_alone(
    side: AsyncioSide, vhost_url: str
) -> None:
    # As large as can be; moved, it gets a delivery mode as well.
    room = 131_072 - 8 - CONTENT_PREFIX_BYTES - len(encode_known(message_id="m", headers={"x": ""}))
    large = Basic.Properties(message_id="m", headers={"x": "a" * room})
    async with open_gateway(moving(vhost_url, workers=2)) as gateway:
        await until(lambda: gateway.readiness()["ready"])
        await side.run(publish_with, vhost_url, "from", large)
        await until(lambda: _agent(gateway)["failures"] >= 1)
        await side.run(publish, vhost_url, "from", numbered(3))
        await until_count(side, vhost_url, "target", 3)
        assert all(each["ready"] for each in gateway.readiness()["resources"])
    await until_count(side, vhost_url, "from", 1)


FULL = {"x-max-length": 1, "x-overflow": "reject-publish"}


@pytest.mark.parametrize("workers", [1, 5])
async def test_a_message_that_always_fails_becomes_a_dead_letter(
    side: AsyncioSide, vhost_url: str, workers: int
) -> None:
    await side.run(declare, vhost_url, "dead")
    config = moving(
        vhost_url,
        producer(vhost_url, "to", name="target", arguments=FULL),
        workers=workers,
        max_redeliveries=2,
        retry={"delay": "10ms"},
        dead_letter={"exchange": "", "routing_key": "dead"},
    )
    async with open_gateway(config) as gateway:
        await until(lambda: gateway.readiness()["ready"])
        await side.run(publish, vhost_url, "from", numbered(10))
        await until_count(side, vhost_url, "dead", 9)
    await until_count(side, vhost_url, "from", 0)
    moved = await side.run(drain, vhost_url, "target")
    dead = await side.run(drain, vhost_url, "dead")
    assert Counter(body for body, _ in [*moved, *dead]) == Counter(numbered(10))


async def test_a_dead_letter_that_is_routed_to_no_queue_is_not_lost(
    side: AsyncioSide, vhost_url: str
) -> None:
    config = moving(
        vhost_url,
        producer(vhost_url, "to", name="target", arguments=FULL),
        nack_discard=True,
        dead_letter={"exchange": "", "routing_key": "nowhere"},
    )
    async with open_gateway(config) as gateway:
        await until(lambda: gateway.readiness()["ready"])
        await side.run(publish, vhost_url, "from", numbered(2))
        await until(lambda: _agent(gateway)["failures"] >= 1)
        await sleep(0.1)
    await until_count(side, vhost_url, "from", 1)


async def test_a_dead_letter_that_cannot_be_published_does_not_block_other_messages(
    side: AsyncioSide, vhost_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.amqp.agent.dead_letters.DEAD_LETTER_TIMEOUT", 0.3)
    config = moving(
        vhost_url,
        producer(vhost_url, "to", name="target", arguments=FULL),
        nack_discard=True,
        dead_letter={"exchange": "missing", "routing_key": "x"},
    )
    async with open_gateway(config) as gateway:
        await until(lambda: _agent(gateway)["ready"])
        await side.run(publish, vhost_url, "from", numbered(4))
        await until(lambda: _agent(gateway)["failures"] >= 3)
    await until_count(side, vhost_url, "from", 3)


async def test_every_message_arrives_whatever_happens_to_connections(
    side: AsyncioSide, vhost_url: str, broker: Broker
) -> None:
    number = 10_000
    await side.run(declare, vhost_url, "from")
    await side.run(publish, vhost_url, "from", numbered(number))
    async with open_gateway(moving(vhost_url, workers=50, prefetch_count=200)):
        for _ in range(3):
            await sleep(0.3)
            await close_connections(broker, vhost_url)
        with fail_after(60):
            while not await to_thread.run_sync(is_empty, broker, vhost_url):
                await sleep(0.1)
    await until_count(side, vhost_url, "from", 0)
    arrived = {int(body) for body, _ in await side.run(drain, vhost_url, "target")}
    assert arrived == set(range(number))


async def test_agents_alone_make_a_gateway(vhost_url: str) -> None:
    config = configuration(
        async_agent=[
            agent(vhost_url, f"q{number}", producer(vhost_url, "to", name="target"))
            for number in range(20)
        ]
    )
    async with open_gateway(config) as gateway:
        await until(lambda: gateway.readiness()["ready"])
        names = [each["agent"] for each in gateway.readiness()["resources"] if "agent" in each]
        assert names == [f"agent-q{number}" for number in range(20)]


def is_empty(broker: Broker, url: str) -> bool:
    vhost = url.rsplit("/", 1)[1]
    rows = json.loads(
        broker.ctl("list_queues", "-p", vhost, "name", "messages", "--formatter", "json")
    )
    return all(row["messages"] == 0 for row in rows if row["name"] == "from")


def _agent(gateway: Any) -> Any:
    return next(each for each in gateway.readiness()["resources"] if "agent" in each)
