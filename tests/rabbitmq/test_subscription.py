"""Subscriptions on a real RabbitMQ, in good days and bad ones."""

from __future__ import annotations

from functools import partial

import anyio.lowlevel
import pytest
from aiormq.exceptions import ChannelNotFoundEntity
from anyio import create_task_group, fail_after, move_on_after, sleep

from bench.process import consumer, endpoint
from gateway.amqp.connection.link import Link
from gateway.amqp.connection.urls import parse_broker_url
from gateway.amqp.consume.delivery import Delivery
from gateway.amqp.consume.subscription import Subscription, subscription_key
from gateway.core.bridge import AsyncioSide
from gateway.demo.broker import Broker
from tests.router.support import ask

from .amqp import (
    close_connections,
    count,
    delete_queue,
    gateway_for,
    numbered,
    open_amqp,
    open_subscription,
    publish,
    settings,
    take,
    take_in_order,
    until,
    until_count,
)

pytestmark = pytest.mark.anyio


async def test_messages_come_in_order_and_are_gone_when_acknowledged(
    side: AsyncioSide, any_url: str
) -> None:
    async with open_subscription(side, any_url, settings("q", prefetch_count=7)) as subscription:
        await side.run(publish, any_url, "q", numbered(500))
        await take_in_order(subscription, numbered(500))
    await until_count(side, any_url, "q", 0)


async def test_held_and_buffered_messages_are_returned_when_the_link_closes(
    side: AsyncioSide, any_url: str
) -> None:
    async with open_subscription(side, any_url, settings("q")) as subscription:
        await side.run(publish, any_url, "q", numbered(10))
        held = [await take(subscription) for _ in range(3)]
        held[1].acknowledge()
    await until_count(side, any_url, "q", 9)


async def test_acknowledgements_are_written_before_the_link_closes(
    side: AsyncioSide, any_url: str
) -> None:
    for _ in range(5):
        async with open_subscription(side, any_url, settings("q")) as subscription:
            await side.run(publish, any_url, "q", numbered(20))
            for _ in range(20):
                (await take(subscription)).acknowledge()
        await until_count(side, any_url, "q", 0)


async def test_a_message_settled_before_the_consumer_is_confirmed_stays_settled(
    side: AsyncioSide, any_url: str
) -> None:
    async with open_subscription(side, any_url, settings("q")):
        await side.run(publish, any_url, "q", numbered(20))
    for _ in range(20):
        link = Link((parse_broker_url(any_url),), "consume", side)
        wanted = settings("q", prefetch_count=1)
        subscription = Subscription(wanted, link, side, 2**26)
        link.shared("q", lambda it=subscription: it).share_with(wanted)  # type: ignore[misc]
        async with link.opened():
            (await take(subscription)).acknowledge()
    await until_count(side, any_url, "q", 0)


async def test_bindings_are_made(side: AsyncioSide, any_url: str) -> None:
    wanted = settings("q", routing_key=("a.*", "b"))
    async with open_subscription(side, any_url, wanted) as subscription:
        for key in ("a.1", "c", "b"):
            await side.run(publish, any_url, key, [key.encode()], "ex")
        assert [(await take(subscription)).body for _ in range(2)] == [b"a.1", b"b"]
        assert subscription.buffer.take_nowait() is None


async def test_a_connection_that_breaks_is_repaired_while_requests_wait(
    side: AsyncioSide, vhost_url: str, broker: Broker
) -> None:
    async with open_subscription(side, vhost_url, settings("q")) as subscription:
        for number in range(3):
            held = None
            if number:
                await side.run(publish, vhost_url, "q", [b"held"])
                held = await take(subscription)
            await close_connections(broker, vhost_url)
            async with create_task_group() as tasks:
                tasks.start_soon(side.run, partial(publish, vhost_url, "q", [b"late"]))
                bodies = [(await take(subscription)) for _ in range(1 + (held is not None))]
            for delivery in bodies:
                delivery.acknowledge()
            assert (
                sorted(each.body for each in bodies) == [b"held", b"late"][1 - (held is not None) :]
            )
            if held is not None:
                held.acknowledge()  # its channel is gone: settles nothing
    await until_count(side, vhost_url, "q", 0)


async def test_a_deleted_queue_is_declared_again_while_a_request_waits(
    side: AsyncioSide, any_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    taken: list[bytes] = []

    async def take_one() -> None:
        taken.append((await take(subscription)).body)

    async with open_subscription(side, any_url, settings("q")) as subscription:
        async with create_task_group() as requests:
            requests.start_soon(take_one)
            await until(lambda: subscription.is_attached)
            await side.run(delete_queue, any_url, "q")
            await until(
                lambda: "RabbitMQ cancelled the consumer: the queue was deleted" in caplog.text
            )
            await until(lambda: subscription.is_ready)
            await side.run(publish, any_url, "any.key", [b"again"], "ex")
        assert taken == [b"again"]


async def test_a_request_declares_a_queue_again_that_was_deleted_while_idle(
    side: AsyncioSide, any_url: str
) -> None:
    async with open_subscription(side, any_url, settings("q")) as subscription:
        await side.run(delete_queue, any_url, "q")
        async with create_task_group() as requests:
            requests.start_soon(side.run, publish_when_there_is, any_url, "q", b"again")
            assert (await take(subscription)).body == b"again"


async def publish_when_there_is(url: str, queue: str, body: bytes) -> None:
    """Publish when the queue exists. Runs under asyncio."""
    while True:
        try:
            await count(url, queue)
        except ChannelNotFoundEntity:
            await sleep(0.02)
        else:
            await publish(url, queue, [body])
            return


async def declare_exchange(url: str) -> None:
    async with open_amqp(url) as connection:
        channel = await connection.channel()
        await channel.exchange_declare("ex", exchange_type="topic", durable=True)


async def test_a_refused_declaration_is_reported_and_does_not_affect_others(
    side: AsyncioSide, any_url: str
) -> None:
    await side.run(declare_exchange, any_url)  # or the first of the two would
    link = Link((parse_broker_url(any_url),), "consume", side)

    def subscribe(name: str, **changes: object) -> Subscription:
        wanted = settings(name, **changes)
        return link.shared(
            subscription_key(wanted), lambda: Subscription(wanted, link, side, 2**26)
        ).share_with(wanted)

    good = subscribe("good")
    other_type = subscribe("bad-1", exchange_type="direct")  # 406 on the channel
    # RabbitMQ 3: 503 on the connection; 4: 406 on the channel.
    no_type = subscribe("bad-2", exchange="ex2", exchange_type="x-none")
    async with link.opened():
        await until(lambda: good.is_ready and "PRECONDITION" in other_type.problem)
        await until(lambda: "x-none" in no_type.problem)
        await until(lambda: good.is_ready)
        await sleep(1.5)  # attempts go on
        assert good.is_ready
        assert not link.readiness()["ready"]
        await side.run(publish, any_url, "good", numbered(1))
        (await take(good)).acknowledge()


async def test_a_parked_message_blocks_no_other_and_comes_back(
    side: AsyncioSide, any_url: str
) -> None:
    async with open_subscription(side, any_url, settings("q", prefetch_count=2)) as subscription:
        await side.run(publish, any_url, "q", numbered(10))
        for _ in range(4):
            (await take(subscription)).park()
        for body in numbered(10)[4:]:
            delivery = await take(subscription)
            assert delivery.body == body
            delivery.acknowledge()
        again = [await take(subscription) for _ in range(4)]
        assert sorted(delivery.body for delivery in again) == numbered(4)
        assert {delivery.tries for delivery in again} == {1}
        for delivery in again:
            delivery.reject()
    await until_count(side, any_url, "q", 0)


async def test_the_buffer_is_bounded_in_bytes(side: AsyncioSide, any_url: str) -> None:
    size = 100_000
    wanted = settings("q", prefetch_count=100)
    async with open_subscription(side, any_url, wanted, max_bytes=5 * size) as subscription:
        await side.run(publish, any_url, "q", [b"%06d" % n + b"x" * size for n in range(60)])
        numbers: set[int] = set()
        largest = 0
        while len(numbers) < 60:
            delivery = await take(subscription)
            largest = max(largest, len(subscription.buffer))
            numbers.add(int(delivery.body[:6]))
            delivery.acknowledge()
        assert largest <= 5
    assert numbers == set(range(60))
    await until_count(side, any_url, "q", 0)


async def test_a_message_larger_than_the_bound_passes_alone(
    side: AsyncioSide, any_url: str
) -> None:
    async with open_subscription(side, any_url, settings("q"), max_bytes=1000) as subscription:
        await side.run(publish, any_url, "q", [b"x" * 300_000] * 3)
        for _ in range(3):
            delivery = await take(subscription)
            assert len(delivery.body) == 300_000
            delivery.acknowledge()
    await until_count(side, any_url, "q", 0)


async def test_automatic_acknowledgement_is_at_most_once(side: AsyncioSide, vhost_url: str) -> None:
    async with gateway_for(endpoint("/", consumer(vhost_url, "q", auto_ack=True))) as app:
        await side.run(publish, vhost_url, "q", [b"no document", b'{"n":1}'])
        assert [(await ask(app, "GET", "/")).status for _ in range(2)] == [502, 200]
    await until_count(side, vhost_url, "q", 0)


async def test_a_fetch_finds_what_is_there_and_waits_for_nothing(
    side: AsyncioSide, any_url: str
) -> None:
    async with open_subscription(side, any_url, settings("q")) as subscription:
        with fail_after(10):
            assert await subscription.fetch() is None
            await side.run(publish, any_url, "q", numbered(2))
            for body in numbered(2):
                delivery = subscription.buffer.take_nowait() or await subscription.fetch()
                assert delivery is not None
                assert delivery.body == body
                delivery.acknowledge()
            assert await subscription.fetch() is None
    await until_count(side, any_url, "q", 0)


async def test_an_idle_subscription_gives_back_and_attaches_again(
    side: AsyncioSide, any_url: str
) -> None:
    wanted = settings("q", idle_return=0.2)
    async with open_subscription(side, any_url, wanted) as subscription:
        await side.run(publish, any_url, "q", numbered(3))
        await until_count(side, any_url, "q", 3)
        assert (await side.run(count, any_url, "q"))[1] == 0
        for body in numbered(3):
            delivery = await take(subscription)
            assert delivery.body == body
            delivery.acknowledge()
    await until_count(side, any_url, "q", 0)


async def test_a_request_at_the_moment_of_detaching_attaches_the_subscription_again(
    side: AsyncioSide, any_url: str
) -> None:
    wanted = settings("q", idle_return=0.05)
    async with open_subscription(side, any_url, wanted) as subscription:
        for number in range(5):
            await side.run(publish, any_url, "q", [b"%d" % number])
            while subscription.is_attached:
                await anyio.lowlevel.checkpoint()
            delivery = await take(subscription)
            assert delivery.body == b"%d" % number
            delivery.acknowledge()


async def test_a_cancelled_request_leaves_its_message_to_the_next(
    side: AsyncioSide, any_url: str
) -> None:
    async with open_subscription(side, any_url, settings("q")) as subscription:
        for number in range(20):
            taken: list[Delivery] = []
            async with create_task_group() as tasks:
                tasks.start_soon(side.run, partial(publish, any_url, "q", [b"%d" % number]))
                with move_on_after(0.005 * (number % 7)):
                    taken.append(await subscription.take())
            delivery = taken[0] if taken else await take(subscription)
            assert delivery.body == b"%d" % number
            delivery.acknowledge()
    await until_count(side, any_url, "q", 0)


@pytest.mark.parametrize("host", ["127.0.0.1:1", "no..name:5672"])
async def test_the_hosts_are_tried_in_their_order(
    side: AsyncioSide, any_url: str, host: str
) -> None:
    unreachable = parse_broker_url(f"amqp://{host}/")
    wanted = settings("q")
    link = Link((unreachable, parse_broker_url(any_url)), "consume", side)
    subscription = Subscription(wanted, link, side, 2**26)
    link.shared("q", lambda: subscription).share_with(wanted)
    async with link.opened():
        await until(lambda: subscription.is_ready)


async def test_after_the_last_attempt_the_next_request_starts_a_new_cycle(
    side: AsyncioSide,
) -> None:
    wanted = settings("q", max_retries=2, backoff_strategy="linear")
    link = Link((parse_broker_url("amqp://127.0.0.1:1/"),), "consume", side)
    subscription = link.shared("q", lambda: Subscription(wanted, link, side, 2**26)).share_with(
        wanted
    )
    async with link.opened():
        await until(lambda: link.is_idle)
        with move_on_after(0.1):
            await subscription.take()
        await until(lambda: link.is_idle)
        assert subscription.problem == "connection refused"
