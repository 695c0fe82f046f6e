"""Subscriptions without requests: the gateway holds no message, or as few as RabbitMQ allows."""

from __future__ import annotations

from typing import Any

import aiormq
import pytest
from anyio import fail_after, move_on_after, sleep

from bench.process import consumer, endpoint
from gateway.core.bridge import AsyncioSide
from tests.router.support import ask

from .amqp import (
    QUORUM,
    count,
    delete_queue,
    gateway_for,
    get_all,
    open_amqp,
    open_subscription,
    publish,
    settings,
    take,
    until,
    until_count,
)

pytestmark = pytest.mark.anyio

BODIES = [b'{"n":0}', b'{"n":1}', b'{"n":2}']


async def test_a_gateway_without_a_request_takes_no_message(
    side: AsyncioSide, vhost_url: str
) -> None:
    app = endpoint("/", consumer(vhost_url, "q", **QUORUM))
    for number in range(5):
        async with gateway_for(app):
            if not number:
                await side.run(publish, vhost_url, "q", BODIES)
            assert await side.run(count, vhost_url, "q") == (3, 0)
    messages = await side.run(get_all, vhost_url, "q")
    assert [body for body, _ in messages] == BODIES
    assert [headers.get("x-delivery-count", 0) for _, headers in messages] == [0, 0, 0]


async def test_the_first_request_attaches_and_is_answered(
    side: AsyncioSide, vhost_url: str
) -> None:
    async with gateway_for(endpoint("/", consumer(vhost_url, "q"))) as app:
        await side.run(publish, vhost_url, "q", BODIES)
        assert [(await ask(app, "GET", "/")).body for _ in BODIES] == BODIES
        assert (await ask(app, "GET", "/")).status == 204


async def test_when_idle_buffered_messages_are_returned_in_order_and_held_ones_stay(
    side: AsyncioSide, any_url: str
) -> None:
    wanted = settings("q", idle_return=0.05)
    async with open_subscription(side, any_url, wanted) as subscription:
        await side.run(publish, any_url, "q", BODIES)
        held = await take(subscription)
        await until_count(side, any_url, "q", 2)
        assert len(subscription.buffer) == 0
        assert not subscription.is_attached
        held.acknowledge()
        assert [(await take(subscription)).body for _ in range(2)] == BODIES[1:]


async def test_a_message_that_is_given_back_when_idle_is_returned_to_the_queue(
    side: AsyncioSide, any_url: str
) -> None:
    wanted = settings("q", idle_return=0.05)
    async with open_subscription(side, any_url, wanted) as subscription:
        await side.run(publish, any_url, "q", BODIES)
        held = await take(subscription)
        await until_count(side, any_url, "q", 2)
        held.give_back()
        await until_count(side, any_url, "q", 3)
        assert [(await take(subscription)).body for _ in BODIES] == BODIES


async def test_a_parked_message_stays_parked_when_idle(side: AsyncioSide, any_url: str) -> None:
    wanted = settings("q", idle_return=0.05)
    async with open_subscription(side, any_url, wanted) as subscription:
        await side.run(publish, any_url, "q", BODIES)
        (await take(subscription)).park(3600)
        await until_count(side, any_url, "q", 2)
        assert [(await take(subscription)).body for _ in range(2)] == BODIES[1:]
    await until_count(side, any_url, "q", 3)


async def test_a_message_parked_for_too_long_goes_back_to_the_queue(
    side: AsyncioSide, any_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.amqp.consume.subscription_channel.MAX_PARKED_TIME", 0.05)
    async with open_subscription(side, any_url, settings("q")) as subscription:
        await side.run(publish, any_url, "q", BODIES[:1])
        (await take(subscription)).park(3600)
        again = await take(subscription)
        assert (again.body, again.tries, again.redelivered) == (BODIES[0], 0, True)
        again.acknowledge()


@pytest.mark.parametrize("changes", [{"delete": True}, {"arguments": {"x-expires": 300}}])
async def test_a_queue_that_rabbitmq_deletes_without_a_consumer_always_has_one(
    side: AsyncioSide, any_url: str, changes: dict[str, Any]
) -> None:
    wanted = settings("q", prefetch_count=2, idle_return=0.05, **changes)
    async with open_subscription(side, any_url, wanted) as subscription:
        for _ in range(3):
            with move_on_after(0.02):
                await subscription.take()
            await until(lambda: not subscription.is_attached)
            await sleep(0.4)  # longer than it may live without a consumer
            assert (await side.run(count, any_url, "q"))[1] == 1
        await side.run(publish, any_url, "q", BODIES)
        await until_count(side, any_url, "q", 2)
        bodies = []
        for _ in BODIES:
            delivery = await take(subscription)
            bodies.append(delivery.body)
            delivery.acknowledge()
        assert sorted(bodies) == BODIES


async def test_undecodable_messages_do_not_delete_an_auto_delete_queue(
    side: AsyncioSide, vhost_url: str
) -> None:
    backend = consumer(vhost_url, "q", delete=True, prefetch_count=2)
    async with gateway_for(endpoint("/", backend, timeout="2s")) as app:
        await side.run(publish, vhost_url, "q", [b"no", b"document", *BODIES])
        replies = [await ask(app, "GET", "/") for _ in range(5)]
        assert [reply.status for reply in replies] == [502, 502, 200, 200, 200]
        assert [reply.body for reply in replies[2:]] == BODIES


async def test_the_prefetch_of_a_shared_subscription_is_the_sum(
    side: AsyncioSide, vhost_url: str
) -> None:
    backends = [consumer(vhost_url, "q", prefetch_count=1) for _ in range(2)]
    for number, backend in enumerate(backends):
        backend["group"] = f"g{number}"
    async with gateway_for(endpoint("/", *backends)) as app:
        await side.run(publish, vhost_url, "q", BODIES[:2])
        reply = await ask(app, "GET", "/")
        assert sorted(each["n"] for each in reply.json().values()) == [0, 1]
        assert reply.headers["x-krakend-completed"] == "true"


async def test_a_queue_that_was_deleted_while_idle_is_declared_and_bound_again(
    side: AsyncioSide, any_url: str
) -> None:
    async with open_subscription(
        side, any_url, settings("q"), redeclare_interval=0.05
    ) as subscription:
        await side.run(delete_queue, any_url, "q")
        with fail_after(10):
            while not await side.run(exists, any_url, "q"):
                await sleep(0.02)
        await until(lambda: subscription.is_ready)
        await side.run(publish, any_url, "any.key", BODIES[:1], "ex")
        (await take(subscription)).acknowledge()


async def test_an_exchange_that_was_deleted_gets_its_bindings_again(
    side: AsyncioSide, any_url: str
) -> None:
    async with open_subscription(
        side, any_url, settings("q"), redeclare_interval=0.05
    ) as subscription:
        await side.run(delete_exchange, any_url, "ex")
        with fail_after(10):
            delivery = None
            while delivery is None:
                await side.run(publish_if_possible, any_url, "any.key", BODIES[0], "ex")
                with move_on_after(0.05):
                    delivery = await subscription.take()
        delivery.acknowledge()


async def exists(url: str, queue: str) -> bool:
    try:
        await count(url, queue)
    except aiormq.exceptions.ChannelNotFoundEntity:
        return False
    return True


async def delete_exchange(url: str, exchange: str) -> None:
    async with open_amqp(url) as connection:
        channel = await connection.channel()
        await channel.exchange_delete(exchange)


async def publish_if_possible(url: str, key: str, body: bytes, exchange: str) -> None:
    try:
        await publish(url, key, [body], exchange)
    except aiormq.exceptions.AMQPError:
        return
