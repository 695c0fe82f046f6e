"""Publishes the messages of one exchange. A message is published when the broker confirms it. It is
in flight while it is written and unconfirmed.

- The connection is lost: messages in flight are written again on the next connection, unchanged, as
  long as their requests wait for them.
- RabbitMQ refuses a message by closing the channel: only this message fails. ``quarantine.py``
  finds out which one it was; the other messages are written again.
- RabbitMQ closes the connection because of an error: each message in flight may have caused it.
  They are written one by one on a separate connection, before the channel opens again.
- RabbitMQ rejects a message (Basic.Nack): it fails, and the channel is replaced by another one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from typing import Self

from aiormq.channel import Channel
from anyio import CancelScope, move_on_after, sleep
from msgspec import json
from pamqp.commands import Confirm

from ...core.bridge import AsyncioSide
from ...core.proxy import Part
from ...core.tasks import open_tasks
from ...telemetry.logs import get_logger
from ...telemetry.metrics import Reading
from ..connection.link import (
    CLOSE_TIMEOUT,
    BrokerConnection,
    Link,
    LinkError,
    call,
    close_reason,
)
from ..connection.managed_channel import ManagedChannel
from ..connection.tap import Tap
from ..connection.topology import producer_exchange
from ..connection.urls import BrokerUrl
from ..settings import DEFAULT_EXCHANGE, ProducerSettings
from ..wire import codec
from .confirm_channel import ConfirmChannel
from .producer_queue import ProducerQueue
from .publication import Outcome, Publication, Window
from .quarantine import Quarantine
from .refusals import RefusedKeys

log = get_logger("gateway.amqp")

CONFIRM_CHECK_INTERVAL = 0.02
"""Seconds between two checks whether every message is confirmed."""

MAX_ABANDONED_MESSAGES = 1000
"""Unconfirmed messages of an exchange whose clients have gone."""

NOT_FOUND = 404
"""Reply code: the exchange does not exist (any more). Declaring it again may help."""

REPLACEMENT_INTERVAL = 0.5
"""Seconds from the first rejected message on a channel until another channel takes its place.
RabbitMQ 3.10 rejects each message for a quorum queue on a channel, as long as the leader is down
that the queue had when the channel published to it first: also when the queue has another leader.
A queue that is full rejects messages, too; then nothing is gained, and little is lost."""

REFUSAL_LOG_INTERVAL = 1.0
"""Seconds between two lines of the log about refused messages."""


def publisher_key(settings: ProducerSettings) -> tuple[object, ...]:
    """Producers with equal keys on one link share a publisher. The broker closes the channel of a
    message for an exchange that does not exist; so producers of other exchanges have other
    channels."""
    return (
        settings.exchange,
        settings.exchange_type,
        settings.durable,
        settings.delete,
        settings.declare,
        json.encode(settings.exchange_arguments),
    )


class PublishLink(Link):
    """The link that all publishers of a broker share. Each publisher may have ``max_unconfirmed``
    messages in flight: a queue that does not confirm affects its own exchange only."""

    def __init__(self, urls: tuple[BrokerUrl, ...], side: AsyncioSide, limit: int) -> None:
        super().__init__(urls, "publish", side)
        self.max_unconfirmed = limit


class Publisher(ManagedChannel):
    """Publishes to one exchange, by up to three channels:

    - main channel: all messages, as long as the broker has refused none on this connection;
    - quarantine: after a refusal, until the connection ends, messages that may be refused too,
      because no message with their routing key was accepted yet;
    - suspects: messages that were in flight when the broker closed the connection because of an
      error. They are written one by one on a separate connection.

    :meth:`publish`, :meth:`withdraw` and :meth:`keep_abandoned` are called on the app side.
    """

    def __init__(self, settings: ProducerSettings, link: PublishLink, side: AsyncioSide) -> None:
        super().__init__(
            f"exchange {settings.exchange!r}",
            link,
            is_durable=settings.durable and not settings.delete,
        )
        self._exchange = settings.exchange.encode()
        self._side = side
        self._producer_queues: dict[tuple[str, str], ProducerQueue] = {}
        # From the app side to the asyncio side, and back: one wake-up for a burst of messages.
        self._handed_over: deque[Publication] = deque()
        self._accept_scheduled = False
        self._abandoned_count = 0
        self._settled: deque[tuple[Publication, Outcome]] = deque()
        self._deliver_scheduled = False
        # The asyncio side.
        exchange, window = self._exchange, Window(link.max_unconfirmed)
        self._main = ConfirmChannel(exchange, window, self._settle, self._request_channel)
        self._quarantine = Quarantine(
            exchange, window, self._settle, self._request_channel, self._key_accepted
        )
        self._suspects = Quarantine(
            exchange,
            window,
            self._settle,
            self._request_channel,
            self._key_accepted,
            max_unchecked=1,
        )
        self._channels = (self._main, self._quarantine, self._suspects)
        self._refused_keys = RefusedKeys()
        self._accept: Callable[[Publication], None] = self._main.accept
        self._next_log_time = 0.0
        self._unlogged_count = 0

    def share_with(self, settings: ProducerSettings, name: str = "") -> Self:
        """Add a producer of this exchange, with its queue when it names one. ``name``: of its
        endpoint or agent."""
        self.concerns(name)
        self._link.share_retries(settings.backoff_strategy, settings.max_retries)
        for method in producer_exchange(settings):
            self.declare(method)
        if settings.name and settings.static_routing_key and settings.declare != "none":
            queue = settings.name, settings.routing_key
            self._producer_queues.setdefault(queue, ProducerQueue(settings))
        return self

    # App side.

    def publish(self, publication: Publication) -> None:
        """Publish it. Never waits: the outcome is passed to :meth:`Publication.settle`."""
        if self._side.is_here:
            self._accept(publication)
            return
        self._handed_over.append(publication)
        if not self._accept_scheduled:
            self._accept_scheduled = True
            self._side.tell(self._accept_handed)

    def withdraw(self, publication: Publication) -> None:
        """The request of a publication is over. See :meth:`Publication.give_back`."""
        self._side.tell(self._forget, publication)

    def keep_abandoned(self, publication: Publication, seconds: float) -> bool:
        """The client has gone: publish the message all the same, if that is possible within
        ``seconds``.

        False when there are :data:`MAX_ABANDONED_MESSAGES` already: they must not fill the memory
        while a broker is unreachable.
        """
        if self._abandoned_count >= MAX_ABANDONED_MESSAGES:
            return False
        self._abandoned_count += 1
        publication.is_abandoned = True
        publication.arrive = self._abandoned_settled
        self._side.tell(self._forget_after, publication, seconds)
        return True

    def _abandoned_settled(self, part: Part | None = None) -> None:
        self._abandoned_count -= 1

    @property
    def _unconfirmed(self) -> int:
        return sum(len(each.in_flight) for each in self._channels)

    @property
    def _waiting(self) -> int:
        return sum(len(each.waiting) for each in self._channels)

    def readings(self, broker: str) -> Iterator[Reading]:
        labels = {"broker": broker, "exchange": self._exchange.decode() or DEFAULT_EXCHANGE}
        returned = sum(each.returned_count for each in self._channels)
        yield Reading("publisher.unconfirmed_messages", labels, self._unconfirmed)
        yield Reading("publisher.waiting_messages", labels, self._waiting)
        yield Reading("publisher.returned", labels, returned)

    def readiness(self) -> dict[str, object]:
        return {
            "ready": self.is_ready,
            "exchange": self._exchange.decode(),
            "unconfirmed": self._unconfirmed,
            "waiting": self._waiting,
            "problem": self.problem or self.why_waiting(),
            "queues": [queue.readiness() for queue in self._producer_queues.values()],
        }

    def why_waiting(self) -> str:
        """Why messages are not written at the moment; empty when no reason is known."""
        tap = self._main.tap
        if tap is None:
            return self.problem
        if tap.is_blocked:
            return "the broker blocks publishers (memory or disk alarm)"
        if not tap.can_publish:
            return "the broker does not read fast enough: the send buffer is full"
        return "RabbitMQ refuses many messages of this exchange" if self._quarantine.waiting else ""

    # The asyncio side: calls from the app side.

    @property
    def is_awaited(self) -> bool:
        return any(each.waiting for each in self._channels)

    def _accept_handed(self) -> None:
        self._accept_scheduled = False
        handed = self._handed_over
        while handed:
            self._accept(handed.popleft())

    def _request_channel(self) -> None:
        if not self.is_ready:
            self.wake_up()

    def _forget(self, publication: Publication) -> None:
        for each in self._channels:
            each.waiting.pop(publication, None)
        # If it is in flight it keeps its place until the broker confirms it or the channel ends.
        publication.body = b""

    def _forget_after(self, publication: Publication, seconds: float) -> None:
        def forget() -> None:
            if not publication.is_over:
                publication.is_over = True
                self._forget(publication)
                self._side.post(self._abandoned_settled)

        asyncio.get_running_loop().call_later(seconds, forget)

    # Outcomes.

    def _settle(self, publication: Publication, outcome: Outcome) -> None:
        if self._side.is_here:
            publication.settle(outcome)
            return
        self._settled.append((publication, outcome))
        if not self._deliver_scheduled:
            self._deliver_scheduled = True
            self._side.post(self._deliver)

    def _deliver(self) -> None:
        """App side: pass the outcomes to the requests."""
        self._deliver_scheduled = False
        settled = self._settled
        while settled:
            publication, outcome = settled.popleft()
            publication.settle(outcome)

    # The main channel.

    async def work(self, channel: Channel, connection: BrokerConnection) -> None:
        """Publish until the connection ends, or the exchange does not exist any more."""
        try:
            async with open_tasks() as tasks:
                for queue in self._producer_queues.values():
                    is_usable = asyncio.Event()
                    tasks.start_soon(queue.keep_declared, connection, is_usable)
                    await is_usable.wait()
                if self._suspects.waiting:
                    await self._try_suspects(connection)
                await self._publish_until_refusal(channel, connection)
                self._accept = self._accept_after_refusal
                tasks.start_soon(self._keep_quarantine, connection)
                while True:
                    self._refused_keys.forget_accepted_keys()
                    self._quarantine.put_first(self._main.close().values())
                    async with connection.channel() as another:
                        await self._publish_until_refusal(another, connection)
        finally:
            self.is_ready = False
            self._accept = self._main.accept
            self._refused_keys = RefusedKeys()
            resent = self._suspects if connection.tap.closed_for_error else self._main
            for each in (self._quarantine, self._main):
                waiting, each.waiting = each.waiting, {}
                self._main.put_first(waiting)
                resent.put_first(each.close().values())

    async def _publish_until_refusal(self, channel: Channel, connection: BrokerConnection) -> None:
        """As :meth:`_publish_on`, on the main channel and on those that take its place."""
        is_replaced = await self._publish_on(channel, connection, self._main)
        while is_replaced:
            self._main.put_first(self._main.close().values())
            async with connection.channel() as another:
                is_replaced = await self._publish_on(another, connection, self._main)

    async def _publish_on(
        self, channel: Channel, connection: BrokerConnection, confirms: ConfirmChannel
    ) -> bool:
        """Publish until the broker closes the channel because it refuses a message, or until the
        channel is to be replaced (True). Raises :class:`LinkError` when the channel ends for
        another reason."""
        await call(channel.rpc(Confirm.Select()))
        ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def end(closing: asyncio.Future[object]) -> None:
            if not ended.done():
                ended.set_result(close_reason(closing))

        channel.closing.add_done_callback(end)
        confirms.open(channel.number, connection)
        if confirms is self._main:
            self.became_ready()
        try:
            async with open_tasks() as tasks:
                may_resend = confirms is self._main
                tasks.start_soon(_end_after_rejection, confirms, connection.tap, ended, may_resend)
                problem = await ended
                tasks.cancel_scope.cancel()
        finally:
            if not connection.tap.lost.is_set() and not ended.done():
                with move_on_after(CLOSE_TIMEOUT, shield=True):
                    await _until_confirmed(confirms)
        if not channel.is_closed and confirms.closing is None:
            # What still comes on the old channel does not concern the messages of the next one.
            connection.tap.receiver.release(channel.number)
            return True
        if not self._is_refusal(confirms.closing):
            raise LinkError(problem or "the channel was closed")
        return False

    def _is_refusal(self, closing: codec.ChannelClose | None) -> bool:
        if closing is None or closing.method != codec.PUBLISH:
            return False
        return closing.code != NOT_FOUND or not self._topology

    # After a refusal.

    def _accept_after_refusal(self, publication: Publication) -> None:
        """As ``accept`` of the main channel, after the broker has refused a message."""
        if self._refused_keys.is_trusted(publication):
            self._main.accept(publication)
        elif outcome := self._refused_keys.known_outcome(
            publication, asyncio.get_running_loop().time()
        ):
            self._settle(publication, outcome)
        else:
            self._quarantine.accept(publication)

    def _key_accepted(self, routing_key: bytes) -> None:
        self._refused_keys.key_accepted(routing_key)

    async def _keep_quarantine(self, connection: BrokerConnection) -> None:
        """Keep the quarantine open until the connection ends. A failed attempt is repeated."""
        pauses = self._link.pauses()
        while not connection.tap.lost.is_set():
            try:
                async with connection.channel() as channel:
                    await self._publish_on(channel, connection, self._quarantine)
            except LinkError as error:
                log.debug("%s: quarantine: %s", self.name, error)
                self._main.put_first(self._quarantine.close().values())
                await sleep(next(pauses))
            else:
                pauses = self._link.pauses()
                self._refuse(self._quarantine)

    async def _try_suspects(self, main: BrokerConnection) -> None:
        """Publish the messages that were in flight when the broker closed the connection because of
        an error, one by one: when the connection is closed again, one message has caused it."""
        suspects = self._suspects
        try:
            while suspects.waiting:
                async with main.open_another() as connection:
                    await self._publish_suspects(connection)
                self._refuse(suspects)
        finally:
            suspects.put_first(suspects.close().values())

    async def _publish_suspects(self, connection: BrokerConnection) -> None:
        """Publish until none is left, or until the broker refuses one by closing the channel or the
        connection. Raises :class:`LinkError` when the channel ends for another reason."""
        suspects, tap = self._suspects, connection.tap
        try:
            async with connection.channel() as channel, open_tasks() as tasks:
                tasks.start_soon(_end_when_empty, suspects, tasks.cancel_scope)
                await self._publish_on(channel, connection, suspects)
                tasks.cancel_scope.cancel()
        except LinkError:
            if not tap.closed_for_error or not suspects.in_flight:
                raise
            suspects.closing = codec.ChannelClose(tap.close_code, tap.problem, codec.PUBLISH)

    def _refuse(self, quarantine: Quarantine) -> None:
        """The broker has closed a quarantine, because it refuses one message."""
        closing, checked = quarantine.closing, quarantine.close_and_check()
        self._main.put_first(checked.accepted)
        quarantine.put_first(checked.unchecked)
        if checked.refused is not None and closing is not None:
            now = asyncio.get_running_loop().time()
            outcome = self._refused_keys.refused(checked.refused, closing, now)
            self._log_refused(checked.refused, now)
            self._settle(checked.refused, outcome)

    def _log_refused(self, publication: Publication, now: float) -> None:
        if now < self._next_log_time:
            self._unlogged_count += 1
            return
        others = (
            f" (and {self._unlogged_count} more since the last line)"
            if self._unlogged_count
            else ""
        )
        key = publication.routing_key.decode(errors="replace")
        what = f"refused a message with routing key {key!r}"
        log.warning("%s: %s: %s%s", self, what, publication.reason, others)
        self._next_log_time, self._unlogged_count = now + REFUSAL_LOG_INTERVAL, 0


async def _until_confirmed(confirms: ConfirmChannel) -> None:
    """At the end of the connection: wait for the confirms of written messages."""
    while confirms.in_flight:
        await sleep(CONFIRM_CHECK_INTERVAL)


async def _end_after_rejection(
    confirms: ConfirmChannel, tap: Tap, ended: asyncio.Future[str], may_resend: bool
) -> None:
    """Set ``ended`` when the channel has rejected a message and can be replaced: every message is
    confirmed. If other messages are not confirmed soon, the channel stays for now. But one that has
    confirmed nothing is replaced if ``may_resend``: its messages in flight are written again."""
    while True:
        await confirms.has_rejected.wait()
        await sleep(REPLACEMENT_INTERVAL)
        confirms.stop()
        with move_on_after(REPLACEMENT_INTERVAL):
            await _until_confirmed(confirms)
        if not confirms.in_flight or (may_resend and not confirms.has_confirmed):
            break
        if confirms.closing is not None:
            return
        confirms.has_rejected.clear()
        confirms.resume(tap)
    if not ended.done():
        ended.set_result("")


async def _end_when_empty(confirms: ConfirmChannel, scope: CancelScope) -> None:
    while confirms.waiting or confirms.in_flight:
        await sleep(CONFIRM_CHECK_INTERVAL)
    scope.cancel()
