"""The harness's side of the queues: publishes to some, reads others, all through faults."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import aiormq
from aiormq.abc import AbstractChannel, DeliveredMessage
from aiormq.exceptions import AMQPError, ChannelInvalidStateError
from pamqp.commands import Basic

from ..faults import drain
from ..fill import ready
from ..messages import first_number, message, numbers_in
from .accounts import Account, place_of
from .flows import Flow

TICK = 0.1
RETRY = 0.2
"""Seconds."""

PREFETCH = 200

PROPERTIES = Basic.Properties(content_type="application/json", delivery_mode=2)


async def keep_on(
    url: str, stop: asyncio.Event, work: Callable[[AbstractChannel], Awaitable[None]]
) -> None:
    """Run ``work`` on a channel of its own until ``stop``; again when its connection breaks."""
    task = asyncio.current_task()
    assert task is not None
    while not stop.is_set():
        try:
            async with aiormq.connect(url) as connection:
                await work(await connection.channel())
        except asyncio.CancelledError:
            if task.cancelling():
                raise
            # aiormq cancels what waits on a connection that breaks.
        except (AMQPError, ChannelInvalidStateError, OSError):
            pass
        await asyncio.sleep(RETRY)


async def feed(
    flow: Flow,
    account: Account,
    rate: float,
    clock: Callable[[], float],
    stop: asyncio.Event,
    channel: AbstractChannel,
) -> None:
    """Publish ``rate`` messages a second, with confirms, while the queue is shorter than its
    backlog. What was not confirmed may be in the queue or not."""
    publish = partial(channel.basic_publish, routing_key=flow.queue, properties=PROPERTIES)
    due = 0.0
    while not stop.is_set():
        room = flow.backlog - await ready(channel, flow.queue)
        due = min(due + rate * TICK, rate)
        numbers = [account.add(clock()) for _ in range(min(int(due), room))]
        due -= len(numbers)
        first = first_number(flow.series)
        bodies = [message(flow.series, first + number, flow.body_bytes) for number in numbers]
        confirms = await asyncio.gather(*map(publish, bodies), return_exceptions=True)
        for number, confirm in zip(numbers, confirms, strict=True):
            if isinstance(confirm, Basic.Ack):
                account.confirm(number)
        await asyncio.sleep(TICK)


async def read(
    queue: str,
    account: Account,
    clock: Callable[[], float],
    stop: asyncio.Event,
    channel: AbstractChannel,
) -> None:
    """Consume the queue. A redelivered message may be one that this reader had before."""

    async def receive(message: DeliveredMessage) -> None:
        assert isinstance(message.delivery, Basic.Deliver)
        for each in numbers_in([message.body]):
            is_read_again = bool(message.delivery.redelivered)
            account.receive(place_of(each)[1], clock(), is_read_again=is_read_again)
        await channel.basic_ack(message.delivery.delivery_tag or 0)

    await channel.basic_qos(prefetch_count=PREFETCH)
    await channel.basic_consume(queue, receive)
    while not (stop.is_set() or channel.is_closed):
        await asyncio.sleep(TICK)


async def find_remaining(url: str, flow: Flow, account: Account, seconds: float) -> None:
    """Empty the queues of a flow. The gateways and the readers must have ended.

    RabbitMQ may still be returning messages: it is asked again for ten seconds while some are
    missing.
    """
    end = asyncio.get_running_loop().time() + 10
    while True:
        for queue in flow.queues:
            for each in numbers_in(await drain(url, queue)):
                account.find(place_of(each)[1], seconds)
        if not account.missing or asyncio.get_running_loop().time() > end:
            return
