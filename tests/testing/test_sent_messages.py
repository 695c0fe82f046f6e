"""Round trips to clients cost no throughput, and few replacements of the consumer: in virtual
time."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from anyio import create_task_group, current_time, sleep
from anyio.lowlevel import checkpoint

from gateway.amqp.consume import prefetch_raise
from gateway.amqp.consume.channel_consumer import ChannelConsumer
from gateway.amqp.consume.delivery import Delivery
from gateway.amqp.consume.subscription import Subscription
from gateway.core.bridge import AsyncioSide
from gateway.testing.memory_broker import MemoryBroker
from gateway.testing.virtual_time import VirtualTimeLoop
from tests.rabbitmq.amqp import numbered, open_subscription, settings, until

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


class Waiting:
    """A request that waits for a message, and when it got one."""

    def __init__(self, subscription: Subscription) -> None:
        self.taken: list[Delivery] = []
        self.taken_at: list[float] = []
        subscription.wait(self)

    def take(self, delivery: Delivery) -> None:
        self.taken.append(delivery)
        self.taken_at.append(current_time())


@pytest.mark.parametrize("is_sent_first", [True, False])
@pytest.mark.parametrize("prefetch", [1, 3])
async def test_a_request_gets_a_message_at_once_when_sent_ones_use_the_prefetch(
    memory: MemoryBroker, side: AsyncioSide, prefetch: int, is_sent_first: bool
) -> None:
    wanted = settings("q", prefetch_count=prefetch)
    async with open_subscription(side, memory.url, wanted) as subscription:
        requests = [Waiting(subscription) for _ in range(prefetch)]
        await until(lambda: subscription.is_attached)
        memory.publish("q", numbered(100))
        await until(lambda: all(each.taken for each in requests))
        start = current_time()
        if is_sent_first:
            requests[0].taken[0].sent()
            last = Waiting(subscription)
        else:
            last = Waiting(subscription)
            requests[0].taken[0].sent()
        await until(lambda: last.taken)
        assert last.taken_at[0] - start < 0.01  # twice a round trip to the broker


async def test_a_message_that_was_sent_and_given_back_leaves_room_when_it_is_sent_again(
    memory: MemoryBroker, side: AsyncioSide
) -> None:
    async with open_subscription(side, memory.url, settings("q", prefetch_count=1)) as subscription:
        first = Waiting(subscription)
        await until(lambda: subscription.is_attached)
        memory.publish("q", numbered(100))
        await until(lambda: first.taken)
        second, third = Waiting(subscription), Waiting(subscription)
        first.taken[0].sent()
        first.taken[0].give_back()
        await sleep(0.01)
        assert [each.body for each in second.taken] == [b'{"n":0}']
        assert third.taken == []
        start = current_time()
        second.taken[0].sent()
        await until(lambda: third.taken)
        assert third.taken_at[0] - start < 0.01


async def test_a_message_that_is_acknowledged_right_after_it_was_sent_raises_the_prefetch(
    memory: MemoryBroker, side: AsyncioSide, prefetches: list[int]
) -> None:
    """Otherwise each message of a fast client would cause a check."""
    async with open_subscription(side, memory.url, settings("q", prefetch_count=1)) as subscription:
        first = Waiting(subscription)
        await until(lambda: subscription.is_attached)
        memory.publish("q", numbered(100))
        await until(lambda: first.taken)
        others = [Waiting(subscription) for _ in range(2)]
        first.taken[0].sent()
        first.taken[0].acknowledge()
        await until(lambda: others[0].taken)
        assert prefetches[-1] == 2


@pytest.mark.parametrize("round_trip", [0, 0.002])
@pytest.mark.parametrize("prefetch", [1, 10, 100])
async def test_clients_on_loopback_cause_few_replacements(
    memory: MemoryBroker,
    side: AsyncioSide,
    prefetches: list[int],
    prefetch: int,
    round_trip: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(prefetch_raise, "RAISE_KEPT_TIME", 0.2)
    wanted = settings("q", prefetch_count=prefetch)
    async with open_subscription(side, memory.url, wanted) as subscription:
        memory.publish("q", numbered(100_000))
        requests = Clients(subscription, round_trip)
        async with requests.running(64):
            await sleep(0.2)
            started = len(prefetches)
            await sleep(0.5)
            assert memory.count("q")[0]
            assert started <= 12, prefetches
            assert len(prefetches) == started, prefetches
            assert prefetches[-1] >= min(64, 2 * prefetch)
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
