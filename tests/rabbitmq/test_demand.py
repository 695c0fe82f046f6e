"""A gateway holds no more messages than its requests need: on a real RabbitMQ."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from anyio import create_task_group, fail_after, move_on_after, sleep

from bench.process import consumer, endpoint
from gateway.amqp.connection.link import Link
from gateway.amqp.connection.urls import parse_broker_url
from gateway.amqp.consume import demand, subscription_channel
from gateway.amqp.consume.delivery import Delivery
from gateway.amqp.consume.subscription import Subscription
from gateway.core.bridge import AsyncioSide
from tests.router.support import ask

from .amqp import (
    QUORUM,
    count,
    gateway_for,
    get_all,
    numbered,
    open_subscription,
    publish,
    settings,
    take,
    take_in_order,
    until,
    until_count,
    until_no_consumer,
)

pytestmark = pytest.mark.anyio

SINGLE_ACTIVE = {"arguments": {"x-single-active-consumer": True}}
STREAM = {"arguments": {"x-queue-type": "stream"}}


@pytest.fixture
def rare_after(monkeypatch: pytest.MonkeyPatch) -> float:
    """Requests are rare at this interval: the tests need not wait a second."""
    monkeypatch.setattr(demand, "RARE_INTERVAL", 0.05)
    monkeypatch.setattr(demand, "MARK_INTERVAL", 0.001)
    return 0.1


@asynccontextmanager
async def waiting(subscription: Subscription, number: int) -> AsyncGenerator[list[Delivery]]:
    """So many requests wait for a message during the block, at the end until they have one."""
    taken: list[Delivery] = []

    async def take_one() -> None:
        taken.append(await subscription.take())

    with fail_after(10):
        async with create_task_group() as requests:
            for _ in range(number):
                requests.start_soon(take_one)
            await until(lambda: subscription.buffer.waiting + len(taken) == number)
            yield taken


async def test_rare_requests_take_exactly_what_they_ask_for(
    side: AsyncioSide, vhost_url: str, rare_after: float
) -> None:
    wanted = settings("q", idle_return=0.1, **QUORUM)
    async with open_subscription(side, vhost_url, wanted) as subscription:
        await side.run(publish, vhost_url, "q", numbered(15))
        for body in numbered(10):
            delivery = await take(subscription)
            assert delivery.body == body
            delivery.acknowledge()
            await until_no_consumer(side, vhost_url, "q")
            await sleep(rare_after)
    messages = await side.run(get_all, vhost_url, "q")
    assert [body for body, _ in messages] == numbered(15)[10:]
    assert [headers.get("x-delivery-count", 0) for _, headers in messages] == [0] * 5


async def test_a_request_that_waited_for_its_message_takes_only_this_one(
    side: AsyncioSide, vhost_url: str, rare_after: float
) -> None:
    async with open_subscription(side, vhost_url, settings("q", **QUORUM)) as subscription:
        for number in range(3):
            await sleep(rare_after)
            async with waiting(subscription, 1) as taken:
                await until(lambda: subscription.is_attached)
                await side.run(publish, vhost_url, "q", [b"%d" % number, b"left"])
            assert taken[0].body == b"%d" % number if number == 0 else b"left"
            taken[0].acknowledge()
            await until_count(side, vhost_url, "q", 1)
            await until_no_consumer(side, vhost_url, "q")
            await side.run(get_all, vhost_url, "q")
    await until_no_consumer(side, vhost_url, "q")
    await until_count(side, vhost_url, "q", 0)


async def test_a_request_that_does_not_wait_any_more_leaves_no_consumer(
    side: AsyncioSide, vhost_url: str
) -> None:
    wanted = settings("q", idle_return=60.0)
    async with open_subscription(side, vhost_url, wanted) as subscription:
        with move_on_after(0.2):
            await subscription.take()
        await until(lambda: not subscription.is_attached)
        await side.run(publish, vhost_url, "q", numbered(3))
        await until_count(side, vhost_url, "q", 3)


async def test_a_consumer_gets_as_many_messages_as_requests_wait(
    side: AsyncioSide, vhost_url: str
) -> None:
    async with open_subscription(side, vhost_url, settings("q")) as subscription:
        async with waiting(subscription, 5) as taken:
            await until(lambda: subscription.is_attached)
            await side.run(publish, vhost_url, "q", numbered(20))
        assert sorted(each.body for each in taken) == sorted(numbered(5))
        await until_count(side, vhost_url, "q", 15)
        assert len(subscription.buffer) == 0


async def test_the_prefetch_grows_while_requests_wait_and_not_beyond_its_bound(
    side: AsyncioSide, vhost_url: str
) -> None:
    wanted = settings("q", prefetch_count=10)
    async with open_subscription(side, vhost_url, wanted) as subscription:
        await side.run(publish, vhost_url, "q", numbered(30))
        held = [await take(subscription) for _ in range(10)]
        with move_on_after(0.3):
            await subscription.take()
            raise AssertionError("more messages than the prefetch")
        await until_count(side, vhost_url, "q", 20)
        for delivery in held:
            delivery.acknowledge()
        rest = [await take(subscription) for _ in range(10)]
        assert [each.body for each in held + rest] == numbered(20)
        await until_count(side, vhost_url, "q", 10)


@pytest.mark.parametrize("prefetch", [1, 10])
async def test_requests_that_come_at_once_hold_no_more_than_the_prefetch(
    side: AsyncioSide, vhost_url: str, prefetch: int
) -> None:
    wanted = settings("q", prefetch_count=prefetch)
    async with open_subscription(side, vhost_url, wanted) as subscription:
        async with waiting(subscription, 30) as taken:
            await side.run(publish, vhost_url, "q", numbered(40))
            for number in range(30):
                await until(lambda: bool(taken))
                await sleep(0.02)
                assert len(taken) <= prefetch
                # A consumer that replaces another one gets its prefetch in addition to the messages
                # that are on their way: these stay in the buffer.
                unsettled = 40 - number - (await side.run(count, vhost_url, "q"))[0]
                assert len(taken) <= unsettled <= 2 * prefetch
                taken.pop(0).acknowledge()


async def test_the_prefetch_shrinks_when_requests_become_rare_and_the_surplus_is_requeued(
    side: AsyncioSide, vhost_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demand, "COUNTED_TIME", 1.1)
    wanted = settings("q", prefetch_count=40, idle_return=60.0)
    async with open_subscription(side, vhost_url, wanted) as subscription:
        await side.run(publish, vhost_url, "q", numbered(200))
        for _ in range(100):
            (await take(subscription)).acknowledge()
        bodies = numbered(200)[100:]
        for number in range(12):  # about five a second
            await sleep(0.2)
            delivery = await take(subscription)
            assert delivery.body == bodies[number]
            delivery.acknowledge()
        ready, _ = await side.run(count, vhost_url, "q")
        assert ready >= 88 - 24


async def test_a_replica_without_requests_leaves_every_message_to_the_other(
    side: AsyncioSide, vhost_url: str
) -> None:
    wanted = settings("q", idle_return=0.2)
    async with (
        open_subscription(side, vhost_url, wanted) as asked,
        open_subscription(side, vhost_url, wanted) as silent,
    ):
        await side.run(publish, vhost_url, "q", numbered(60))
        for _ in range(20):
            (await take(asked)).acknowledge()
            (await take(silent)).acknowledge()
        await until(lambda: not asked.is_attached and not silent.is_attached)
        await until_count(side, vhost_url, "q", 20)
        for _ in range(20):
            (await take(asked)).acknowledge()
    await until_count(side, vhost_url, "q", 0)


async def test_replicas_with_waiting_requests_share_the_messages(
    side: AsyncioSide, vhost_url: str
) -> None:
    taken = [0, 0]

    async def keep_taking(number: int, subscription: Subscription) -> None:
        while True:
            (await subscription.take()).acknowledge()
            taken[number] += 1

    async with (
        open_subscription(side, vhost_url, settings("q")) as first,
        open_subscription(side, vhost_url, settings("q")) as second,
        create_task_group() as requests,
    ):
        for number, subscription in enumerate((first, second)):
            for _ in range(16):
                requests.start_soon(keep_taking, number, subscription)
        await until(lambda: first.is_attached and second.is_attached)
        await until(lambda: first.buffer.waiting == second.buffer.waiting == 16)
        for number in range(100):
            await side.run(publish, vhost_url, "q", [b"%d" % number, b"%d" % number])
        await until(lambda: sum(taken) == 200)
        requests.cancel_scope.cancel()
    assert 80 <= taken[0] <= 120


async def test_never_keeps_the_consumer_and_the_buffer(side: AsyncioSide, vhost_url: str) -> None:
    wanted = settings("q", prefetch_count=4, idle_return="never")
    async with open_subscription(side, vhost_url, wanted) as subscription:
        await side.run(publish, vhost_url, "q", numbered(20))
        for _ in range(8):
            (await take(subscription)).acknowledge()
        await sleep(1.5)
        assert subscription.is_attached
        assert len(subscription.buffer) > 0


async def test_of_backends_that_share_a_queue_the_longest_idle_return_counts(
    side: AsyncioSide, vhost_url: str
) -> None:
    link = Link((parse_broker_url(vhost_url),), "consume", side)
    wanted = settings("q", idle_return=0.05, prefetch_count=2)
    subscription = link.shared("q", lambda: Subscription(wanted, link, side, 2**26))
    subscription.share_with(wanted)
    subscription.share_with(settings("q", idle_return="never", prefetch_count=2))
    async with link.opened():
        await until(lambda: subscription.is_ready)
        await side.run(publish, vhost_url, "q", numbered(20))
        for _ in range(8):
            (await take(subscription)).acknowledge()
        await sleep(0.5)
        assert subscription.is_attached


async def test_a_message_that_was_counted_often_stays_for_the_next_request(
    side: AsyncioSide, vhost_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscription_channel, "MAX_COUNTED_RETURNS", 2)
    wanted = settings("q", idle_return=0.1, **QUORUM)
    async with open_subscription(side, vhost_url, wanted) as subscription:
        for number in range(4):
            async with waiting(subscription, 4) as taken:
                if not number:
                    await until(lambda: subscription.is_attached)
                    await side.run(publish, vhost_url, "q", numbered(4))
            for delivery in taken:
                delivery.give_back()
            await until(lambda: not subscription.is_attached)
            if number < 2:
                await until_count(side, vhost_url, "q", 4)
        await sleep(0.2)
        assert len(subscription.buffer) == 4
        bodies = [(await take(subscription)) for _ in range(4)]
        for delivery in bodies:
            delivery.acknowledge()
    await until_count(side, vhost_url, "q", 0)


@pytest.mark.parametrize("changes", [SINGLE_ACTIVE, {"priority": 3}, {"exclusive": True}, STREAM])
async def test_queues_on_which_basic_get_would_be_wrong_have_a_consumer(
    side: AsyncioSide, vhost_url: str, changes: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    async with open_subscription(side, vhost_url, settings("q", **changes)) as subscription:
        async with waiting(subscription, 1) as taken:
            await until(lambda: subscription.is_attached)
            await side.run(publish, vhost_url, "any.key", [b"1"], "ex")
        taken[0].acknowledge()
        assert await subscription.fetch() is None
        await sleep(0.1)
        assert subscription.is_ready
    assert [each.message for each in caplog.records if each.levelname != "INFO"] == []


@pytest.mark.parametrize(
    "arguments", [{"x-single-active-consumer": True, "x-queue-type": "quorum"}, STREAM["arguments"]]
)
async def test_a_refused_basic_get_is_remembered(
    side: AsyncioSide, vhost_url: str, arguments: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    async with open_subscription(side, vhost_url, settings("q", arguments=arguments)):
        pass
    unknown = settings("q", declare="none")
    async with open_subscription(side, vhost_url, unknown) as subscription:
        assert await subscription.fetch() is None
        await until(lambda: subscription.problem)
        await until(lambda: subscription.is_ready)
        refusals = len(caplog.records)
        for _ in range(3):
            assert await subscription.fetch() is None
            await sleep(0.05)
        assert len(caplog.records) == refusals


async def test_a_consumer_tag_is_never_used_twice(side: AsyncioSide, vhost_url: str) -> None:
    wanted = settings("q", consumer_tag="mine", prefetch_count=20, idle_return=0.05)
    async with open_subscription(side, vhost_url, wanted) as subscription:
        channel = subscription._attachment
        for _ in range(3):
            await side.run(publish, vhost_url, "q", numbered(20))
            for _ in range(20):
                (await take(subscription)).acknowledge()
            await until(lambda: not subscription.is_attached)
        assert subscription._attachment is channel


async def test_a_single_active_consumer_under_load_is_not_replaced(
    side: AsyncioSide, vhost_url: str
) -> None:
    wanted = settings("q", prefetch_count=20, consumer_tag="mine", **SINGLE_ACTIVE)
    async with open_subscription(side, vhost_url, wanted) as subscription:
        await side.run(publish, vhost_url, "q", numbered(200))
        await take_in_order(subscription, numbered(200))
    await until_count(side, vhost_url, "q", 0)


async def test_requests_of_a_gateway_are_answered_at_any_rate(
    side: AsyncioSide, vhost_url: str, rare_after: float
) -> None:
    app = endpoint("/", consumer(vhost_url, "q", prefetch_count=5, **QUORUM))
    async with gateway_for(app) as gateway:
        await side.run(publish, vhost_url, "q", numbered(60))
        replies = []
        for number in range(30):
            replies.append(await ask(gateway, "GET", "/"))
            await sleep(rare_after if number % 7 == 0 else 0)
    messages = await side.run(get_all, vhost_url, "q")
    bodies = [reply.body for reply in replies] + [body for body, _ in messages]
    assert sorted(bodies) == sorted(numbered(60))


async def test_a_single_active_consumer_is_attached_again_after_it_was_idle(
    side: AsyncioSide, vhost_url: str
) -> None:
    wanted = settings("q", prefetch_count=20, idle_return=0.05, **SINGLE_ACTIVE)
    async with open_subscription(side, vhost_url, wanted) as subscription:
        for number in range(4):
            await side.run(publish, vhost_url, "q", numbered(3))
            for _ in range(3):
                (await take(subscription)).acknowledge()
            await until(lambda: not subscription.is_attached)
            if number:
                await until_count(side, vhost_url, "q", 0)


async def test_a_single_active_consumer_passes_to_another_gateway_and_back(
    side: AsyncioSide, vhost_url: str
) -> None:
    wanted = settings("q", prefetch_count=20, idle_return=0.05, **SINGLE_ACTIVE)
    async with (
        open_subscription(side, vhost_url, wanted) as first,
        open_subscription(side, vhost_url, wanted) as second,
    ):
        for subscription in (first, second, first, second):
            await side.run(publish, vhost_url, "q", numbered(3))
            for _ in range(3):
                (await take(subscription)).acknowledge()
            await until(lambda it=subscription: not it.is_attached)  # type: ignore[misc]
