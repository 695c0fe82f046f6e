"""Messages that are sent, and wait for the client's acknowledgement, do not use up the prefetch: on
RabbitMQ and on the broker in memory."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from anyio import create_task_group, fail_after, sleep

from gateway.amqp.consume import demand, prefetch_raise
from gateway.amqp.consume.delivery import Delivery
from gateway.amqp.consume.subscription import Subscription
from gateway.core.bridge import AsyncioSide

from .amqp import (
    count,
    numbered,
    open_subscription,
    publish,
    settings,
    take,
    until,
    until_count,
    until_no_consumer,
)

pytestmark = pytest.mark.anyio

SINGLE_ACTIVE = {"arguments": {"x-single-active-consumer": True}}


@asynccontextmanager
async def waiting(subscription: Subscription, number: int) -> AsyncGenerator[list[Delivery]]:
    """So many requests wait during the block; those that still wait at its end are cancelled."""
    taken: list[Delivery] = []

    async def take_one() -> None:
        taken.append(await subscription.take())

    with fail_after(20):
        async with create_task_group() as requests:
            for _ in range(number):
                requests.start_soon(take_one)
            await until(lambda: subscription.buffer.waiting + len(taken) == number)
            yield taken
            requests.cancel_scope.cancel()


async def send(taken: list[Delivery], number: int) -> None:
    """The responses with the first messages are written, each when its request has one."""
    for index in range(number):
        await until(lambda index=index: len(taken) > index)  # type: ignore[misc]
        taken[index].sent()


@pytest.mark.parametrize("is_sent_first", [True, False])
@pytest.mark.parametrize("prefetch", [1, 3])
async def test_a_request_does_not_wait_for_the_acknowledgement_of_messages_that_are_sent(
    side: AsyncioSide, any_url: str, prefetch: int, is_sent_first: bool
) -> None:
    wanted = settings("q", prefetch_count=prefetch)
    async with open_subscription(side, any_url, wanted) as subscription:
        await side.run(publish, any_url, "q", numbered(10))
        held = [await take(subscription) for _ in range(prefetch)]
        if is_sent_first:
            for delivery in held:
                delivery.sent()
        async with waiting(subscription, 1) as taken:
            if not is_sent_first:
                await sleep(0.05)
                assert taken == []
                held[0].sent()
            await until(lambda: taken)
        bodies = [delivery.body for delivery in (*held, *taken)]
        assert bodies == numbered(prefetch + 1)
        for delivery in (*held, *taken):
            delivery.acknowledge()
    await until_count(side, any_url, "q", 10 - prefetch - 1)


async def test_all_requests_are_served_while_no_client_acknowledges(
    side: AsyncioSide, any_url: str
) -> None:
    wanted = settings("q", prefetch_count=2)
    async with open_subscription(side, any_url, wanted) as subscription:
        await side.run(publish, any_url, "q", numbered(50))
        held: list[Delivery] = []
        async with waiting(subscription, 30) as taken:
            while len(held) < 30:
                await until(lambda: taken)
                assert len(taken) <= 2
                held.append(taken.pop(0))
                held[-1].sent()
        assert sorted(delivery.body for delivery in held) == sorted(numbered(30))
        for delivery in held:
            delivery.acknowledge()
    await until_count(side, any_url, "q", 20)


async def test_requests_hold_no_more_than_the_prefetch_before_their_messages_are_sent(
    side: AsyncioSide, any_url: str
) -> None:
    wanted = settings("q", prefetch_count=2)
    async with open_subscription(side, any_url, wanted) as subscription:
        await side.run(publish, any_url, "q", numbered(60))
        async with waiting(subscription, 60) as taken:
            await send(taken, 20)
            for delivery in taken[:20]:  # as a burst: the broker has credit for many messages now
                delivery.acknowledge()
            await sleep(0.1)
            assert len(taken) == 22
            for delivery in taken[20:]:
                delivery.give_back()


async def test_a_message_that_is_sent_and_not_acknowledged_goes_to_the_next_request(
    side: AsyncioSide, any_url: str
) -> None:
    wanted = settings("q", prefetch_count=1)
    async with open_subscription(side, any_url, wanted) as subscription:
        await side.run(publish, any_url, "q", numbered(3))
        first = await take(subscription)
        first.sent()
        second = await take(subscription)
        first.give_back()
        second.acknowledge()
        again = await take(subscription)
        assert again.body == b'{"n":0}'
        again.acknowledge()
        (await take(subscription)).acknowledge()
    await until_count(side, any_url, "q", 0)


async def test_the_raise_ends_when_no_message_is_sent_any_more(
    side: AsyncioSide, any_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefetch_raise, "RAISE_KEPT_TIME", 0.2)
    wanted = settings("q", prefetch_count=1, idle_return=0.4)
    async with open_subscription(side, any_url, wanted) as subscription:
        await side.run(publish, any_url, "q", numbered(100))
        async with waiting(subscription, 20) as taken:
            await send(taken, 20)
        for delivery in taken:
            delivery.acknowledge()
        with fail_after(10):
            buffered = 1
            while buffered:
                delivery = await take(subscription)
                ready, _ = await side.run(count, any_url, "q")
                buffered = 100 - ready - numbered(100).index(delivery.body) - 1
                delivery.acknowledge()
                await sleep(0.02)


async def test_an_idle_gateway_keeps_messages_that_are_sent_and_returns_its_buffer(
    side: AsyncioSide, any_url: str
) -> None:
    wanted = settings("q", prefetch_count=1, idle_return=0.1)
    async with open_subscription(side, any_url, wanted) as subscription:
        await side.run(publish, any_url, "q", numbered(10))
        held: list[Delivery] = []
        for _ in range(4):
            held.append(await take(subscription))
            held[-1].sent()
        await until(lambda: not subscription.is_attached)
        await until_no_consumer(side, any_url, "q")
        await until_count(side, any_url, "q", 6)
        held.append(await take(subscription))
        assert [delivery.body for delivery in held] == numbered(5)
        held[0].give_back()
        await until_count(side, any_url, "q", 6)
        for delivery in held[1:]:
            delivery.acknowledge()
        assert (await take(subscription)).body == b'{"n":0}'
    await until_count(side, any_url, "q", 6)


async def test_the_consumer_ends_with_the_acknowledgement_that_rare_requests_wait_for(
    side: AsyncioSide, any_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demand, "RARE_INTERVAL", 0.05)
    monkeypatch.setattr(demand, "MARK_INTERVAL", 0.001)
    wanted = settings("q", prefetch_count=1)
    async with open_subscription(side, any_url, wanted) as subscription:
        for number in range(5):
            await sleep(0.1)
            async with waiting(subscription, 1) as taken:
                await until(lambda: subscription.is_attached)
                await side.run(publish, any_url, "q", [b"%d" % number, b"next"])
                await until(lambda: taken)
            taken[0].sent()
            await sleep(0.02)
            taken[0].acknowledge()
            await until_no_consumer(side, any_url, "q")
            await until_count(side, any_url, "q", 1)
            (await take(subscription)).acknowledge()
            await until_count(side, any_url, "q", 0)


@pytest.mark.parametrize(
    ("changes", "options"), [(SINGLE_ACTIVE, {}), ({}, {"is_permanent": True})]
)
async def test_sent_messages_use_the_prefetch_of_a_consumer_that_is_not_replaced(
    side: AsyncioSide, any_url: str, changes: dict[str, Any], options: dict[str, Any]
) -> None:
    wanted = settings("q", prefetch_count=1, **changes)
    async with open_subscription(side, any_url, wanted, **options) as subscription:
        await side.run(publish, any_url, "q", numbered(5))
        async with waiting(subscription, 2) as taken:
            await until(lambda: taken)
            taken[0].sent()
            await sleep(0.1)
            assert len(taken) == 1
            taken[0].acknowledge()
            await until(lambda: len(taken) == 2)
            taken[1].acknowledge()


async def test_the_bytes_of_sent_messages_count(side: AsyncioSide, any_url: str) -> None:
    wanted = settings("q", prefetch_count=1)
    async with open_subscription(side, any_url, wanted, max_bytes=5000) as subscription:
        await side.run(publish, any_url, "q", [b"x" * 1000] * 8)
        async with waiting(subscription, 8) as taken:
            await send(taken, 3)
            await sleep(0.1)
            assert len(taken) == 3
            for delivery in taken[:3]:
                delivery.acknowledge()
            await until(lambda: len(taken) > 3)
            for delivery in taken[3:]:
                delivery.give_back()
