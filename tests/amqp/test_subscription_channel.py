"""A channel's deliveries within their bounds, and when they are acknowledged."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from gateway.amqp.consume.buffer import Buffer
from gateway.amqp.consume.delivery import Delivery
from gateway.amqp.consume.subscription_channel import (
    MAX_PARKED_TIME,
    MESSAGE_OVERHEAD,
    SubscriptionChannel,
)
from gateway.amqp.wire import codec
from gateway.core.bridge import AsyncioSide, open_asyncio_side

pytestmark = pytest.mark.anyio

CHANNEL = 7


class Consumer:
    """A consumer that no response reaches."""

    tag = "t"

    def changed(self, tag: str) -> None: ...

    def ended(self, reason: str) -> None: ...


class Waiter:
    """A request that waits."""

    def take(self, delivery: Delivery) -> None: ...


class Channel:
    """An intake on a channel of which only what is written is seen. ``soon``: what waits."""

    def __init__(
        self,
        side: AsyncioSide,
        limit: int = 1 << 20,
        prefetch: int = 100,
        max_unsent: int | None = None,
    ) -> None:
        self.written: list[bytes] = []
        self.soon: list[Callable[[], None]] = []
        self.buffer = Buffer(side)
        self.channel = SubscriptionChannel(
            CHANNEL,
            self.written.append,
            self.soon.append,
            self.buffer,
            side,
            limit,
            Consumer(),
            max_unsent=max_unsent,
        )
        self.channel.consumer_replaced(prefetch)

    def deliver(self, *sizes: int) -> None:
        """Messages of these sizes with the tags 1, 2, …, in one run."""
        self.channel.delivered(
            [(tag, False, b"", b"", b"x" * size) for tag, size in enumerate(sizes, 1)]
        )

    def tags(self) -> list[int]:
        return [delivery.tag for delivery in self.buffer.ready]

    def take(self) -> Delivery:
        delivery = self.buffer.take_nowait()
        assert delivery is not None
        return delivery

    def answer(self, number: int) -> None:
        """So many are taken and acknowledged."""
        for _ in range(number):
            self.take().acknowledge()

    def held(self) -> tuple[int, int, int]:
        """How many messages requests hold: unsent, sent; and how many use up the prefetch."""
        channel = self.channel
        return channel.unsent, channel.sent_count, channel.in_use_unsent


class Waiting:
    """A Waiter of the buffer."""

    def __init__(self) -> None:
        self.taken: list[Delivery] = []

    def take(self, delivery: Delivery) -> None:
        self.taken.append(delivery)


@pytest.fixture(params=["asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """asyncio only: a call of the other side is done when it returns."""
    return str(request.param)


async def test_only_messages_beyond_the_bound_are_returned() -> None:
    async with open_asyncio_side() as side:
        channel = Channel(side, limit=3 * MESSAGE_OVERHEAD + 100)
        channel.deliver(10, 3 * MESSAGE_OVERHEAD, 10)
        assert channel.tags() == [1, 3]
        assert channel.written == [codec.nack(CHANNEL, 2)]
        assert channel.channel.needs_check.is_set()
        assert channel.channel.held_bytes == 2 * (10 + MESSAGE_OVERHEAD)
        assert channel.channel.largest_message == 4 * MESSAGE_OVERHEAD


async def test_a_single_message_may_have_any_size() -> None:
    async with open_asyncio_side() as side:
        channel = Channel(side, limit=100)
        channel.deliver(5000)
        assert channel.tags() == [1]
        assert channel.written == []


async def test_with_a_small_prefetch_each_acknowledgement_is_written_at_once() -> None:
    async with open_asyncio_side() as side:
        channel = Channel(side, prefetch=7)
        channel.deliver(1, 1)
        channel.answer(1)
        assert channel.written == [codec.ack(CHANNEL, 1)]
        channel.answer(1)
        assert channel.written == [codec.ack(CHANNEL, 1), codec.ack(CHANNEL, 2)]
        assert channel.soon == []


async def test_acknowledgements_are_written_in_batches_or_after_a_delay() -> None:
    async with open_asyncio_side() as side:
        channel = Channel(side, prefetch=16)
        channel.deliver(1, 1, 1, 1, 1)
        channel.answer(3)
        assert (channel.written, len(channel.soon)) == ([], 1)
        channel.answer(1)
        assert channel.written == [codec.ack(CHANNEL, 4, multiple=True)]
        channel.answer(1)
        for flush in channel.soon:
            flush()
        assert channel.written[1:] == [codec.ack(CHANNEL, 5)]
        assert channel.channel.held_bytes == 0


async def test_acknowledgements_are_written_in_smaller_batches_while_a_request_waits() -> None:
    async with open_asyncio_side() as side:
        channel = Channel(side, prefetch=16)
        channel.deliver(1, 1, 1, 1)
        deliveries = [channel.take() for _ in range(4)]
        channel.buffer.wait(Waiter())
        deliveries[0].acknowledge()
        assert channel.written == []
        deliveries[1].acknowledge()
        assert channel.written == [codec.ack(CHANNEL, 2, multiple=True)]


async def test_a_request_that_begins_to_wait_has_the_acknowledgements_written() -> None:
    async with open_asyncio_side() as side:
        channel = Channel(side, prefetch=16)
        channel.deliver(1, 1, 1)
        channel.answer(1)
        assert not channel.channel.withholds_credit
        channel.answer(2)
        assert channel.channel.withholds_credit
        channel.channel.request_waits()
        assert channel.written == [codec.ack(CHANNEL, 3, multiple=True)]
        assert not channel.channel.withholds_credit


async def test_a_message_parked_for_too_long_goes_back_to_the_queue_also_if_its_timer_is_early(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with open_asyncio_side() as side:
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(loop, "call_at", lambda when, call, *args: loop.call_soon(call, *args))
        channel = Channel(side)
        channel.deliver(1)
        delivery = channel.buffer.take_nowait()
        assert delivery is not None
        delivery.park(MAX_PARKED_TIME)
        while not channel.written:
            await asyncio.sleep(0)
        assert channel.written == [codec.nack(CHANNEL, 1)]
        assert channel.tags() == []


SETTLE: dict[str, Callable[[Delivery], None]] = {
    "acknowledge": Delivery.acknowledge,
    "give_back": Delivery.give_back,
    "reject": Delivery.reject,
    "park": Delivery.park,
}


@pytest.mark.parametrize("how", SETTLE)
async def test_a_message_that_is_sent_does_not_use_up_the_prefetch_until_it_is_settled(
    how: str,
) -> None:
    async with open_asyncio_side() as side:
        channel = Channel(side, max_unsent=10, prefetch=7)
        channel.deliver(1, 1)
        delivery = channel.take()
        assert channel.held() == (1, 0, 2)
        delivery.sent()
        delivery.sent()
        assert channel.held() == (0, 1, 1)
        SETTLE[how](delivery)
        is_back = how == "give_back"
        assert channel.held() == (0, 0, 1 + is_back)
        delivery.sent()
        assert channel.held() == (0, 0, 1 + is_back)
        assert len(channel.buffer) == 1 + is_back
        channel.channel.settle_all()


async def test_a_message_that_is_given_back_can_be_sent_again() -> None:
    async with open_asyncio_side() as side:
        channel = Channel(side, max_unsent=10)
        channel.deliver(1)
        for _ in range(2):
            delivery = channel.take()
            delivery.sent()
            assert channel.held() == (0, 1, 0)
            delivery.give_back()
            assert channel.held() == (0, 0, 1)


async def test_without_a_bound_of_unsent_messages_sent_ones_count_as_all_others() -> None:
    async with open_asyncio_side() as side:
        channel = Channel(side, max_unsent=None)
        channel.deliver(1, 1)
        channel.take().sent()
        assert channel.held() == (1, 0, 2)


async def test_a_message_is_sent_while_requests_wait_and_all_credit_is_in_use() -> None:
    async with open_asyncio_side() as side:
        channel = Channel(side, max_unsent=1, prefetch=1)
        channel.deliver(1)
        delivery = channel.take()
        channel.buffer.wait(Waiting())
        assert not channel.channel.is_short
        delivery.sent()
        assert channel.channel.is_short
        assert channel.channel.needs_check.is_set()


async def test_a_message_that_is_sent_within_the_raise_causes_no_check() -> None:
    async with open_asyncio_side() as side:
        channel = Channel(side, max_unsent=1, prefetch=1)
        channel.channel.prefetch_raise.grow(1)
        channel.deliver(1)
        delivery = channel.take()
        channel.buffer.wait(Waiting())
        delivery.sent()
        assert not channel.channel.needs_check.is_set()


async def test_messages_that_are_sent_withhold_no_credit_while_there_is_more() -> None:
    async with open_asyncio_side() as side:
        channel = Channel(side, max_unsent=2, prefetch=2)
        channel.deliver(1)
        channel.take().sent()
        assert not channel.channel.withholds_credit
        channel.channel.delivered([(2, False, b"", b"", b"x")])
        assert channel.channel.withholds_credit


@pytest.mark.parametrize("how", ["sent", *SETTLE])
async def test_when_a_request_holds_its_message_no_more_the_next_one_gets_one(how: str) -> None:
    async with open_asyncio_side() as side:
        channel = Channel(side, max_unsent=1)
        channel.deliver(1, 1)
        delivery = channel.take()
        waiting = Waiting()
        channel.buffer.wait(waiting)
        assert waiting.taken == []
        {"sent": Delivery.sent, **SETTLE}[how](delivery)
        assert [each.tag for each in waiting.taken] == [1 if how == "give_back" else 2]
        channel.channel.settle_all()


async def test_the_largest_number_of_sent_messages_is_counted_anew_from_the_present_one() -> None:
    async with open_asyncio_side() as side:
        channel = Channel(side, max_unsent=10)
        channel.deliver(1, 1, 1)
        held = [channel.take() for _ in range(3)]
        for delivery in held:
            delivery.sent()
        held[0].acknowledge()
        assert channel.channel.most_sent == 3
        channel.channel.restart_most_sent()
        assert channel.channel.most_sent == 2
