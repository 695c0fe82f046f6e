"""A link with two hosts, on two brokers in memory, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable

import pytest
from anyio import sleep

from gateway.amqp.connection.link import Link
from gateway.amqp.connection.urls import parse_broker_url
from gateway.core.bridge import AsyncioSide, Connect, open_asyncio_side
from gateway.testing.memory_broker import MemoryBroker
from gateway.testing.virtual_time import VirtualTimeLoop
from tests.rabbitmq.amqp import until

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    return "asyncio", {"loop_factory": VirtualTimeLoop}


@pytest.fixture
def first() -> MemoryBroker:
    return MemoryBroker()


@pytest.fixture
def second() -> MemoryBroker:
    return MemoryBroker()


@pytest.fixture
async def side(first: MemoryBroker, second: MemoryBroker) -> AsyncGenerator[AsyncioSide]:
    async with open_asyncio_side(connect_to(first, second)) as side:
        yield side


def connect_to(first: MemoryBroker, second: MemoryBroker) -> Connect:
    hosts = {"first": first, "second": second}

    async def connect(
        factory: Callable[[], asyncio.BaseProtocol], host: str, port: int, **options: object
    ) -> tuple[asyncio.BaseTransport, asyncio.BaseProtocol]:
        return await hosts[host].create_connection(factory, host, port)

    return connect


def new_link(side: AsyncioSide) -> Link:
    urls = tuple(parse_broker_url(f"amqp://{host}/") for host in ("first", "second"))
    return Link(urls, "consume", side)


async def test_when_a_host_hangs_the_next_one_is_connected_within_a_second(
    side: AsyncioSide, first: MemoryBroker, second: MemoryBroker
) -> None:
    link = new_link(side)
    async with link.opened():
        await until(lambda: link.is_connected)
        assert (len(first.connections), len(second.connections)) == (1, 0)
        first.hang()
        await until(lambda: not link.is_connected, seconds=20.1)  # two heartbeats
        await until(lambda: link.is_connected, seconds=1)
        assert (len(first.connections), len(second.connections)) == (0, 1)
        assert link.readiness()["broker"] == "amqp://second:5672/"


async def test_a_host_that_refuses_connections_does_not_delay_the_next_one(
    side: AsyncioSide, first: MemoryBroker, second: MemoryBroker
) -> None:
    link = new_link(side)
    async with link.opened():
        await until(lambda: link.is_connected)
        await sleep(10)
        first.is_available = False
        first.cut()
        await until(lambda: len(second.connections) == 1, seconds=0.1)
        await until(lambda: link.is_connected, seconds=0.1)


async def test_a_host_that_hangs_at_the_start_does_not_delay_the_next_one(
    side: AsyncioSide, first: MemoryBroker, second: MemoryBroker
) -> None:
    first.hang()
    link = new_link(side)
    async with link.opened():
        await until(lambda: link.is_connected, seconds=1)
        await sleep(60)
        assert (len(first.connections), len(second.connections)) == (0, 1)
        first.resume()
        second.cut()
        await until(lambda: len(first.connections) == 1, seconds=1)


async def test_when_all_hosts_hang_the_first_one_that_responds_again_is_connected(
    side: AsyncioSide, first: MemoryBroker, second: MemoryBroker
) -> None:
    first.hang()
    second.hang()
    link = new_link(side)
    async with link.opened():
        await sleep(100)
        assert link.problem == "no response within 30 s"
        second.resume()
        await until(lambda: link.is_connected, seconds=1)
        assert (len(first.connections), len(second.connections)) == (0, 1)


async def test_while_one_host_hangs_the_others_are_tried_again(
    side: AsyncioSide, first: MemoryBroker, second: MemoryBroker
) -> None:
    first.hang()
    second.is_available = False
    link = new_link(side)
    async with link.opened():
        await sleep(10)
        assert link.problem == "connection refused"
        second.is_available = True
        await until(lambda: link.is_connected, seconds=1.1)  # the pause is a second
        assert (len(first.connections), len(second.connections)) == (0, 1)


@pytest.mark.parametrize("milliseconds", range(40, 140, 5))
async def test_of_two_hosts_that_connect_at_the_same_time_one_is_used(milliseconds: int) -> None:
    slow, fast = MemoryBroker(latency=milliseconds / 1000), MemoryBroker(latency=0.001)
    async with open_asyncio_side(connect_to(slow, fast)) as side:
        link = new_link(side)
        async with link.opened():
            await sleep(5)
            assert link.is_connected
            assert len(slow.connections) + len(fast.connections) == 1
