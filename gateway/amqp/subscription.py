"""A consumer on a channel, kept alive by its link and shared by every backend on the queue."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self
from uuid import uuid4

from aiormq.channel import Channel
from anyio import move_on_after, sleep
from msgspec import json

from ..bridge import AsyncioSide
from .buffer import Buffer, Delivery, Waiter
from .intake import Intake
from .link import Connection, Link, call_to_the_end, reason
from .settings import DEFAULT_PREFETCH, ConsumerSettings
from .tenant import ChannelTenant
from .topology import consume, consumer_topology

IDLE_PAUSE = 15 * 60.0
"""Seconds without a request after which the messages go back to the queue. RabbitMQ closes a
channel that holds one for 30 minutes (``consumer_timeout``)."""

DRAIN_CHECK = 0.05
"""Seconds between looks at a buffer that is over its bound."""


def subscription_key(settings: ConsumerSettings) -> tuple[object, ...]:
    """Backends with equal keys on one link share a subscription."""
    return (
        settings.name,
        settings.auto_ack,
        settings.exclusive,
        settings.no_local,
        settings.priority,
        settings.consumer_tag,
        json.encode(settings.arguments),
    )


class Subscription(ChannelTenant):
    """Takes messages of one queue for whoever asks: what is here from ``buffer``."""

    def __init__(
        self,
        settings: ConsumerSettings,
        link: Link,
        side: AsyncioSide,
        limit: int,
        share: int = 1,
        idle_pause: float = IDLE_PAUSE,
    ) -> None:
        super().__init__(f"queue {settings.name!r}", link)
        self.settings = settings
        self.buffer = Buffer(side)
        self._side = side
        self._limit = limit
        self._share = share
        self._idle_pause = idle_pause
        self._prefetch = 1
        self._intake: Intake | None = None

    def share_with(self, settings: ConsumerSettings) -> Self:
        """One more backend on this queue: the largest prefetch counts, and every binding."""
        prefetch = settings.prefetch_count if settings.prefetch_count > 0 else DEFAULT_PREFETCH
        self._prefetch = max(self._prefetch, -(-prefetch // self._share))
        self._link.share_retries(settings.backoff_strategy, settings.max_retries)
        for method in consumer_topology(settings):
            self._topology.setdefault((method.name, method.marshal()), method)
        return self

    # Near: requests.

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
        if not self.is_attached:
            self._side.tell(self.wake_up)
        self.buffer.wait(waiter)

    async def fetch(self) -> Delivery | None:
        """One Basic.Get: what the queue has now. None as well when the broker is away."""
        if not self.is_attached:
            self._side.tell(self.wake_up)
            return None
        self._side.tell(self._fetch)
        return await self.buffer.take_fetched()

    def readiness(self) -> dict[str, Any]:
        return {
            "ready": self.is_attached,
            "queue": self.settings.name,
            "buffered": len(self.buffer),
            "problem": self.problem,
        }

    # The asyncio side: one tenant of the link.

    def _fetch(self) -> None:
        if self._intake is None:
            self._side.post(self.buffer.nothing_fetched)
        else:
            self._intake.fetch(self.settings.name)

    async def work(self, channel: Channel, connection: Connection) -> None:
        """Until nobody asks any more. Raises :class:`LinkError` when the channel ends."""
        intake = Intake(
            channel.number,
            connection.tap.write,
            connection.tap.soon,
            self.buffer,
            self._side,
            self._limit,
            self._prefetch,
        )
        connection.tap.receiver.sinks[channel.number] = intake
        channel.closing.add_done_callback(
            lambda closing: intake.end(reason(closing) or "the channel was closed")
        )
        channel.on_consumer_cancel_callbacks.add(
            lambda _: intake.end("the broker cancelled the consumer: is the queue deleted?")
        )
        self._intake = intake
        try:
            for prefetch in self._prefetches(intake):
                intake.renewed(prefetch)
                consumer = await self._start_consumer(channel, prefetch)
                self.attached()
                if not await self._is_needed(intake):
                    return
                intake.check()
                await call_to_the_end(channel.basic_cancel(consumer))
                await self._drain(intake)
        finally:
            self._intake = None
            self.is_attached = False
            intake.close()
            connection.tap.flush()

    def _prefetches(self, intake: Intake) -> Iterator[int]:
        """The prefetch of the first consumer on a channel, then of each renewed one."""
        yield self._prefetch
        while True:
            yield max(1, min(self._prefetch, self._limit // intake.largest))

    async def _start_consumer(self, channel: Channel, prefetch: int) -> str:
        await call_to_the_end(channel.basic_qos(prefetch_count=prefetch))
        consumer_tag = self.settings.consumer_tag or f"hutch-{uuid4().hex}"
        channel.consumers[consumer_tag] = _never_called
        await call_to_the_end(channel.rpc(consume(self.settings, consumer_tag)))
        return consumer_tag

    async def _is_needed(self, intake: Intake) -> bool:
        """Wait until the intake asks for attention; False when nobody asked for a long time."""
        while not intake.attention.is_set():
            asks = self.buffer.asks
            with move_on_after(self._idle_pause):
                await intake.attention.wait()
                return True
            if self.buffer.asks == asks and not self.is_awaited:
                return False
        return True

    async def _drain(self, intake: Intake) -> None:
        """No consumer: wait until half of what is here is settled."""
        while intake.held_bytes > self._limit // 2:
            intake.check()
            await sleep(DRAIN_CHECK)


async def _never_called(message: object) -> None:
    """aiormq must know the consumer; deliveries on a tapped channel do not reach it."""
