"""What one endpoint of a broker does to the others: nothing. docs/architecture.md has the table."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiormq.channel import Channel
from anyio import fail_after, sleep, to_thread

from bench.process import configuration, consumer, endpoint
from gateway import open_gateway
from gateway.amqp.connection.link import BrokerConnection, Link, LinkError, open_connection
from gateway.amqp.connection.urls import parse_broker_url
from gateway.amqp.consume.subscription import Subscription, subscription_key
from gateway.amqp.consume.subscription_channel import SubscriptionChannel
from gateway.amqp.wire import codec
from gateway.core.asgi import ASGIApp
from gateway.core.bridge import AsyncioSide
from gateway.demo.broker import Broker
from tests.router.support import ask

from .amqp import gateway_for, publish, settings, take, until, until_count

pytestmark = pytest.mark.anyio


def subscribe(link: Link, side: AsyncioSide, name: str, **changes: Any) -> Subscription:
    wanted = settings(name, **changes)
    return link.shared(
        subscription_key(wanted), lambda: Subscription(wanted, link, side, 2**26)
    ).share_with(wanted)


@asynccontextmanager
async def opened(*endpoints: dict[str, Any]) -> AsyncGenerator[ASGIApp]:
    """The application of a gateway; some of its endpoints are not ready and never will be."""
    async with open_gateway(configuration(*endpoints)) as gateway:
        yield gateway.asgi


async def until_status(app: ASGIApp, path: str, status: int) -> None:
    with fail_after(10):
        while (await ask(app, "GET", path)).status != status:
            await sleep(0.02)


@pytest.mark.parametrize(
    "bad",
    [
        {"durable": False},
        {"delete": True},
        {"arguments": {"x-max-length": 5}},
        {"arguments": {"x-queue-type": "no such type"}},
        {"exchange_type": "direct"},
        {
            "exchange": "other",
            "exchange_type": "x-no-such-type",
        },  # the broker closes the connection
        {"exchange": "amq.reserved"},
        {"declare": "passive", "exchange": "missing"},
    ],
    ids=str,
)
async def test_a_refused_declaration_affects_its_endpoint_only(
    side: AsyncioSide, vhost_url: str, bad: dict[str, Any]
) -> None:
    good = endpoint("/good", consumer(vhost_url, "q"), timeout="5s")
    async with gateway_for(good):
        pass  # the queue exists
    async with opened(
        endpoint("/bad", consumer(vhost_url, "q", **bad), timeout="100ms"), good
    ) as app:
        await until_status(app, "/bad", 503)
        await side.run(publish, vhost_url, "q", [b'{"n":%d}' % n for n in range(20)])
        for number in range(20):
            reply = await ask(app, "GET", "/good")
            assert (reply.status, reply.json()) == (200, {"n": number})
        assert (await ask(app, "GET", "/bad")).status == 503


async def test_a_refused_binding_affects_its_endpoint_only(
    side: AsyncioSide, vhost_url: str, broker: Broker
) -> None:
    vhost = parse_broker_url(vhost_url).vhost
    await to_thread.run_sync(_add_user, broker, vhost)
    url = vhost_url.replace("guest:guest", f"{vhost}:limited")
    async with opened(
        endpoint("/good", consumer(url, "q", routing_key=["good.#"]), timeout="5s"),
        endpoint("/bad", consumer(url, "q", routing_key=["good.#", "bad.#"]), timeout="100ms"),
    ) as app:
        await until_status(app, "/bad", 503)
        await side.run(publish, vhost_url, "good.1", [b'{"n":1}'], "ex")
        assert (await ask(app, "GET", "/good")).json() == {"n": 1}
        reply = await ask(app, "GET", "/bad")
        assert reply.status == 503


def _add_user(broker: Broker, vhost: str) -> None:
    broker.ctl("add_user", vhost, "limited")
    broker.ctl("set_permissions", "-p", vhost, vhost, ".*", ".*", ".*")
    # RabbitMQ checks the key of a binding to a topic exchange against the right to read.
    broker.ctl("set_topic_permissions", "-p", vhost, vhost, "ex", ".*", "^good.*")


async def test_an_exception_of_any_type_affects_its_subscription_only(
    side: AsyncioSide, vhost_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    link = Link((parse_broker_url(vhost_url),), "consume", side)

    class Broken(Subscription):
        async def work(self, channel: Channel, connection: BrokerConnection) -> None:
            raise KeyError("a mistake of ours")

    good = subscribe(link, side, "good")
    bad = settings("bad")
    broken = link.shared("bad", lambda: Broken(bad, link, side, 2**26)).share_with(bad)
    async with link.opened():
        await until(lambda: good.is_ready and broken.problem == "unexpected error: KeyError")
        await side.run(publish, vhost_url, "good", [b"1"])
        (await take(good)).acknowledge()
        assert link.is_connected
    assert "queue 'bad': unexpected error, the channel opens again" in caplog.text


async def test_a_prefetch_that_amqp_cannot_carry_is_the_largest_that_it_can(
    side: AsyncioSide, vhost_url: str
) -> None:
    async with gateway_for(
        endpoint("/large", consumer(vhost_url, "a", prefetch_count=70_000), timeout="5s"),
        endpoint("/other", consumer(vhost_url, "b"), timeout="5s"),
    ) as app:
        await side.run(publish, vhost_url, "a", [b'{"n":1}'])
        await side.run(publish, vhost_url, "b", [b'{"n":2}'])
        assert (await ask(app, "GET", "/large")).json() == {"n": 1}
        assert (await ask(app, "GET", "/other")).json() == {"n": 2}


async def test_subscriptions_beyond_the_channels_of_a_connection_fail_and_others_go_on(
    side: AsyncioSide, vhost_url: str
) -> None:
    link = Link((parse_broker_url(f"{vhost_url}?channel_max=2"),), "consume", side)
    subscriptions = [subscribe(link, side, f"q{number}") for number in range(5)]
    async with link.opened():
        await until(lambda: sum(each.is_ready for each in subscriptions) == 2)
        ready = [each for each in subscriptions if each.is_ready]
        await until(
            lambda: all(
                "channel_max" in each.problem for each in subscriptions if each not in ready
            )
        )
        for _ in range(20):
            for each in ready:
                await side.run(publish, vhost_url, each.settings.name, [b"1"])
                (await take(each)).acknowledge()
        assert [each for each in subscriptions if each.is_ready] == ready


async def test_a_refused_virtual_host_is_reported_with_the_text_of_the_broker(
    side: AsyncioSide, vhost_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def refused() -> str:
        try:
            async with open_connection(parse_broker_url(f"{vhost_url}-missing")):
                return ""
        except LinkError as error:
            return str(error)

    problem = await side.run(refused)
    assert problem.startswith("NOT_ALLOWED - ")
    assert "vhost" in problem
    assert "object at" not in problem


async def test_a_wrong_password_is_reported_with_the_text_of_the_broker(
    side: AsyncioSide, vhost_url: str
) -> None:
    async def refused() -> str:
        try:
            async with open_connection(parse_broker_url(vhost_url.replace(":guest@", ":no@"))):
                return ""
        except LinkError as error:
            return str(error)

    assert (await side.run(refused)).startswith("ACCESS_REFUSED - Login was refused")


async def test_requests_of_other_queues_pass_one_whose_messages_are_all_held(
    side: AsyncioSide, vhost_url: str
) -> None:
    link = Link((parse_broker_url(vhost_url),), "consume", side)
    slow, other = subscribe(link, side, "slow", prefetch_count=2), subscribe(link, side, "other")
    async with link.opened():
        await until(lambda: slow.is_ready and other.is_ready)
        await side.run(publish, vhost_url, "slow", [b"1", b"2", b"3"])
        await side.run(publish, vhost_url, "other", [b"%d" % n for n in range(50)])
        held = [await take(slow) for _ in range(2)]
        for _ in range(50):
            (await take(other)).acknowledge()
        for delivery in held:
            delivery.acknowledge()
        (await take(slow)).acknowledge()
    await until_count(side, vhost_url, "slow", 0)
    await until_count(side, vhost_url, "other", 0)


async def test_a_channel_that_the_broker_closes_under_load_leaves_the_connection(
    side: AsyncioSide, vhost_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "gateway.amqp")
    link = Link((parse_broker_url(vhost_url),), "consume", side)
    broken, other = subscribe(link, side, "broken"), subscribe(link, side, "other")
    numbers = {b"%d" % number for number in range(300)}
    async with link.opened():
        await until(lambda: broken.is_ready and other.is_ready)
        await side.run(publish, vhost_url, "broken", numbers)
        await side.run(publish, vhost_url, "other", numbers)
        seen: set[bytes] = set()
        others = set(numbers)
        breaks = set(range(20, 300, 20))
        while len(seen) < len(numbers):
            delivery = await take(broken)
            seen.add(delivery.body)
            delivery.acknowledge()
            channel = delivery.channel
            if len(seen) in breaks and isinstance(channel, SubscriptionChannel) and channel.is_open:
                breaks.discard(len(seen))
                # An unknown tag: the broker closes the channel (406) while others are settled.
                side.tell(channel._write, codec.ack(channel._channel, 1 << 40))
                await until(lambda it=channel: not it.is_open)  # type: ignore[misc]
            if others:
                passing = await take(other)
                others.discard(passing.body)
                passing.acknowledge()
    await until_count(side, vhost_url, "broken", 0)
    await until_count(side, vhost_url, "other", 0)
    assert caplog.text.count("connected (consume)") == 1
    assert caplog.text.count("unknown delivery tag") >= 10
