"""Round trips to clients cost no throughput, and few replacements of the consumer: in virtual
time."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from anyio import create_task_group, sleep
from anyio.lowlevel import checkpoint

from gateway.amqp.consume import prefetch_raise
from gateway.amqp.consume.channel_consumer import ChannelConsumer
from gateway.amqp.consume.subscription import Subscription
from gateway.core.bridge import AsyncioSide
from gateway.testing.memory_broker import MemoryBroker
from gateway.testing.virtual_time import VirtualTimeLoop
from tests.rabbitmq.amqp import numbered, open_subscription, settings

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[pytest.param(("asyncio", {"loop_factory": VirtualTimeLoop}), id="asyncio")])
def anyio_backend(request: pytest.FixtureRequest) -> object:
    """Time is virtual under asyncio only."""
    return request.param


@pytest.fixture
def memory() -> MemoryBroker:
    return MemoryBroker(latency=0.002)


@pytest.fixture
def prefetches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Of each consumer that is started or stopped (0)."""
    found: list[int] = []
    replace = ChannelConsumer.replace

    async def record(self: ChannelConsumer, prefetch: int) -> None:
        found.append(prefetch)
        await replace(self, prefetch)

    monkeypatch.setattr(ChannelConsumer, "replace", record)
    return found


class Clients:
    """Each takes a message, gets its response, acknowledges it a round trip later, and asks
    again. ``sends``: their responses are reported as sent."""

    def __init__(
        self, subscription: Subscription, round_trip: float, *, sends: bool = True
    ) -> None:
        self.served = self.unsent = self.most_unsent = 0
        self._subscription = subscription
        self._round_trip = round_trip
        self._sends = sends

    @asynccontextmanager
    async def running(self, number: int) -> AsyncGenerator[None]:
        async with create_task_group() as clients:
            for _ in range(number):
                clients.start_soon(self._ask)
            yield
            clients.cancel_scope.cancel()

    async def _ask(self) -> None:
        subscription = self._subscription
        while True:
            delivery = subscription.buffer.take_nowait() or await subscription.take()
            self.unsent += 1
            self.most_unsent = max(self.most_unsent, self.unsent)
            try:
                await checkpoint()  # the response is written
                self.unsent -= 1
                if self._sends:
                    delivery.sent()
                await sleep(self._round_trip)
                delivery.acknowledge()
            finally:
                delivery.give_back()
            self.served += 1


def rate(prefetch: int, clients: int, round_trip: float, *, is_sent: bool) -> float:
    """The messages of a second that the prefetch, or the clients, allow."""
    return (clients if is_sent else min(prefetch, clients)) / round_trip


@pytest.mark.parametrize("is_sent", [True, False])
@pytest.mark.parametrize(("prefetch", "clients"), [(1, 8), (10, 100)])
async def test_round_trips_to_clients_cost_no_throughput(
    memory: MemoryBroker,
    side: AsyncioSide,
    prefetches: list[int],
    prefetch: int,
    clients: int,
    is_sent: bool,
) -> None:
    wanted = settings("q", prefetch_count=prefetch)
    async with open_subscription(side, memory.url, wanted) as subscription:
        memory.publish("q", numbered(20_000))
        requests = Clients(subscription, 0.1, sends=is_sent)
        async with requests.running(clients):
            await sleep(1)
            before, started = requests.served, len(prefetches)
            await sleep(4)
        found = (requests.served - before) / 4
        expected = rate(prefetch, clients, 0.1, is_sent=is_sent)
        assert 0.85 * expected <= found <= 1.05 * expected
        assert requests.most_unsent <= prefetch
        if is_sent:
            assert started <= 12, prefetches
            assert len(prefetches) == started, prefetches
            assert prefetches[-1] <= prefetch + 2 * clients


@pytest.mark.parametrize("prefetch", [1, 10, 100])
async def test_clients_on_loopback_cause_few_replacements(
    memory: MemoryBroker,
    side: AsyncioSide,
    prefetches: list[int],
    prefetch: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(prefetch_raise, "RAISE_KEPT_TIME", 0.2)
    wanted = settings("q", prefetch_count=prefetch)
    async with open_subscription(side, memory.url, wanted) as subscription:
        memory.publish("q", numbered(50_000))
        requests = Clients(subscription, 0.002)
        async with requests.running(64):
            await sleep(0.3)
            started = len(prefetches)
            await sleep(0.7)
            assert memory.count("q")[0]
            assert started <= 12, prefetches
            assert len(prefetches) == started, prefetches
            assert requests.most_unsent <= prefetch


async def test_the_raise_becomes_smaller_when_fewer_messages_are_sent(
    memory: MemoryBroker, side: AsyncioSide, prefetches: list[int]
) -> None:
    wanted = settings("q", prefetch_count=1)
    async with open_subscription(side, memory.url, wanted) as subscription:
        memory.publish("q", numbered(50_000))
        requests = Clients(subscription, 0.05)
        async with requests.running(64):
            await sleep(3)
        assert prefetches[-1] > 32
        async with requests.running(4):
            await sleep(3 * prefetch_raise.RAISE_KEPT_TIME)
        assert 4 <= prefetches[-1] <= 1 + 8
        async with Clients(subscription, 0.05, sends=False).running(4):
            await sleep(3 * prefetch_raise.RAISE_KEPT_TIME)
            attachment = subscription._attachment
            assert attachment is not None
            assert prefetches[-1] == 1
            assert attachment._deliveries.in_use == 1
