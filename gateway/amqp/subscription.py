"""A consumer on a channel, kept alive by its link and shared by every backend on the queue."""

from __future__ import annotations

import logging
from asyncio import Event
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Self
from uuid import uuid4

from aiormq.channel import Channel
from anyio import current_time, move_on_after, sleep
from msgspec import json
from pamqp.base import Frame

from ..bridge import AsyncioSide
from .buffer import Buffer, Delivery
from .intake import Intake
from .link import (
    STABLE,
    Connection,
    Link,
    LinkError,
    call,
    call_to_the_end,
    open_connection,
    reason,
)
from .settings import DEFAULT_PREFETCH, ConsumerSettings
from .topology import consume, consumer_topology

log = logging.getLogger("gateway.amqp")

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


class Subscription:
    """Takes messages of one queue for whoever asks.

    ``is_attached``: the broker delivers to us now, or could at the first request. ``problem``:
    why not, else empty.
    """

    def __init__(
        self,
        settings: ConsumerSettings,
        link: Link,
        side: AsyncioSide,
        limit: int,
        share: int = 1,
        idle_pause: float = IDLE_PAUSE,
    ) -> None:
        self.settings = settings
        self.buffer = Buffer(side)
        self.is_attached = False
        self.problem = "not connected yet"
        self.declares = False
        self._link = link
        self._side = side
        self._limit = limit
        self._share = share
        self._idle_pause = idle_pause
        self._prefetch = 1
        self._topology: dict[tuple[str, bytes], Frame] = {}
        self._asks = 0
        self._asked = Event()
        self._is_suspect = False
        self._intake: Intake | None = None
        self._attached_at: float | None = None
        self._refusals = link.pauses()

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

    def take_nowait(self) -> Delivery | None:
        """The next message when one is here. With ``auto_ack`` it is acknowledged now."""
        self._asks += 1
        delivery = self.buffer.take_nowait()
        if delivery is not None and self.settings.auto_ack:
            delivery.sent()
        return delivery

    async def take(self) -> Delivery:
        """Wait for the next message, through any repair of the connection."""
        self._asks += 1
        if not self.is_attached:
            self._side.tell(self._wake_up)
        delivery = await self.buffer.take()
        if self.settings.auto_ack:
            delivery.sent()
        return delivery

    def wait(self, take: Callable[[Delivery], None]) -> Callable[[], None]:
        """As :meth:`take`, without a task: ``take`` is called with the message.

        Returns what withdraws the wish.
        """
        self._asks += 1
        if not self.is_attached:
            self._side.tell(self._wake_up)
        if self.settings.auto_ack:
            take = _acknowledging(take)
        return partial(self.buffer.withdraw, self.buffer.wait(take))

    async def fetch(self) -> Delivery | None:
        """One Basic.Get: what the queue has now. None as well when the broker is away."""
        self._asks += 1
        if not self.is_attached:
            self._side.tell(self._wake_up)
            return None
        self._side.tell(self._fetch)
        delivery = await self.buffer.take_fetched()
        if delivery is not None and self.settings.auto_ack:
            delivery.sent()
        return delivery

    def readiness(self) -> dict[str, Any]:
        return {
            "ready": self.is_attached,
            "queue": self.settings.name,
            "buffered": len(self.buffer),
            "problem": self.problem,
        }

    # The asyncio side: one tenant of the link.

    def _wake_up(self) -> None:
        self._asked.set()
        self._link.hurry()

    def _fetch(self) -> None:
        if self._intake is None:
            self._side.post(self.buffer.nothing_fetched)
        else:
            self._intake.fetch(self.settings.name)

    def detached(self, problem: str) -> None:
        """There is no channel: why."""
        self.is_attached = False
        if problem != self.problem:
            log.log(
                logging.WARNING if self._link.is_connected else logging.DEBUG,
                "queue %r: %s",
                self.settings.name,
                problem,
            )
        self.problem = problem

    def suspect(self, link: Link, problem: str) -> None:
        """The connection ended while this was declaring: next time on one of its own first."""
        self._is_suspect = True
        self.declares = False
        self.detached(problem)

    async def live(self, connection: Connection) -> None:
        """Consume until the connection is over; what the broker refuses is tried again."""
        while True:
            self._attached_at = None
            try:
                if self._is_suspect:
                    await self._try_declaring_alone()
                async with connection.channel() as channel:
                    await self._declare(channel)
                    await self._consume(channel, connection)
            except LinkError as error:
                if connection.tap.lost.is_set():
                    return
                self.detached(str(error))
                await self._pause()
            else:
                self.problem = "idle: the first request attaches it again"
                self._asked = Event()
                await self._asked.wait()

    async def _pause(self) -> None:
        if self._attached_at is not None and current_time() - self._attached_at >= STABLE:
            self._refusals = self._link.pauses()
        else:
            await self._link.pause(next(self._refusals))

    async def _try_declaring_alone(self) -> None:
        """Some refusals end a connection (an unknown exchange type: 503): let it be no other's."""
        async with open_connection(self._link.urls[0]) as connection:
            async with connection.channel() as channel:
                await self._declare(channel)
        self._is_suspect = False

    async def _declare(self, channel: Channel) -> None:
        self.declares = True
        for method in self._topology.values():
            await call(channel.rpc(method))
        self.declares = False

    async def _consume(self, channel: Channel, connection: Connection) -> None:
        """Until nobody asks any more. Raises :class:`LinkError` when the channel ends."""
        intake = Intake(
            channel.number,
            connection.tap.write,
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
                self._attached()
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

    def _attached(self) -> None:
        self.is_attached = True
        self._attached_at = current_time()
        if self.problem:
            log.info("queue %r: consuming", self.settings.name)
        self.problem = ""

    async def _is_needed(self, intake: Intake) -> bool:
        """Wait until the intake asks for attention; False when nobody asked for a long time."""
        while not intake.attention.is_set():
            asks = self._asks
            with move_on_after(self._idle_pause):
                await intake.attention.wait()
                return True
            if self._asks == asks and not self.is_awaited:
                return False
        return True

    async def _drain(self, intake: Intake) -> None:
        """No consumer: wait until half of what is here is settled."""
        while intake.held_bytes > self._limit // 2:
            intake.check()
            await sleep(DRAIN_CHECK)


def _acknowledging(take: Callable[[Delivery], None]) -> Callable[[Delivery], None]:
    def acknowledge_and_take(delivery: Delivery) -> None:
        delivery.sent()
        take(delivery)

    return acknowledge_and_take


async def _never_called(message: object) -> None:
    """aiormq must know the consumer; deliveries on a tapped channel do not reach it."""
