"""A channel in confirm mode for one exchange: a message is published when the broker says so.

What is in flight when the connection drops is written again on the next one, unchanged, as long
as its request waits for it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Self

from aiormq.channel import Channel
from anyio import move_on_after, sleep
from msgspec import json
from pamqp.commands import Confirm

from ..bridge import AsyncioSide
from ..logs import get_logger
from ..proxy import Part
from . import wire
from .frame import CONTENT_HEAD, FRAME_OVERHEAD
from .link import CLOSE_TIMEOUT, Connection, Link, LinkError, NotFoundError, call, reason
from .properties import MESSAGE_ID, split_properties
from .publication import Outcome, Publication, Window
from .settings import ProducerSettings
from .tap import Tap
from .tenant import ChannelTenant
from .topology import bind_queue, create_queue, look_up_queue, producer_exchange
from .urls import BrokerUrl

log = get_logger("gateway.amqp")

CONFIRM_CHECK = 0.02
MOST_GOING_ON = 1000
"""Messages whose clients have gone and that may still wait for the broker."""

HEADER_OVERHEAD = FRAME_OVERHEAD + CONTENT_HEAD
"""Bytes of a content header's frame beside its flags and values."""

MOST_METHODS = 1000
"""Frames of Basic.Publish that are kept, one for each routing key."""


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
    """A link with its window: publishers share the connection and the bound on messages."""

    def __init__(self, urls: tuple[BrokerUrl, ...], side: AsyncioSide, limit: int) -> None:
        super().__init__(urls, "publish", side)
        self.window = Window(limit)


class Publisher(ChannelTenant):
    """Publishes to one exchange.

    Near: :meth:`publish` and :meth:`withdraw`. Messages wait, in order, while there is no channel,
    the broker blocks publishers, the socket is full, or too many are unconfirmed.
    """

    def __init__(self, settings: ProducerSettings, link: PublishLink, side: AsyncioSide) -> None:
        super().__init__(f"exchange {settings.exchange!r}", link)
        self._exchange = settings.exchange.encode()
        self._side = side
        self._window = link.window
        self._queues: dict[tuple[str, str], ProducerSettings] = {}
        # From near to far, and back: one hand-over for a burst.
        self._handed: deque[Publication] = deque()
        self._is_told = False
        self._going_on = 0
        self._settled: deque[tuple[Publication, Outcome]] = deque()
        self._is_posted = False
        # The asyncio side.
        self._tap: Tap | None = None
        self._channel = 0
        self._frame_max = 0
        self._tag = 0
        self._waiting: dict[Publication, None] = {}
        self._in_flight: dict[int, Publication] = {}
        self._mandatory: dict[bytes, Publication] = {}
        self._returned: set[Publication] = set()
        self._methods: dict[tuple[bytes, bool], bytes] = {}

    def share_with(self, settings: ProducerSettings) -> Self:
        """One more producer on this exchange, with its queue when it names one."""
        self._link.share_retries(settings.backoff_strategy, settings.max_retries)
        for method in producer_exchange(settings):
            self._topology.setdefault((method.name, method.marshal()), method)
        if settings.name and settings.static_routing_key and settings.declare != "none":
            self._queues.setdefault((settings.name, settings.routing_key), settings)
        return self

    # Near.

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
        if self._going_on >= MOST_GOING_ON:
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
            "ready": self.is_attached,
            "exchange": self._exchange.decode(),
            "unconfirmed": len(self._in_flight),
            "waiting": len(self._waiting),
            "problem": self.problem or self.why_waiting(),
        }

    def why_waiting(self) -> str:
        """What a message that is not written yet waits for."""
        tap = self._tap
        if tap is None:
            return self.problem
        if tap.is_blocked:
            return "the broker blocks publishers (memory or disk alarm)"
        return "" if tap.can_publish else "the broker takes no more at the moment"

    # The asyncio side: what near asks for.

    @property
    def is_awaited(self) -> bool:
        return bool(self._waiting)

    def _accept_handed(self) -> None:
        self._is_told = False
        handed = self._handed
        while handed:
            self._accept(handed.popleft())

    def _accept(self, publication: Publication) -> None:
        if self._waiting or not self._write(publication):
            self._waiting[publication] = None
            if not self.is_attached:
                self.wake_up()

    def _forget(self, publication: Publication) -> None:
        self._waiting.pop(publication, None)
        # Unconfirmed, it stays in its place until the broker answers or the channel ends.
        publication.body = b""

    def _forget_after(self, publication: Publication, seconds: float) -> None:
        def forget() -> None:
            if not publication.is_over:
                publication.is_over = True
                self._forget(publication)
                self._side.post(self._gone_on)

        asyncio.get_running_loop().call_later(seconds, forget)

    # Writing.

    def _pump(self) -> None:
        """Write what waits, as far as it can be written now."""
        written = []
        for publication in self._waiting:
            if self._write(publication):
                written.append(publication)
            elif not publication.is_mandatory or not self._can_write():
                break
        for publication in written:
            del self._waiting[publication]

    def _can_write(self) -> bool:
        return self._tap is not None and self._tap.can_publish

    def _write(self, publication: Publication) -> bool:
        """Write it, or drop it when it is over; False when it has to wait."""
        tap = self._tap
        if tap is None or not tap.can_publish:
            return False
        is_mandatory = publication.is_mandatory
        if is_mandatory and publication.message_id in self._mandatory:
            return False  # what is returned could not be told apart
        was_written, publication.is_written = publication.is_written, True
        if publication.is_over:
            return True
        if len(publication.properties) > self._frame_max - HEADER_OVERHEAD:
            self._settle(publication, Outcome.REFUSED)  # the broker would end the connection
            return True
        if not self._window.take(self._pump):
            publication.is_written = was_written
            return False
        self._tag += 1
        self._in_flight[self._tag] = publication
        if is_mandatory:
            self._mandatory[publication.message_id] = publication
        frames = wire.publish_content(
            self._channel,
            self._methods.get((publication.routing_key, is_mandatory))
            or self._method(publication.routing_key, is_mandatory),
            publication.properties,
            publication.body,
            self._frame_max,
        )
        if isinstance(frames, bytes):
            tap.write(frames)
        else:
            tap.write_large(frames)
        return True

    def _method(self, routing_key: bytes, is_mandatory: bool) -> bytes:
        if len(self._methods) >= MOST_METHODS:
            self._methods.clear()
        method = wire.publish_method(self._channel, self._exchange, routing_key, is_mandatory)
        self._methods[routing_key, is_mandatory] = method
        return method

    # As the channel's Confirms.

    def confirmed(self, tag: int, is_multiple: bool, is_ack: bool) -> None:
        in_flight = self._in_flight
        if is_multiple:
            tags = []
            for each in in_flight:  # in order of writing
                if each > tag:
                    break
                tags.append(each)
        else:
            tags = [tag]
        outcome = Outcome.CONFIRMED if is_ack else Outcome.REFUSED
        settled = 0
        for each in tags:
            publication = in_flight.pop(each, None)
            if publication is not None:
                settled += 1
                self._settle(publication, outcome)
        self._window.release(settled)
        if self._waiting:
            self._pump()

    def returned(self, properties: bytes, reason: str) -> None:
        publication = self._mandatory.get(split_properties(properties).get(MESSAGE_ID, b"")[1:])
        if publication is not None:
            self._returned.add(publication)

    def _settle(self, publication: Publication, outcome: Outcome) -> None:
        if publication.is_mandatory:
            self._mandatory.pop(publication.message_id, None)
            if publication in self._returned:
                self._returned.discard(publication)
                outcome = Outcome.UNROUTABLE
        if self._side.is_here:
            publication.settle(outcome)
            return
        self._settled.append((publication, outcome))
        if not self._is_posted:
            self._is_posted = True
            self._side.post(self._deliver)

    def _deliver(self) -> None:
        """Near: tell the requests."""
        self._is_posted = False
        settled = self._settled
        while settled:
            publication, outcome = settled.popleft()
            publication.settle(outcome)

    # One life of the channel.

    async def prepare(self, connection: Connection) -> None:
        """Look up the queues on channels of their own: one that is missing closes the channel."""
        for settings in self._queues.values():
            try:
                async with connection.channel() as channel:
                    await call(channel.rpc(look_up_queue(settings)))
            except NotFoundError:
                if settings.declare == "passive":
                    raise
            else:
                continue
            async with connection.channel() as channel:
                await call(channel.rpc(create_queue(settings)))
            log.info("queue %r: created", settings.name)

    async def work(self, channel: Channel, connection: Connection) -> None:
        """Publish until the channel is over."""
        await self._bind_queues(channel)
        await call(channel.rpc(Confirm.Select()))
        ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def end(closing: asyncio.Future[Any]) -> None:
            if not ended.done():
                ended.set_result(reason(closing))

        channel.closing.add_done_callback(end)
        self._open(channel.number, connection)
        try:
            raise LinkError(await ended or "the channel was closed")
        finally:
            if not connection.tap.lost.is_set() and not ended.done():
                with move_on_after(CLOSE_TIMEOUT, shield=True):
                    await self._until_confirmed()
            self._close()

    async def _until_confirmed(self) -> None:
        """At the end: what is written may still be confirmed."""
        while self._in_flight:
            await sleep(CONFIRM_CHECK)

    async def _bind_queues(self, channel: Channel) -> None:
        for settings in self._queues.values():
            if settings.exchange and settings.declare == "create":
                await call(channel.rpc(bind_queue(settings)))

    def _open(self, channel: int, connection: Connection) -> None:
        self._channel, self._frame_max = channel, connection.frame_max
        self._tag = 0
        self._methods.clear()
        self._tap = connection.tap
        connection.tap.receiver.confirms[channel] = self
        connection.tap.publishers.add(self._pump)
        self.attached()
        self._pump()

    def _close(self) -> None:
        """What was in flight waits again, before everything else."""
        tap, self._tap = self._tap, None
        self.is_attached = False
        if tap is not None:
            tap.publishers.discard(self._pump)
        again = {each: None for each in self._in_flight.values() if not each.is_over}
        self._window.release(len(self._in_flight))
        self._in_flight.clear()
        self._mandatory.clear()
        self._returned.clear()
        self._waiting = {**again, **self._waiting}
