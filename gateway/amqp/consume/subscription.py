"""A subscription consumes one queue for all backends that share it.

It opens a channel on each connection of its link, and has a consumer while requests need messages.
Other messages stay ready in the queue, where other consumers can get them.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from sys import maxsize
from typing import Self

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
    close_reason,
)
from ..connection.managed_channel import ManagedChannel, declaration_key
from ..connection.topology import consumer_bindings, consumer_topology
from ..settings import MAX_PREFETCH, ConsumerSettings
from .buffer import Buffer, Delivery, Waiter
from .channel_consumer import ChannelConsumer
from .subscription_channel import SubscriptionChannel

IDLE_AFTER = 15 * 60.0
"""Seconds without a request after which a subscription becomes idle."""

REDECLARE_INTERVAL = 10.0
"""Seconds between two declarations of the same topology. They create what was deleted. The broker
does not report that a queue without a consumer, or a binding, was deleted."""

DRAIN_CHECK_INTERVAL = 0.05
"""Seconds between two checks of a buffer that is over its bound."""


def subscription_key(settings: ConsumerSettings) -> tuple[object, ...]:
    """Backends with equal keys on one link share a subscription.

    The key contains all declarations except for the bindings. So a refused declaration affects only
    the backends that have it in their settings.
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
    """Consumes one queue. Requests take the messages from ``buffer``.

    Its states on a channel:

    - ready: the topology is declared, and a request can fetch a message with Basic.Get;
    - attached: it has a consumer with the whole prefetch. The first request that has to wait
      attaches it;
    - idle: at first, and again after ``idle_after`` seconds without a request. It has no consumer,
      and the buffered messages are requeued. A queue that RabbitMQ would delete
      without a consumer keeps one with a prefetch of 1.

    ``is_permanent``: it is always attached while it is ready (agents, streams). ``max_bytes``:
    bound of the unsettled messages. ``share``: number of workers that share the prefetch.
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
        """Add a backend of this queue: its prefetch and its bindings."""
        self._prefetch_sum += settings.prefetch
        self._link.share_retries(settings.backoff_strategy, settings.max_retries)
        for method in consumer_topology(settings):
            self.declare(method)
        self._bindings.append({self.declare(method) for method in consumer_bindings(settings)})
        return self

    def can_do_without(self, declaration: Hashable) -> bool:
        """A binding is optional when some backend has all its bindings without this one."""
        missing = {declaration, *self.refused}
        is_binding = any(declaration in bindings for bindings in self._bindings)
        return is_binding and any(missing.isdisjoint(bindings) for bindings in self._bindings)

    @property
    def _prefetch(self) -> int:
        """The prefetch of this process: the workers divide the sum of all backends."""
        return min(-(-self._prefetch_sum // self._share), MAX_PREFETCH)

    # App side: requests.

    @property
    def is_awaited(self) -> bool:
        return self.buffer.has_waiters

    async def take(self) -> Delivery:
        """Wait for the next message, also while the connection is repaired."""
        if not self.is_attached:
            self._side.tell(self.wake_up)
        return await self.buffer.take()

    def wait(self, waiter: Waiter) -> None:
        """As :meth:`take`, without a task: ``waiter`` gets the message."""
        self.buffer.wait(waiter)
        # In this order: a subscription that becomes idle first sets ``is_attached`` to false and
        # then checks for waiters. So it sees the waiter, or the waiter is reported here.
        if not self.is_attached:
            self._side.tell(self.wake_up)

    async def fetch(self) -> Delivery | None:
        """Fetch a message with one Basic.Get. None when the queue is empty or there is no
        channel."""
        if not self.is_ready:
            self._side.tell(self.wake_up)
            return None
        self._side.tell(self._fetch)
        return await self.buffer.take_fetched()

    def readiness(self) -> dict[str, object]:
        return {
            "ready": self.is_ready and not self.refused,
            "queue": self.settings.name,
            "attached": self.is_attached,
            "buffered": len(self.buffer),
            "problem": self.problem or "; ".join(self.refused.values()),
        }

    def why_no_message(self, settings: ConsumerSettings) -> str:
        """The problem of the backend with these settings; empty when the queue is just empty."""
        if not self.is_ready:
            return self.problem
        if not self.refused:
            return ""
        keys = map(declaration_key, consumer_bindings(settings))
        return "; ".join(self.refused[key] for key in keys if key in self.refused)

    # The asyncio side: the user of the link.

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
        """Work on this channel until cancelled. Raises :class:`LinkError` when the channel ends."""
        deliveries = self._open_channel(channel, connection)
        consumer = ChannelConsumer(self.settings, channel)
        try:
            self.became_ready()
            async with open_tasks() as tasks:
                tasks.start_soon(self._keep_declared, channel)
                while True:
                    if not self._is_permanent:
                        await self._stay_idle(deliveries, consumer)
                    await self._consume_while_needed(deliveries, consumer)
        finally:
            self._channel = None
            self.is_attached = False
            if deliveries.is_open and not connection.tap.lost.is_set():
                # With a consumer, the broker would deliver a returned message again at once.
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
            lambda closing: deliveries.end(close_reason(closing) or "the channel was closed")
        )
        channel.on_consumer_cancel_callbacks.add(
            lambda _: deliveries.end("the broker cancelled the consumer: the queue may be deleted")
        )
        self._channel = deliveries
        return deliveries

    async def _stay_idle(self, deliveries: SubscriptionChannel, consumer: ChannelConsumer) -> None:
        """Stay idle until a request waits. The broker has all messages, except for parked ones."""
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

    async def _consume_while_needed(
        self, deliveries: SubscriptionChannel, consumer: ChannelConsumer
    ) -> None:
        """Consume until there was no request for ``idle_after`` seconds."""
        for prefetch in self._prefetches(deliveries):
            deliveries.consumer_replaced(prefetch)
            await consumer.replace(prefetch)
            self.is_attached = True
            if not await self._is_needed(deliveries):
                return
            await self._wait_for_room(deliveries, consumer)

    def _prefetches(self, deliveries: SubscriptionChannel) -> Iterator[int]:
        """The prefetch of the first consumer, then of each one that replaces it. Later ones are
        smaller when messages are so large that the whole prefetch would exceed ``max_bytes``."""
        yield self._prefetch
        while True:
            yield max(1, min(self._prefetch, self._max_bytes // deliveries.largest_message))

    async def _is_needed(self, deliveries: SubscriptionChannel) -> bool:
        """Wait until the consumer must be replaced. False when there was no request for
        ``idle_after`` seconds."""
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

    async def _wait_for_room(
        self, deliveries: SubscriptionChannel, consumer: ChannelConsumer
    ) -> None:
        """Wait until the unsettled messages are at most half of ``max_bytes``, without a consumer
        if the queue may be without one."""
        if deliveries.held_bytes <= self._max_bytes // 2:
            return
        await consumer.replace(self._idle_prefetch)
        deliveries.consumer_replaced(self._idle_prefetch)
        while deliveries.held_bytes > self._max_bytes // 2:
            deliveries.raise_if_ended()
            await sleep(DRAIN_CHECK_INTERVAL)
