"""The messages of a queue, for the backends that share it: a channel, kept alive by its link."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from sys import maxsize
from typing import Any, Self

from aiormq.channel import Channel
from anyio import move_on_after, sleep
from msgspec import json

from ...core.bridge import AsyncioSide
from ...core.tasks import open_tasks
from ..connection.link import (
    CLOSE_TIMEOUT,
    BrokerConnection,
    Link,
    call_ignoring_errors,
    call_uninterrupted,
    reason,
)
from ..connection.managed_channel import ManagedChannel, declaration_key
from ..connection.topology import consumer_bindings, consumer_topology
from ..settings import MAX_PREFETCH, ConsumerSettings
from .buffer import Buffer, Delivery, Waiter
from .channel_consumer import ChannelConsumer
from .subscription_channel import SubscriptionChannel

IDLE_AFTER = 15 * 60.0
"""Seconds without a request after which a subscription rests."""

REDECLARE_INTERVAL = 10.0
"""Seconds between declarations of the same topology. What was deleted meanwhile exists again: a
queue at rest has no consumer whose cancellation would say so, a binding never has one."""

DRAIN_CHECK_INTERVAL = 0.05
"""Seconds between looks at a buffer that is over its bound."""


def subscription_key(settings: ConsumerSettings) -> tuple[object, ...]:
    """Backends with equal keys on one link share a subscription.

    Everything that is declared is part of it, but for the bindings: a declaration that RabbitMQ
    refuses concerns the backends that ask for it alone.
    """
    return (
        settings.name,
        settings.exchange,
        settings.exchange_type,
        settings.declare,
        settings.durable,
        settings.delete,
        settings.auto_ack,
        settings.exclusive,
        settings.no_local,
        settings.priority,
        settings.consumer_tag,
        json.encode(settings.arguments),
        json.encode(settings.exchange_arguments),
    )


class Subscription(ManagedChannel):
    """Takes messages of one queue for requests: from ``buffer``.

    It is ready when its topology is declared. It is attached (a consumer with the whole prefetch)
    while requests ask, from the first one that has to wait. After ``idle_pause`` seconds without
    one it rests: the consumer is cancelled and the buffered messages go back to the queue. A queue
    that RabbitMQ would delete without a consumer keeps one with a prefetch of 1.
    ``is_permanent``: it is attached as long as it is ready, and never rests.
    """

    def __init__(
        self,
        settings: ConsumerSettings,
        link: Link,
        side: AsyncioSide,
        max_bytes: int,
        share: int = 1,
        idle_after: float = IDLE_AFTER,
        redeclare_interval: float = REDECLARE_INTERVAL,
        *,
        is_permanent: bool = False,
    ) -> None:
        super().__init__(f"queue {settings.name!r}", link)
        self.settings = settings
        self.is_attached = False
        self.buffer = Buffer(side)
        self._side = side
        self._max_bytes = max_bytes
        self._share = share
        self._idle_after = idle_after
        self._redeclare_interval = redeclare_interval
        self._is_permanent = is_permanent or settings.is_stream
        self._idle_prefetch = 1 if settings.dies_without_consumer else 0
        self._prefetch_sum = 0
        self._bindings: list[set[Hashable]] = []
        self._channel: SubscriptionChannel | None = None

    def share_with(self, settings: ConsumerSettings) -> Self:
        """One more backend on this queue: its prefetch is added, and its bindings."""
        self._prefetch_sum += settings.prefetch
        self._link.share_retries(settings.backoff_strategy, settings.max_retries)
        for method in consumer_topology(settings):
            self.declare(method)
        self._bindings.append({self.declare(method) for method in consumer_bindings(settings)})
        return self

    def can_do_without(self, declaration: Hashable) -> bool:
        """Whether there is a backend with all its bindings when this one is refused."""
        missing = {declaration, *self.refused}
        is_binding = any(declaration in bindings for bindings in self._bindings)
        return is_binding and any(missing.isdisjoint(bindings) for bindings in self._bindings)

    @property
    def _prefetch(self) -> int:
        """Of this process: ``share`` workers divide the sum."""
        return min(-(-self._prefetch_sum // self._share), MAX_PREFETCH)

    # App side: requests.

    @property
    def is_awaited(self) -> bool:
        return self.buffer.has_waiters

    async def take(self) -> Delivery:
        """Wait for the next message, through any repair of the connection."""
        if not self.is_attached:
            self._side.tell(self.wake_up)
        return await self.buffer.take()

    def wait(self, waiter: Waiter) -> None:
        """As :meth:`take`, without a task."""
        self.buffer.wait(waiter)
        # Looked at behind: the subscription looks for waiters behind its coming to rest.
        if not self.is_attached:
            self._side.tell(self.wake_up)

    async def fetch(self) -> Delivery | None:
        """One Basic.Get: what the queue has now. None as well when the broker is away."""
        if not self.is_ready:
            self._side.tell(self.wake_up)
            return None
        self._side.tell(self._fetch)
        return await self.buffer.take_fetched()

    def readiness(self) -> dict[str, Any]:
        return {
            "ready": self.is_ready and not self.refused,
            "queue": self.settings.name,
            "attached": self.is_attached,
            "buffered": len(self.buffer),
            "problem": self.problem or "; ".join(self.refused.values()),
        }

    def why_no_message(self, settings: ConsumerSettings) -> str:
        """What is wrong for the backend with these settings; empty: the queue is empty."""
        if not self.is_ready:
            return self.problem
        if not self.refused:
            return ""
        keys = map(declaration_key, consumer_bindings(settings))
        return "; ".join(self.refused[key] for key in keys if key in self.refused)

    # The asyncio side: one user of the link.

    def wake_up(self) -> None:
        super().wake_up()
        if self._channel is not None:
            self._channel.needs_check.set()

    def _fetch(self) -> None:
        if self._channel is None:
            self._side.post(self.buffer.nothing_fetched)
        else:
            self._channel.fetch(self.settings.name)

    async def work(self, channel: Channel, connection: BrokerConnection) -> None:
        """Until cancelled. Raises :class:`LinkError` when the channel ends."""
        deliveries = self._open_channel(channel, connection)
        consumer = ChannelConsumer(self.settings, channel)
        try:
            self.became_ready()
            async with open_tasks() as tasks:
                tasks.start_soon(self._keep_declared, channel)
                while True:
                    if not self._is_permanent:
                        await self._rest(deliveries, consumer)
                    await self._serve(deliveries, consumer)
        finally:
            self._channel = None
            self.is_attached = False
            if deliveries.is_open and not connection.tap.lost.is_set():
                # A message that returns while there is a consumer would come again at once.
                with move_on_after(CLOSE_TIMEOUT, shield=True):
                    await call_ignoring_errors(consumer.stop())
            deliveries.is_open = deliveries.is_open and not channel.is_closed
            deliveries.close()
            connection.tap.flush()

    async def _keep_declared(self, channel: Channel) -> None:
        while True:
            await sleep(self._redeclare_interval)
            await call_uninterrupted(self._declare(channel))

    def _open_channel(self, channel: Channel, connection: BrokerConnection) -> SubscriptionChannel:
        tap = connection.tap
        max_bytes = self._max_bytes if self.settings.is_replaceable else maxsize
        deliveries = SubscriptionChannel(
            channel.number, tap.write, tap.schedule_flush, self.buffer, self._side, max_bytes
        )
        tap.receiver.sinks[channel.number] = deliveries
        channel.closing.add_done_callback(
            lambda closing: deliveries.end(reason(closing) or "the channel was closed")
        )
        channel.on_consumer_cancel_callbacks.add(
            lambda _: deliveries.end("the broker cancelled the consumer: is the queue deleted?")
        )
        self._channel = deliveries
        return deliveries

    async def _rest(self, deliveries: SubscriptionChannel, consumer: ChannelConsumer) -> None:
        """Until a request waits. Messages are with the broker, but for the parked ones."""
        self.is_attached = False
        deliveries.is_idle = True
        if self._idle_prefetch:
            deliveries.consumer_replaced(self._idle_prefetch)
        await consumer.replace(self._idle_prefetch)
        while not self.is_awaited:
            deliveries.needs_check.clear()
            self._side.post(deliveries.return_buffered)
            if not self.is_awaited:
                with move_on_after(self._idle_after):
                    await deliveries.needs_check.wait()
            deliveries.raise_if_ended()
        deliveries.is_idle = False

    async def _serve(self, deliveries: SubscriptionChannel, consumer: ChannelConsumer) -> None:
        """Consume until no request has asked for long."""
        for prefetch in self._prefetches(deliveries):
            deliveries.consumer_replaced(prefetch)
            await consumer.replace(prefetch)
            self.is_attached = True
            if not await self._is_needed(deliveries):
                return
            await self._drain(deliveries, consumer)

    def _prefetches(self, deliveries: SubscriptionChannel) -> Iterator[int]:
        """The prefetch of the first consumer on a channel, then of each renewed one."""
        yield self._prefetch
        while True:
            yield max(1, min(self._prefetch, self._max_bytes // deliveries.largest_message))

    async def _is_needed(self, deliveries: SubscriptionChannel) -> bool:
        """Wait until the channel asks for attention; False when no request came for long."""
        while True:
            deliveries.raise_if_ended()
            request_count = self.buffer.request_count
            with move_on_after(self._idle_after):
                await deliveries.needs_check.wait()
            if deliveries.needs_check.is_set():
                deliveries.needs_check.clear()
                deliveries.raise_if_ended()
                if self.settings.is_replaceable:
                    return True
            elif (
                self.buffer.request_count == request_count
                and not self.is_awaited
                and not self._is_permanent
            ):
                return False

    async def _drain(self, deliveries: SubscriptionChannel, consumer: ChannelConsumer) -> None:
        """Wait until half of what is here is settled, without a consumer where that is allowed."""
        if deliveries.held_bytes <= self._max_bytes // 2:
            return
        await consumer.replace(self._idle_prefetch)
        deliveries.consumer_replaced(self._idle_prefetch)
        while deliveries.held_bytes > self._max_bytes // 2:
            deliveries.raise_if_ended()
            await sleep(DRAIN_CHECK_INTERVAL)
