"""A subscription consumes one queue for all backends that share it.

It opens a channel on each connection of its link, and has a consumer while requests need messages.
Other messages stay ready in the queue, where other consumers can get them.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from functools import partial
from typing import Self

from aiormq.channel import Channel
from anyio import sleep
from msgspec import json

from ...core.bridge import AsyncioSide
from ...core.tasks import open_tasks
from ...telemetry.metrics import Reading
from ..connection.link import BrokerConnection, Link, NoChannelError, call_uninterrupted
from ..connection.managed_channel import ManagedChannel, declaration_key
from ..connection.topology import consumer_bindings, consumer_topology
from ..settings import MAX_PREFETCH, ConsumerSettings
from .attachment import Attachment, AttachmentNumbers
from .bounds import AttachmentSettings
from .buffer import Buffer, Waiter, take_from
from .delivery import Delivery
from .ledger import Ledger, SettledCounts

REDECLARE_INTERVAL = 10.0
"""Seconds between two declarations of the same topology. They create what was deleted. The broker
does not report that a queue without a consumer, or a binding, was deleted."""


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

    - ready: the topology is declared;
    - idle: at first, and again after ``idle_return`` seconds without a request. It has no consumer,
      and the buffered messages are requeued. The first request after that fetches its message with
      Basic.Get. A queue that RabbitMQ would delete without a consumer keeps one with a prefetch of
      1;
    - attached: it has a consumer. The prefetch is what the requests need (:class:`.demand.Demand`),
      at most the sum of ``prefetch_count``. Messages that are sent and not settled raise this bound
      (:class:`.prefetch_raise.PrefetchRaise`).

    ``is_permanent``: it is always attached with the whole prefetch while it is ready (agents,
    streams). ``max_bytes``: bound of the unsettled messages. ``share``: number of workers that
    share the prefetch.
    """

    def __init__(
        self,
        settings: ConsumerSettings,
        link: Link,
        side: AsyncioSide,
        max_bytes: int,
        share: int = 1,
        redeclare_interval: float = REDECLARE_INTERVAL,
        *,
        is_permanent: bool = False,
    ) -> None:
        super().__init__(
            f"queue {settings.name!r}", link, is_durable=settings.durable and not settings.delete
        )
        self.settings = settings
        self.buffer = Buffer(side)
        self._side = side
        self._max_bytes = max_bytes
        self._share = share
        self._idle_return = 0.0
        self._redeclare_interval = redeclare_interval
        self._is_permanent = is_permanent or settings.is_stream
        self._refuses_get = False
        self._prefetch_sum = 0
        self._bindings: list[set[Hashable]] = []
        self._attachment: Attachment | None = None
        # Of all channels before the last one, and the last one. Together: another thread reads it.
        self._settled: tuple[SettledCounts, Ledger | None] = SettledCounts(), None

    def share_with(self, settings: ConsumerSettings, name: str = "") -> Self:
        """Add a backend of this queue: its prefetch and its bindings. ``name``: of its endpoint or
        agent."""
        self.concerns(name)
        self._prefetch_sum += settings.prefetch
        self._idle_return = max(self._idle_return, settings.idle_return_seconds)
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
    def _max_prefetch(self) -> int:
        """The bound of the prefetch in this process: the workers divide the sum of all backends."""
        return min(-(-self._prefetch_sum // self._share), MAX_PREFETCH)

    # App side: requests.

    @property
    def is_attached(self) -> bool:
        return self._attachment is not None and self._attachment.is_attached

    @property
    def is_awaited(self) -> bool:
        return self.buffer.has_waiters

    async def take(self) -> Delivery:
        """Wait for the next message, also while the connection is repaired."""
        return await take_from(self)

    def wait(self, waiter: Waiter) -> None:
        """As :meth:`take`, without a task: ``waiter`` gets the message."""
        self.buffer.wait(waiter)
        # In this order: the asyncio side first sets ``watches_waits`` to true and then checks for
        # waiters. So it sees the waiter, or the waiter is reported here.
        attachment = self._attachment
        if attachment is None or attachment.watches_waits or attachment.withholds_credit:
            self._side.tell(self._request_waits)

    def withdraw(self, waiter: Waiter) -> bool:
        """Stop waiting. False when ``waiter`` has its message already, and must settle it."""
        was_waiting = self.buffer.withdraw(waiter)
        if was_waiting and not self.buffer.has_waiters:
            self._side.tell(self._check)
        return was_waiting

    async def fetch(self) -> Delivery | None:
        """Fetch a message with one Basic.Get. None when the queue is empty or there is no
        channel; also for a queue that needs a consumer, which is started for the next request."""
        if not self.is_ready:
            self._side.tell(self.wake_up)
            return None
        return await self.buffer.take_fetched(partial(self._side.tell, self._fetch))

    def readiness(self) -> dict[str, object]:
        return {
            "ready": self.is_ready and not self.refused,
            "queue": self.settings.name,
            "attached": self.is_attached,
            "buffered": len(self.buffer),
            "problem": self.problem or "; ".join(self.refused.values()),
        }

    def readings(self, broker: str) -> Iterator[Reading]:
        labels = {"broker": broker, "queue": self.settings.name}
        attachment, ready = self._attachment, self.buffer.ready.copy()
        numbers = AttachmentNumbers() if attachment is None else attachment.numbers
        yield Reading("subscription.buffered_messages", labels, len(ready))
        yield Reading("subscription.buffered", labels, sum(len(each.body) for each in ready))
        yield Reading("subscription.unacked_messages", labels, numbers.unacked)
        yield Reading("subscription.prefetch", labels, numbers.prefetch)
        yield Reading("subscription.consumers", labels, numbers.consumers)
        yield Reading("subscription.parked_messages", labels, numbers.parked)
        yield Reading("subscription.waiting_requests", labels, self.buffer.waiting)
        for outcome, number in self._settled_counts._asdict().items():
            yield Reading("messages.settled", {**labels, "outcome": outcome}, number)

    @property
    def _settled_counts(self) -> SettledCounts:
        """Of all channels until now."""
        before, ledger = self._settled
        return before if ledger is None else before.plus(ledger.counts)

    def why_no_message(self, settings: ConsumerSettings) -> str:
        """The problem of the backend with these settings; empty when the queue is just empty."""
        if not self.is_ready:
            return self.problem
        if not self.refused:
            return ""
        keys = map(declaration_key, consumer_bindings(settings))
        return "; ".join(self.refused[key] for key in keys if key in self.refused)

    # The asyncio side: the user of the link.

    def _request_waits(self) -> None:
        if self._attachment is None:
            self.wake_up()
        else:
            self._attachment.request_waits()

    def _check(self) -> None:
        if self._attachment is not None:
            self._attachment.check()

    def _fetch(self) -> None:
        if self._attachment is None:
            self._side.post(self.buffer.fetched)
        elif self._refuses_get or not self.settings.is_replaceable:
            self._attachment.need_consumer()
        else:
            self._attachment.fetch()

    async def work(self, channel: Channel, connection: BrokerConnection) -> None:
        """Work on this channel until cancelled. Raises :class:`LinkError` when the channel ends."""
        attachment = self._attachment = Attachment(
            self.settings,
            self._attachment_settings,
            self.buffer,
            self._side,
            channel,
            connection.tap,
        )
        self._settled = self._settled_counts, attachment.ledger
        try:
            self.became_ready()
            async with open_tasks() as tasks:
                tasks.start_soon(self._keep_declared, channel, connection)
                await attachment.keep()
        finally:
            self._attachment = None
            await attachment.close()
            self._refuses_get = self._refuses_get or attachment.was_get_refused

    @property
    def _attachment_settings(self) -> AttachmentSettings:
        settings = self.settings
        return AttachmentSettings(
            max_prefetch=self._max_prefetch,
            max_bytes=self._max_bytes,
            idle_return=self._idle_return,
            idle_prefetch=1 if settings.dies_without_consumer else 0,
            is_permanent=self._is_permanent,
            is_replaceable=settings.is_replaceable,
            may_fetch=settings.may_be_fetched and not self._refuses_get,
        )

    async def _keep_declared(self, channel: Channel, connection: BrokerConnection) -> None:
        """Declare on a channel of its own, where there may be one more: while the broker does not
        respond, it delivers no message on this channel."""
        while True:
            await sleep(self._redeclare_interval)
            try:
                async with connection.channel() as another:
                    await self._declare(another)
            except NoChannelError:
                await call_uninterrupted(self._declare(channel))
