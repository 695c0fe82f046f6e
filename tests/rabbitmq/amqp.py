"""Helpers of tests on a real broker: publish, count, wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import aiormq
from anyio import fail_after, sleep, to_thread
from yarl import URL

from bench.process import configuration
from gateway import open_gateway
from gateway.amqp.connection.link import Link
from gateway.amqp.connection.tap import TapFactory
from gateway.amqp.connection.urls import parse_broker_url
from gateway.amqp.consume.delivery import Delivery
from gateway.amqp.consume.subscription import Subscription, subscription_key
from gateway.amqp.settings import ConsumerSettings
from gateway.core.asgi import ASGIApp
from gateway.core.bridge import AsyncioSide, Connect
from gateway.demo.broker import Broker
from gateway.testing.memory_broker import MemoryBroker
from gateway.testing.rules import BY_VERSION, BrokerRules
from tests.brokers import chosen_root, exact_version

QUORUM = {"arguments": {"x-queue-type": "quorum"}}
"""Settings of a consumer."""

MAX_BYTES = 64 * 1024 * 1024

MEMORY: dict[str, MemoryBroker] = {}
"""Brokers in memory, by the host in their URL."""


def rules() -> BrokerRules:
    """Of the version of RabbitMQ that the tests run on."""
    version = exact_version(chosen_root())
    return next(each for start, each in BY_VERSION.items() if version.startswith(start + "."))


async def connect(
    protocol_factory: Callable[[], asyncio.BaseProtocol], host: str, port: int, **options: Any
) -> tuple[asyncio.BaseTransport, asyncio.BaseProtocol]:
    """To the broker in memory that has this host, else by a socket."""
    opener: Connect = asyncio.get_running_loop().create_connection
    if host in MEMORY:
        opener = MEMORY[host].create_connection
    return await opener(protocol_factory, host, port, **options)


@asynccontextmanager
async def open_amqp(url: str) -> AsyncGenerator[aiormq.Connection]:
    """A connection for helpers of tests. Runs under asyncio."""
    connection = aiormq.Connection(url, transport_factory=TapFactory(connect=connect))
    await connection.connect()
    async with connection:
        yield connection


async def publish(url: str, queue: str, bodies: Iterable[bytes], exchange: str = "") -> None:
    """Publish with confirms (``queue``: the routing key). Runs under asyncio."""
    async with open_amqp(url) as connection:
        channel = await connection.channel()
        for body in bodies:
            await channel.basic_publish(body, exchange=exchange, routing_key=queue)


def numbered(number: int) -> list[bytes]:
    """So many bodies, each another one."""
    return [b'{"n":%d}' % each for each in range(number)]


async def take(subscription: Subscription, seconds: float = 10) -> Delivery:
    """The next message, as a request takes it."""
    with fail_after(seconds):
        return subscription.buffer.take_nowait() or await subscription.take()


async def take_in_order(subscription: Subscription, bodies: Iterable[bytes]) -> None:
    """Take and acknowledge one message after the other: they have these bodies."""
    for body in bodies:
        delivery = await take(subscription)
        assert delivery.body == body
        delivery.acknowledge()


async def count(url: str, queue: str) -> tuple[int, int]:
    """Messages that are ready, and consumers. Runs under asyncio."""
    async with open_amqp(url) as connection:
        channel = await connection.channel()
        declared = await channel.queue_declare(queue, passive=True)
        return declared.message_count or 0, declared.consumer_count or 0


async def get_all(url: str, queue: str) -> list[tuple[bytes, dict[str, Any]]]:
    """Take every message, with its headers. Runs under asyncio."""
    messages: list[tuple[bytes, dict[str, Any]]] = []
    async with open_amqp(url) as connection:
        channel = await connection.channel()
        while True:
            message = await channel.basic_get(queue, no_ack=True)
            if message.delivery_tag is None:
                return messages
            messages.append((message.body, dict(message.header.properties.headers or {})))


async def delete_queue(url: str, queue: str) -> None:
    async with open_amqp(url) as connection:
        channel = await connection.channel()
        await channel.queue_delete(queue)


async def until(condition: Callable[[], object], seconds: float = 10) -> None:
    """Wait until ``condition()`` holds."""
    with fail_after(seconds):
        while not condition():
            await sleep(0.01)


async def until_count(side: AsyncioSide, url: str, queue: str, ready: int) -> None:
    """Wait until so many messages are in the queue and not with a consumer."""
    with fail_after(10):
        while (await side.run(count, url, queue))[0] != ready:
            await sleep(0.05)


async def until_no_consumer(side: AsyncioSide, url: str, queue: str) -> None:
    """Wait until the queue has no consumer. A quorum queue counts a Basic.Get as one until its
    message is settled, and a settlement without a response takes a moment."""
    with fail_after(10):
        while (await side.run(count, url, queue))[1]:
            await sleep(0.05)


def settings(name: str, **changes: Any) -> ConsumerSettings:
    return ConsumerSettings(
        name=name, **{"exchange": "ex", "routing_key": ("#",), "durable": True, **changes}
    )


@asynccontextmanager
async def open_subscription(
    side: AsyncioSide, url: str, wanted: ConsumerSettings, **options: Any
) -> AsyncGenerator[Subscription]:
    """A subscription on a link of its own, ready. ``options``: of :class:`Subscription`."""
    link = Link((parse_broker_url(url),), "consume", side)
    options.setdefault("max_bytes", MAX_BYTES)
    subscription = link.shared(
        subscription_key(wanted), lambda: Subscription(wanted, link, side, **options)
    ).share_with(wanted)
    async with link.opened():
        await until(lambda: subscription.is_ready)
        yield subscription


def add_user(
    broker: Broker, url: str, configure: str = ".*", write: str = ".*", topics: str = ".*"
) -> str:
    """Another user of the URL's virtual host, or other permissions for it; its URL.

    ``write``: exchanges and queues it may write to; ``topics``: the routing keys it may publish
    with to the exchange ``ex``.
    """
    old = parse_broker_url(url)
    name = f"user-of-{old.vhost}"
    vhost, user, by = f'<<"{old.vhost}">>', f'<<"{name}">>', '<<"test">>'
    backend = "rabbit_auth_backend_internal"
    broker.ctl(
        "eval",
        f'catch {backend}:add_user({user}, <<"secret">>, {by}), '
        f'{backend}:set_permissions({user}, {vhost}, <<"{configure}">>, <<"{write}">>, '
        f'<<".*">>, {by}), '
        f'{backend}:set_topic_permissions({user}, {vhost}, <<"ex">>, <<"{topics}">>, '
        f'<<".*">>, {by}).',
    )
    return str(URL(url).with_user(name).with_password("secret"))


async def close_connections(broker: Broker, url: str) -> None:
    """Have the broker close every connection of the URL's virtual host."""
    vhost = parse_broker_url(url).vhost
    await to_thread.run_sync(broker.ctl, "close_all_connections", "--vhost", vhost, "test")


@asynccontextmanager
async def gateway_for(*endpoints: dict[str, Any], **changes: Any) -> AsyncGenerator[ASGIApp]:
    """The application of an open gateway with these endpoints, when all of it is ready."""
    async with open_gateway(configuration(*endpoints, **changes)) as gateway:
        await until(lambda: gateway.readiness()["ready"])
        yield gateway.asgi
