"""A channel's deliveries within their bounds, and when they are acknowledged."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from gateway.amqp.consume.buffer import Buffer
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


class Channel:
    """An intake on a channel of which only what is written is seen. ``soon``: what waits."""

    def __init__(self, side: AsyncioSide, limit: int = 1 << 20, prefetch: int = 100) -> None:
        self.written: list[bytes] = []
        self.soon: list[Callable[[], None]] = []
        self.buffer = Buffer(side)
        self.channel = SubscriptionChannel(
            CHANNEL, self.written.append, self.soon.append, self.buffer, side, limit, Consumer()
        )
        self.channel.consumer_replaced(prefetch)

    def deliver(self, *sizes: int) -> None:
        """Messages of these sizes with the tags 1, 2, …, in one run."""
        self.channel.delivered(
            [(tag, False, b"", b"", b"x" * size) for tag, size in enumerate(sizes, 1)]
        )

    def tags(self) -> list[int]:
        return [delivery.tag for delivery in self.buffer.ready]

    def answer(self, number: int) -> None:
        """So many are taken and acknowledged."""
        for _ in range(number):
            delivery = self.buffer.take_nowait()
            assert delivery is not None
            delivery.acknowledge()


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
        channel = Channel(side, prefetch=15)
        channel.deliver(1, 1)
        channel.answer(1)
        assert channel.written == [codec.ack(CHANNEL, 1)]
        channel.answer(1)
        assert channel.written == [codec.ack(CHANNEL, 1), codec.ack(CHANNEL, 2)]
        assert channel.soon == []


async def test_acknowledgements_are_written_in_batches_or_after_a_delay() -> None:
    async with open_asyncio_side() as side:
        channel = Channel(side, prefetch=16)
        channel.deliver(1, 1, 1)
        channel.answer(1)
        assert (channel.written, len(channel.soon)) == ([], 1)
        channel.answer(1)
        assert channel.written == [codec.ack(CHANNEL, 2, multiple=True)]
        channel.answer(1)
        for flush in channel.soon:
            flush()
        assert channel.written[1:] == [codec.ack(CHANNEL, 3)]
        assert channel.channel.held_bytes == 0


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
