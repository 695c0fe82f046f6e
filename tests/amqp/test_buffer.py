"""The delivery buffer alone, with a channel that only records calls."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager

import pytest
from anyio import create_task_group, fail_after, move_on_after, wait_all_tasks_blocked
from anyio.lowlevel import checkpoint

from gateway.amqp.consume.buffer import Buffer, take_from
from gateway.amqp.consume.delivery import Delivery
from gateway.core.bridge import open_asyncio_side

pytestmark = pytest.mark.anyio


class Channel:
    """``unsent`` becomes smaller only by ``sent``."""

    def __init__(self, buffer: Buffer) -> None:
        self.is_open = True
        self.unsent = 0
        self.max_unsent = 1000
        self.settled: list[tuple[str, int]] = []
        self._buffer = buffer

    def sent(self, delivery: Delivery) -> None:
        self.unsent -= 1
        self._buffer.serve()

    def acknowledge(self, delivery: Delivery) -> None:
        self.settled.append(("ack", delivery.tag))

    def give_back(self, delivery: Delivery) -> None:
        if self.is_open:
            self._buffer.put_back(delivery)

    def reject(self, delivery: Delivery) -> None:
        self.settled.append(("reject", delivery.tag))

    def park(self, delivery: Delivery, seconds: float) -> None:
        self.settled.append(("park", delivery.tag))

    def deliver(self, *tags: int) -> None:
        self._buffer.put([Delivery(self, tag, False, b"", b"", b"%d" % tag) for tag in tags])


@pytest.fixture
async def buffer() -> AsyncGenerator[Buffer]:
    async with open_asyncio_side() as side:
        yield Buffer(side)


@pytest.fixture
def channel(buffer: Buffer) -> Channel:
    return Channel(buffer)


def take(buffer: Buffer) -> Delivery:
    delivery = buffer.take_nowait()
    assert delivery is not None
    return delivery


async def test_deliveries_come_in_order(buffer: Buffer, channel: Channel) -> None:
    channel.deliver(1, 2, 3)
    assert [take(buffer).tag for _ in range(3)] == [1, 2, 3]
    assert buffer.take_nowait() is None


async def test_deliveries_that_are_given_back_keep_the_order_of_the_queue(
    buffer: Buffer, channel: Channel
) -> None:
    channel.deliver(1, 2, 3, 4)
    taken = [take(buffer) for _ in range(3)]
    for number in (1, 0, 2):
        taken[number].give_back()
    assert [take(buffer).tag for _ in range(4)] == [1, 2, 3, 4]


async def test_a_delivery_is_settled_once(buffer: Buffer, channel: Channel) -> None:
    channel.deliver(1)
    delivery = take(buffer)
    delivery.acknowledge()
    delivery.acknowledge()
    delivery.give_back()
    delivery.reject()
    delivery.park()
    assert channel.settled == [("ack", 1)]
    assert len(buffer) == 0


async def test_a_delivery_that_came_back_can_be_settled_again(
    buffer: Buffer, channel: Channel
) -> None:
    channel.deliver(1)
    take(buffer).give_back()
    take(buffer).acknowledge()
    assert channel.settled == [("ack", 1)]


async def test_deliveries_of_a_closed_channel_are_not_served(
    buffer: Buffer, channel: Channel
) -> None:
    channel.deliver(1, 2)
    held = take(buffer)
    channel.is_open = False
    fresh = Channel(buffer)
    fresh.deliver(1)
    held.give_back()
    assert take(buffer).channel is fresh
    assert buffer.take_nowait() is None


async def test_the_request_that_waits_longest_is_served_first(
    buffer: Buffer, channel: Channel
) -> None:
    served: list[tuple[str, int]] = []

    async def wait(name: str) -> None:
        served.append((name, (await take_from(buffer)).tag))

    with fail_after(5):
        async with create_task_group() as waiters:
            for name in "abc":
                waiters.start_soon(wait, name)
                await wait_all_tasks_blocked()
            assert buffer.has_waiters
            channel.deliver(1, 2, 3)
    assert sorted(served) == [("a", 1), ("b", 2), ("c", 3)]


async def test_a_request_does_not_overtake_requests_that_wait(
    buffer: Buffer, channel: Channel
) -> None:
    async with create_task_group() as waiters:
        waiters.start_soon(take_from, buffer)
        await wait_all_tasks_blocked()
        assert buffer.take_nowait() is None
        channel.deliver(1)
        assert buffer.take_nowait() is None
        while buffer.has_waiters:
            await checkpoint()
        channel.deliver(2)
        assert take(buffer).tag == 2


async def test_a_cancelled_waiter_is_forgotten(buffer: Buffer, channel: Channel) -> None:
    with move_on_after(0.01):
        await take_from(buffer)
    assert not buffer.has_waiters
    channel.deliver(1)
    assert take(buffer).tag == 1


@pytest.mark.parametrize("is_cancelled_first", [True, False])
async def test_a_waiter_that_is_cancelled_at_the_moment_of_delivery_gives_it_back(
    buffer: Buffer, channel: Channel, is_cancelled_first: bool
) -> None:
    taken: list[Delivery] = []

    async def wait() -> None:
        taken.append(await take_from(buffer))

    async with create_task_group() as waiters:
        waiters.start_soon(wait)
        await wait_all_tasks_blocked()
        if is_cancelled_first:
            waiters.cancel_scope.cancel()
            channel.deliver(1)
        else:
            channel.deliver(1)
            waiters.cancel_scope.cancel()
    # The delivery is in one place: with the waiter or in the buffer.
    for delivery in taken:
        delivery.give_back()
    assert take(buffer).tag == 1
    assert len(buffer) == 0


def respond(buffer: Buffer) -> None:
    """The oldest Basic.Get has its response, as the asyncio side reports it."""
    buffer._side.post(buffer.fetched)


@asynccontextmanager
async def fetching(buffer: Buffer, number: int) -> AsyncGenerator[list[Delivery | None]]:
    """So many requests fetch a message; at the end all of them have a response."""
    found: list[Delivery | None] = []

    async def fetch() -> None:
        found.append(await buffer.take_fetched(int))

    with fail_after(5):
        async with create_task_group() as fetches:
            for _ in range(number):
                fetches.start_soon(fetch)
            await wait_all_tasks_blocked()
            yield found


async def test_a_fetch_that_finds_nothing_returns_none(buffer: Buffer) -> None:
    async with fetching(buffer, 1) as found:
        respond(buffer)
    assert found == [None]
    assert not buffer.has_waiters


async def test_a_fetch_that_finds_a_message_returns_it(buffer: Buffer, channel: Channel) -> None:
    async with fetching(buffer, 1) as found:
        channel.deliver(7)
        respond(buffer)
    assert [delivery and delivery.tag for delivery in found] == [7]


async def test_responses_of_two_fetches_that_come_together_each_end_one(
    buffer: Buffer, channel: Channel
) -> None:
    async with fetching(buffer, 2) as found:
        channel.deliver(7)
        respond(buffer)
        respond(buffer)
    assert sorted(delivery.tag if delivery else 0 for delivery in found) == [0, 7]


async def test_a_fetch_ends_when_an_earlier_request_takes_its_message(
    buffer: Buffer, channel: Channel
) -> None:
    taken: list[int] = []

    async def take_one() -> None:
        taken.append((await take_from(buffer)).tag)

    async with create_task_group() as requests:
        requests.start_soon(take_one)
        await wait_all_tasks_blocked()
        async with fetching(buffer, 1) as found:
            channel.deliver(7)
            await wait_all_tasks_blocked()
            respond(buffer)
    assert (taken, found) == ([7], [None])


async def test_the_response_of_a_fetch_that_was_cancelled_ends_no_other(
    buffer: Buffer, channel: Channel
) -> None:
    with move_on_after(0.01):
        await buffer.take_fetched(int)
    async with fetching(buffer, 1) as found:
        respond(buffer)
        await wait_all_tasks_blocked()
        assert found == []
        channel.deliver(7)
        respond(buffer)
    assert [delivery and delivery.tag for delivery in found] == [7]


async def test_requests_hold_no_more_messages_than_may_be_unsent(
    buffer: Buffer, channel: Channel
) -> None:
    channel.max_unsent = 2
    channel.deliver(1, 2, 3, 4)
    first = take(buffer)
    take(buffer)
    assert buffer.take_nowait() is None
    waiters = [Recorder(), Recorder()]
    for waiter in waiters:
        buffer.wait(waiter)
    assert [waiter.tags for waiter in waiters] == [[], []]
    first.sent()
    assert [waiter.tags for waiter in waiters] == [[3], []]


async def test_requests_that_send_at_once_are_served_one_after_the_other(
    buffer: Buffer, channel: Channel
) -> None:
    channel.max_unsent = 1
    waiters = [Recorder(sends=True) for _ in range(2000)]  # more than the depth of Python's stack
    for waiter in waiters:
        buffer.wait(waiter)
    channel.deliver(*range(1, 2001))
    while buffer.has_waiters:
        await checkpoint()
    assert [waiter.tags for waiter in waiters] == [[tag] for tag in range(1, 2001)]


async def test_a_fetch_gets_a_message_when_no_more_may_be_unsent(
    buffer: Buffer, channel: Channel
) -> None:
    channel.max_unsent = 1
    channel.deliver(1)
    take(buffer)
    async with fetching(buffer, 1) as found:
        channel.deliver(2)
        respond(buffer)
    assert [delivery and delivery.tag for delivery in found] == [2]


class Recorder:
    """A Waiter. ``sends``: its response is written at once."""

    def __init__(self, *, sends: bool = False) -> None:
        self.tags: list[int] = []
        self._sends = sends

    def take(self, delivery: Delivery) -> None:
        self.tags.append(delivery.tag)
        if self._sends:
            delivery.sent()


class Arriving(deque[Delivery]):
    """Another message arrives whenever the buffer removes one or more."""

    def __init__(self, channel: Channel, first: Iterable[Delivery]) -> None:
        super().__init__(first)
        self._tag = 10
        self._channel = channel

    def clear(self) -> None:
        self._arrive()
        super().clear()

    def popleft(self) -> Delivery:
        self._arrive()
        return super().popleft()

    def _arrive(self) -> None:
        self._tag += 1
        self._channel.deliver(self._tag)


async def test_deliveries_that_arrive_while_others_are_removed_are_kept(
    buffer: Buffer, channel: Channel
) -> None:
    other = Channel(buffer)
    channel.deliver(1)
    other.deliver(2)
    channel.deliver(3)
    buffer.ready = Arriving(channel, buffer.ready)
    assert [delivery.tag for delivery in buffer.take_out(lambda each: each.channel is channel)] == [
        1,
        3,
    ]
    assert [delivery.tag for delivery in buffer.ready] == [2, 11, 12, 13]
