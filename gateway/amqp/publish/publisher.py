"""A channel in confirm mode for one exchange: a message is published when the broker says so.

What is in flight when the connection drops is written again on the next one, unchanged, as long
as its request waits for it. RabbitMQ closes a channel to refuse a message: this message alone fails
(``quarantine.py`` finds out which it is), everything else is written again. An error that it does
not expect ends the whole connection: what was in flight is then written on a connection of its own,
one message after the other, before the channel opens again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Self

from aiormq.channel import Channel
from anyio import CancelScope, move_on_after, sleep
from msgspec import json
from pamqp.commands import Confirm

from ...core.bridge import AsyncioSide
from ...core.proxy import Part
from ...core.tasks import open_tasks
from ...telemetry.logs import get_logger
from ..connection.link import (
    CLOSE_TIMEOUT,
    BrokerConnection,
    Link,
    LinkError,
    call,
    open_connection,
    reason,
)
from ..connection.managed_channel import ManagedChannel
from ..connection.topology import producer_exchange
from ..connection.urls import BrokerUrl
from ..settings import ProducerSettings
from ..wire import codec
from .confirm_channel import ConfirmChannel
from .producer_queue import ProducerQueue
from .publication import Outcome, Publication, Window
from .quarantine import Quarantine
from .refusals import RefusedKeys

log = get_logger("gateway.amqp")

CONFIRM_CHECK = 0.02
MAX_ABANDONED_MESSAGES = 1000
"""Messages whose clients have gone and that may still wait for the broker."""

NOT_FOUND = 404
"""The exchange is gone; declaring it again may help."""

QUEUE_PAUSE = 30.0
"""Seconds before a queue that the broker has refused is declared again."""

LOG_PAUSE = 1.0
"""Seconds between two lines about refused messages."""


def publisher_key(settings: ProducerSettings) -> tuple[object, ...]:
    """Producers with equal keys on one link share a channel: an exchange that does not exist
    closes the channel of everybody who publishes to it, and of nobody else."""
    return (
        settings.exchange,
        settings.exchange_type,
        settings.durable,
        settings.delete,
        settings.declare,
        json.encode(settings.exchange_arguments),
    )


class PublishLink(Link):
    """A link by which publishers share the connection. Each may have ``max_unconfirmed`` messages
    in flight: a queue that does not confirm uses up the window of its own exchange."""

    def __init__(self, urls: tuple[BrokerUrl, ...], side: AsyncioSide, limit: int) -> None:
        super().__init__(urls, "publish", side)
        self.max_unconfirmed = limit


class Publisher(ManagedChannel):
    """Publishes to one exchange.

    App side: :meth:`publish` and :meth:`withdraw`. Once the broker has refused a message, messages
    that it may refuse, too, go through a quarantine until the connection ends.
    """

    def __init__(self, settings: ProducerSettings, link: PublishLink, side: AsyncioSide) -> None:
        super().__init__(f"exchange {settings.exchange!r}", link)
        self._exchange = settings.exchange.encode()
        self._side = side
        self._queues: dict[tuple[str, str], ProducerQueue] = {}
        # From the app side to the asyncio side, and back: one hand-over for a burst.
        self._handed: deque[Publication] = deque()
        self._is_told = False
        self._going_on = 0
        self._settled: deque[tuple[Publication, Outcome]] = deque()
        self._is_posted = False
        # The asyncio side.
        exchange, window = self._exchange, Window(link.max_unconfirmed)
        self._main = ConfirmChannel(exchange, window, self._settle, self._ask_for_channel)
        self._quarantine = Quarantine(
            exchange, window, self._settle, self._ask_for_channel, self._took
        )
        self._suspects = Quarantine(
            exchange, window, self._settle, self._ask_for_channel, self._took, most=1
        )
        self._channels = (self._main, self._quarantine, self._suspects)
        self._known = RefusedKeys()
        self._accept: Callable[[Publication], None] = self._main.accept
        self._log_from = 0.0
        self._unlogged = 0

    def share_with(self, settings: ProducerSettings) -> Self:
        """One more producer on this exchange, with its queue when it names one."""
        self._link.share_retries(settings.backoff_strategy, settings.max_retries)
        for method in producer_exchange(settings):
            self.declare(method)
        if settings.name and settings.static_routing_key and settings.declare != "none":
            queue = settings.name, settings.routing_key
            self._queues.setdefault(queue, ProducerQueue(settings))
        return self

    # App side.

    def publish(self, publication: Publication) -> None:
        """Never waits; the publication hears of the outcome."""
        if self._side.is_here:
            self._accept(publication)
            return
        self._handed.append(publication)
        if not self._is_told:
            self._is_told = True
            self._side.tell(self._accept_handed)

    def withdraw(self, publication: Publication) -> None:
        """A publication is over. See :meth:`Publication.give_back`."""
        self._side.tell(self._forget, publication)

    def go_on(self, publication: Publication, seconds: float) -> bool:
        """Nobody waits for it any more, but it is to be published if that can be soon.

        False when there are too many like it: while a broker is away memory must not fill up.
        """
        if self._going_on >= MAX_ABANDONED_MESSAGES:
            return False
        self._going_on += 1
        publication.goes_on = True
        publication.arrive = self._gone_on
        self._side.tell(self._forget_after, publication, seconds)
        return True

    def _gone_on(self, part: Part | None = None) -> None:
        self._going_on -= 1

    def readiness(self) -> dict[str, Any]:
        return {
            "ready": self.is_ready,
            "exchange": self._exchange.decode(),
            "unconfirmed": sum(len(each.in_flight) for each in self._channels),
            "waiting": sum(len(each.waiting) for each in self._channels),
            "problem": self.problem or self.why_waiting(),
            "queues": [queue.readiness() for queue in self._queues.values()],
        }

    def why_waiting(self) -> str:
        """What a message that is not written yet waits for."""
        tap = self._main.tap
        if tap is None:
            return self.problem
        if tap.is_blocked:
            return "the broker blocks publishers (memory or disk alarm)"
        if not tap.can_publish:
            return "the broker takes no more at the moment"
        return "RabbitMQ refuses many messages of this exchange" if self._quarantine.waiting else ""

    # The asyncio side: what the app side asks for.

    @property
    def is_awaited(self) -> bool:
        return any(each.waiting for each in self._channels)

    def _accept_handed(self) -> None:
        self._is_told = False
        handed = self._handed
        while handed:
            self._accept(handed.popleft())

    def _ask_for_channel(self) -> None:
        if not self.is_ready:
            self.wake_up()

    def _forget(self, publication: Publication) -> None:
        for each in self._channels:
            each.waiting.pop(publication, None)
        # Unconfirmed, it stays in its place until the broker answers or the channel ends.
        publication.body = b""

    def _forget_after(self, publication: Publication, seconds: float) -> None:
        def forget() -> None:
            if not publication.is_over:
                publication.is_over = True
                self._forget(publication)
                self._side.post(self._gone_on)

        asyncio.get_running_loop().call_later(seconds, forget)

    # What the broker has said.

    def _settle(self, publication: Publication, outcome: Outcome) -> None:
        if self._side.is_here:
            publication.settle(outcome)
            return
        self._settled.append((publication, outcome))
        if not self._is_posted:
            self._is_posted = True
            self._side.post(self._deliver)

    def _deliver(self) -> None:
        """App side: tell the requests."""
        self._is_posted = False
        settled = self._settled
        while settled:
            publication, outcome = settled.popleft()
            publication.settle(outcome)

    # One life of the channel.

    async def work(self, channel: Channel, connection: BrokerConnection) -> None:
        """Publish until the connection is over, or the exchange gone."""
        for queue in self._queues.values():
            await queue.declare(connection)
        if self._suspects.waiting:
            await self._try_suspects(connection.url)
        try:
            async with open_tasks() as tasks:
                tasks.start_soon(self._keep_queues, connection)
                await self._publish_on(channel, connection, self._main)
                self._accept = self._sort
                tasks.start_soon(self._keep_quarantine, connection)
                while True:
                    self._known.doubt()
                    self._quarantine.put_first(self._main.close().values())
                    async with connection.channel() as another:
                        await self._publish_on(another, connection, self._main)
        finally:
            self.is_ready = False
            self._accept = self._main.accept
            self._known = RefusedKeys()
            again = self._suspects if connection.tap.closed_for_error else self._main
            for each in (self._quarantine, self._main):
                waiting, each.waiting = each.waiting, {}
                self._main.put_first(waiting)
                again.put_first(each.close().values())

    async def _publish_on(
        self, channel: Channel, connection: BrokerConnection, confirms: ConfirmChannel
    ) -> None:
        """Until the broker refuses a message. Raises :class:`LinkError` for every other end."""
        await call(channel.rpc(Confirm.Select()))
        ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def end(closing: asyncio.Future[Any]) -> None:
            if not ended.done():
                ended.set_result(reason(closing))

        channel.closing.add_done_callback(end)
        confirms.open(channel.number, connection)
        if confirms is self._main:
            self.became_ready()
        try:
            problem = await ended
        finally:
            if not connection.tap.lost.is_set() and not ended.done():
                with move_on_after(CLOSE_TIMEOUT, shield=True):
                    await _until_confirmed(confirms)
        if not self._is_refusal(confirms.closing):
            raise LinkError(problem or "the channel was closed")

    def _is_refusal(self, closing: codec.ChannelClose | None) -> bool:
        if closing is None or closing.method != codec.PUBLISH:
            return False
        return closing.code != NOT_FOUND or not self._topology

    async def _keep_queues(self, connection: BrokerConnection) -> None:
        """What the broker has refused may succeed later: a queue exists, a permission is given."""
        while any(queue.problem for queue in self._queues.values()):
            await sleep(QUEUE_PAUSE)
            await self._declare_queues(connection)

    async def _declare_queues(self, connection: BrokerConnection) -> None:
        for queue in self._queues.values():
            if queue.problem:
                await queue.declare(connection)

    # Refused messages.

    def _sort(self, publication: Publication) -> None:
        """To its channel, once a message was refused."""
        if self._known.trusts(publication):
            self._main.accept(publication)
        elif outcome := self._known.again(publication, asyncio.get_running_loop().time()):
            self._settle(publication, outcome)
        else:
            self._quarantine.accept(publication)

    def _took(self, routing_key: bytes) -> None:
        self._known.took(routing_key)

    async def _keep_quarantine(self, connection: BrokerConnection) -> None:
        """Until the connection is over: a quarantine that cannot be opened is tried again."""
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

    async def _try_suspects(self, url: BrokerUrl) -> None:
        """Publish what was in flight when the broker closed the connection for an error, one after
        the other: the message that has caused it is the only one that it ends this time."""
        suspects = self._suspects
        try:
            while suspects.waiting:
                async with open_connection(url) as connection:
                    await self._publish_suspects(connection)
                self._refuse(suspects)
        finally:
            suspects.put_first(suspects.close().values())

    async def _publish_suspects(self, connection: BrokerConnection) -> None:
        """Until none is left, or the broker refuses one by closing the channel or the connection.
        Raises :class:`LinkError` for every other end."""
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
        """The broker has closed a quarantine: it refuses one message."""
        closing, checked = quarantine.closing, quarantine.check()
        self._main.put_first(checked.taken)
        quarantine.put_first(checked.rest)
        if checked.refused is not None and closing is not None:
            now = asyncio.get_running_loop().time()
            outcome = self._known.refused(checked.refused, closing, now)
            self._log_refused(checked.refused, now)
            self._settle(checked.refused, outcome)

    def _log_refused(self, publication: Publication, now: float) -> None:
        if now < self._log_from:
            self._unlogged += 1
            return
        others = f" (and {self._unlogged} others since the last line)" if self._unlogged else ""
        key = publication.routing_key.decode(errors="replace")
        what = f"refused a message with routing key {key!r}"
        log.warning("%s: %s: %s%s", self.name, what, publication.reason, others)
        self._log_from, self._unlogged = now + LOG_PAUSE, 0


async def _until_confirmed(confirms: ConfirmChannel) -> None:
    """At the end: what is written may still be confirmed."""
    while confirms.in_flight:
        await sleep(CONFIRM_CHECK)


async def _end_when_empty(confirms: ConfirmChannel, scope: CancelScope) -> None:
    while confirms.waiting or confirms.in_flight:
        await sleep(CONFIRM_CHECK)
    scope.cancel()
