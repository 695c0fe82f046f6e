"""Keeps the consumer that the requests of a queue need, on one channel. Asyncio side."""

from __future__ import annotations

import asyncio
from math import inf
from sys import maxsize
from typing import NamedTuple

from aiormq.channel import Channel
from anyio import move_on_after, sleep

from ...core.bridge import AsyncioSide
from ..connection.link import (
    CLOSE_TIMEOUT,
    LinkError,
    NotFoundError,
    call_ignoring_errors,
    call_uninterrupted,
    close_reason,
)
from ..connection.tap import Tap
from ..connection.topology import QueueDeclare
from ..settings import ConsumerSettings
from .bounds import AttachmentSettings, Bounds
from .buffer import Buffer
from .channel_consumer import ChannelConsumer
from .demand import Demand
from .ledger import Ledger
from .subscription_channel import SubscriptionChannel

DRAIN_CHECK_INTERVAL = 0.05
"""Seconds between two checks of a buffer that is over its bound."""

MIN_CHECK_INTERVAL, MAX_CHECK_INTERVAL = 0.01, 0.5
"""Seconds between two checks whether the requests need another prefetch: a quarter of
``idle_return`` within these bounds."""

OVERDUE_CHECK_INTERVAL = 60.0
"""Seconds between two checks whether an idle gateway has a message for too long."""


class AttachmentNumbers(NamedTuple):
    """``unacked``: messages that are not settled. ``parked``: those of them that wait until they
    are tried again."""

    unacked: int = 0
    prefetch: int = 0
    consumers: int = 0
    parked: int = 0


class Attachment:
    """A subscription on one channel: idle or attached (:class:`.subscription.Subscription`).

    ``watches_waits``: a request that begins to wait has to be reported to :meth:`request_waits`.
    """

    def __init__(
        self,
        consumer: ConsumerSettings,
        settings: AttachmentSettings,
        buffer: Buffer,
        side: AsyncioSide,
        channel: Channel,
        tap: Tap,
    ) -> None:
        self.is_attached = False
        self.watches_waits = True
        self._settings = settings
        self._queue = consumer.name
        self._buffer = buffer
        self._side = side
        self._channel = channel
        self._tap = tap
        self._needs_consumer = False
        self._time = asyncio.get_running_loop().time
        self._demand = Demand(self._time(), buffer.request_count)
        self._consumer = ChannelConsumer(consumer, channel, tap.write)
        self._deliveries = deliveries = SubscriptionChannel(
            channel.number,
            tap.write,
            tap.schedule_flush,
            buffer,
            side,
            settings.max_bytes if settings.is_replaceable else maxsize,
            self._consumer,
            self._cancel_when_rare,
            settings.max_unsent,
        )
        self._bounds = Bounds(settings, deliveries)
        tap.receiver.sinks[channel.number] = tap.receiver.consumers[channel.number] = deliveries
        channel.closing.add_done_callback(
            lambda closing: deliveries.ended(close_reason(closing) or "the channel was closed")
        )
        channel.on_consumer_cancel_callbacks.add(
            lambda cancel: deliveries.consumer_lost(cancel.consumer_tag)
        )

    @property
    def ledger(self) -> Ledger:
        """Of the channel. Others only read it."""
        return self._deliveries.ledger

    @property
    def numbers(self) -> AttachmentNumbers:
        """What it has at the moment; also read by the app side."""
        deliveries = self._deliveries
        return AttachmentNumbers(
            len(deliveries.ledger),
            deliveries.credit.prefetch,
            int(bool(self._consumer.tag)),
            deliveries.parked,
        )

    @property
    def withholds_credit(self) -> bool:
        """As of the channel. A request that begins to wait has to be reported then, too."""
        return self._deliveries.withholds_credit

    def request_waits(self) -> None:
        """A request begins to wait."""
        self._deliveries.request_waits()

    def check(self) -> None:
        """The last request that waited does not wait any more."""
        self._deliveries.needs_check.set()

    def fetch(self) -> None:
        """Send a Basic.Get. The buffer gets the response."""
        self._deliveries.fetch(self._queue, lambda found: self._side.post(self._buffer.fetched))

    def need_consumer(self) -> None:
        """As :meth:`fetch`, for a queue that refuses Basic.Get: it gets a consumer for the next
        request, and this one finds no message."""
        self._needs_consumer = True
        self.check()
        self._side.post(self._buffer.fetched)

    async def keep(self) -> None:
        """Be idle and attached in turn. Raises :class:`LinkError` when the channel ends."""
        try:
            while True:
                prefetch = self._settings.max_prefetch
                if not self._settings.is_permanent:
                    prefetch = await self._stay_idle()
                await self._stay_attached(prefetch)
        except LinkError as error:
            if not self._deliveries.is_consumer_lost:
                raise
            raise LinkError(f"{error}: {await self._why_cancelled()}") from error

    async def close(self) -> None:
        """Stop the consumer, write all acknowledgements, requeue all other messages."""
        deliveries = self._deliveries
        if deliveries.is_open and not self._tap.lost.is_set():
            # With a consumer, the broker would deliver a requeued message again at once.
            with move_on_after(CLOSE_TIMEOUT, shield=True):
                await call_ignoring_errors(self._consumer.replace(0))
        deliveries.is_open = deliveries.is_open and not self._channel.is_closed
        deliveries.settle_all()
        self._side.post(self._buffer.drop_closed)
        self._tap.flush()

    @property
    def was_get_refused(self) -> bool:
        """Whether it has ended because the queue refuses Basic.Get."""
        return self._deliveries.was_get_refused(self._tap.close_code)

    async def _why_cancelled(self) -> str:
        """RabbitMQ gives no reason when it cancels a consumer."""
        try:
            await call_uninterrupted(
                self._channel.rpc(QueueDeclare(queue=self._queue, passive=True))
            )
        except NotFoundError:
            return "the queue was deleted"
        except LinkError as error:
            return str(error)
        return (
            "the queue exists; its leader has changed, or a message was "
            "unacknowledged for longer than consumer_timeout"
        )

    async def _stay_idle(self) -> int:
        """Hold no message, except for parked ones, until requests need a consumer. Returns its
        prefetch."""
        deliveries, idle_prefetch = self._deliveries, self._settings.idle_prefetch
        self.is_attached = False
        self.watches_waits = True
        deliveries.is_idle = True
        deliveries.prefetch_raise.size = 0
        self._side.post(deliveries.restart_most_sent)
        deliveries.consumer_replaced(idle_prefetch)
        await self._consumer.replace(idle_prefetch)
        self._side.post(deliveries.requeue_surplus)
        while not (prefetch := await self._needed_prefetch()):
            with move_on_after(OVERDUE_CHECK_INTERVAL) as wait:
                await deliveries.needs_check.wait()
            if wait.cancelled_caught:
                self._side.post(deliveries.requeue_overdue, self._time())
        deliveries.is_idle = False
        return prefetch

    async def _needed_prefetch(self) -> int:
        """Idle: the prefetch for the requests that wait; 0 if they need no consumer."""
        deliveries, settings, buffer = self._deliveries, self._settings, self._buffer
        deliveries.needs_check.clear()
        deliveries.raise_if_ended()
        is_rare = self._note_requests()
        deliveries.prefetch_raise.grow(deliveries.sent_count)
        if is_rare and buffer.unserved == 1 and settings.may_fetch and self._bounds.room:
            fetched = asyncio.Event()
            deliveries.fetch(self._queue, lambda found: fetched.set())
            await call_uninterrupted(fetched.wait())
            deliveries.raise_if_ended()
        waiting = buffer.unserved or self._needs_consumer
        if not waiting:
            return 0
        if settings.is_replaceable or is_rare:
            return min(waiting, self._bounds.room)
        return settings.max_prefetch

    async def _stay_attached(self, prefetch: int) -> None:
        """Consume until requests need no consumer."""
        deliveries = self._deliveries
        self._needs_consumer = False
        while prefetch:
            is_smaller = prefetch < deliveries.credit.prefetch and not deliveries.needs_renewal
            deliveries.consumer_replaced(prefetch, can_grow=self._can_grow(prefetch))
            await self._consumer.replace(prefetch)
            self.is_attached = True
            self.watches_waits = deliveries.credit.can_grow
            if is_smaller:
                self._side.post(deliveries.requeue_surplus)
            prefetch = await self._next_prefetch()
            if prefetch and deliveries.needs_renewal and not await self._wait_for_room():
                return

    async def _next_prefetch(self) -> int:
        """Wait until the consumer must be replaced. Returns the prefetch of the next one; 0: there
        must be none."""
        deliveries, settings = self._deliveries, self._settings
        interval = max(MIN_CHECK_INTERVAL, min(MAX_CHECK_INTERVAL, settings.idle_return / 4))
        while True:
            with move_on_after(None if settings.is_permanent else interval):
                await deliveries.needs_check.wait()
            deliveries.needs_check.clear()
            deliveries.raise_if_ended()
            if not self._consumer.tag:
                return 0
            prefetch = self._decide()
            if prefetch != deliveries.credit.prefetch or deliveries.needs_renewal:
                return prefetch
            deliveries.is_short = False
            self.watches_waits = deliveries.credit.can_grow = self._can_grow(prefetch)

    def _decide(self) -> int:
        """Attached: the prefetch that the requests need now; 0 if they need no consumer."""
        deliveries, settings, demand = self._deliveries, self._settings, self._demand
        is_rare = self._note_requests()
        prefetch, waiting = deliveries.credit.prefetch, self._buffer.unserved
        if settings.is_permanent:
            return self._bounds.prefetch if deliveries.needs_renewal else prefetch
        if not waiting and self._is_unneeded(is_rare=is_rare):
            return 0
        if not settings.is_replaceable:
            deliveries.needs_renewal = False
            is_too_small = waiting and not is_rare and prefetch < settings.max_prefetch
            return 0 if is_too_small else prefetch
        is_flowing = demand.are_settled_soon(deliveries.in_use)
        if deliveries.is_short and waiting:
            deliveries.prefetch_raise.grow(deliveries.most_sent)
            room = self._bounds.prefetch if is_flowing else self._bounds.room
            larger = min(room, demand.larger_prefetch(prefetch, waiting))
            if larger == prefetch and deliveries.credit.is_used_up and not is_flowing:
                deliveries.needs_renewal = True  # another one, of the same size
            return larger if larger > 0 else prefetch
        if settings.idle_return != inf:
            prefetch = demand.smaller_prefetch(prefetch, deliveries.held + waiting)
        if is_flowing:
            prefetch = demand.later_prefetch(prefetch)
        return min(prefetch, self._bounds.prefetch)

    def _is_unneeded(self, *, is_rare: bool) -> bool:
        """No request waits. Whether the consumer should be cancelled."""
        idle_return = self._settings.idle_return
        if is_rare and not self._buffer.ready and idle_return != inf:
            return True
        return self._is_silent

    @property
    def _is_silent(self) -> bool:
        """Whether there was no request for ``idle_return``."""
        return self._time() - self._demand.last_request_at >= self._settings.idle_return

    def _cancel_when_rare(self) -> bytes:
        """Before the only message in the gateway is settled: the frame that cancels the consumer,
        if requests are rare. So the broker sends no message that no request has asked for."""
        settings, deliveries = self._settings, self._deliveries
        if settings.is_permanent or settings.idle_prefetch or settings.idle_return == inf:
            return b""
        if not self._consumer.tag:
            return b""
        self.watches_waits = True  # and then look for waiting requests: see Subscription.wait
        is_rare = self._demand.is_rare(self._time(), self._buffer.request_count)
        if not is_rare or self._buffer.waiting or self._buffer.ready:
            self.watches_waits = deliveries.credit.can_grow
            return b""
        self.is_attached = False
        deliveries.is_idle = True
        deliveries.needs_check.set()
        return self._consumer.cancel_nowait()

    def _note_requests(self) -> bool:
        """Count the requests until now. Returns whether they are rare."""
        now, count, deliveries = self._time(), self._buffer.request_count, self._deliveries
        self._demand.note(now, count, self._buffer.waiting, deliveries.settled)
        if deliveries.prefetch_raise.note(now, deliveries.most_sent):
            self._side.post(deliveries.restart_most_sent)
        return self._demand.is_rare(now, count)

    def _can_grow(self, prefetch: int) -> bool:
        return self._settings.is_replaceable and prefetch < self._bounds.prefetch

    async def _wait_for_room(self) -> bool:
        """Wait until the unsettled messages are at most half of ``max_bytes``, without a consumer
        if the queue may be without one. False: there was no request for ``idle_return``."""
        deliveries, settings = self._deliveries, self._settings
        if deliveries.held_bytes <= settings.max_bytes // 2:
            return True
        await self._consumer.replace(settings.idle_prefetch)
        deliveries.consumer_replaced(settings.idle_prefetch)
        while deliveries.held_bytes > settings.max_bytes // 2:
            deliveries.raise_if_ended()
            self._note_requests()
            if not settings.is_permanent and not self._buffer.waiting and self._is_silent:
                return False
            await sleep(DRAIN_CHECK_INTERVAL)
        return True
