"""One tapped channel of a subscription, from its opening to its end.

Deliveries arrive on it and are settled on it. Methods under "app side" are called on the app side,
all others on the asyncio side.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from sys import maxsize
from typing import Protocol

from ...core.bridge import AsyncioSide
from ..connection.link import LinkError
from ..wire import codec
from ..wire.delivery_fast_path import RawDelivery
from ..wire.properties import delivery_count
from .buffer import Buffer
from .credit import Credit
from .delivery import Delivery
from .ledger import Ledger
from .prefetch_raise import PrefetchRaise

ACK_BATCHES_PER_PREFETCH = 8
"""While requests wait, acknowledgements are written when an eighth of the prefetch is settled, or
after ``FLUSH_DELAY``. The broker then sends as many new messages at once. With a prefetch below 16
each is written at once: prefetch 1, under load, 328 -> 205 us a request; prefetch 10, 118 -> 92 us
(docs/performance-history.md). When slow clients hold nearly all of the prefetch, the other requests
get their messages at intervals of ``FLUSH_DELAY``."""

CALM_ACK_BATCHES_PER_PREFETCH = 4
"""The same while no request waits: none needs the new messages yet."""

MESSAGE_OVERHEAD = 512
"""Bytes that a message counts in addition to its body, so that small messages are bounded too."""

REFUSALS_OF_GET = frozenset((403, 405, 540))
"""Reply codes: a queue with an exclusive consumer, with a single active consumer, a stream (540,
for the whole connection)."""

MAX_COUNTED_RETURNS = 10
"""A message with this ``x-delivery-count`` stays in an idle gateway, for the next request. A quorum
queue of RabbitMQ 4.0 to 4.2 counts every return, and deletes a message after 20."""

MAX_PARKED_TIME = 15 * 60.0
"""Seconds after which a parked message is returned to the queue. RabbitMQ closes a channel with a
message that is unacknowledged for 30 minutes (``consumer_timeout``)."""


class ConsumerEvents(Protocol):
    """The consumer of the channel, which waits for responses of the broker."""

    @property
    def tag(self) -> str: ...

    def changed(self, tag: str) -> None: ...

    def ended(self, reason: str) -> None: ...


class SubscriptionChannel:
    """The deliveries of one channel. Its consumers may be replaced.

    ``max_bytes``: bound of the unsettled messages. RabbitMQ may send as many messages as the
    prefetch allows, whatever their size. A message beyond the bound is returned to the queue at
    once, and the subscription replaces the consumer by one with a smaller prefetch. With a prefetch
    of 1, one message may exceed the bound: a queue that must always have a consumer has one with
    this prefetch until enough messages are settled.

    Parked messages are unacknowledged, so they count for the prefetch. When they use up all of it,
    the consumer is replaced as well: a new consumer starts with a full prefetch.

    ``is_idle``: the subscription is idle; a message that is given back is requeued.
    ``needs_check``: set when the attachment must check this channel: it has ended, the consumer
    must be replaced, or a request waits. ``is_short``: requests wait, and all credit is in use.
    ``needs_renewal``: the consumer must be replaced because of parked messages or of ``max_bytes``.
    ``is_consumer_lost``: it has ended because the broker has cancelled the consumer.

    ``before_last_ack`` is called before the only credit of a consumer is given back. It returns
    frames to write before the acknowledgement.

    ``max_unsent``: the largest number of messages that requests hold before they are sent. The
    broker may deliver more while ``prefetch_raise`` is larger than the number of sent messages;
    these stay in the buffer. None: there is no such bound, and sent messages use up the prefetch
    like all others.

    ``ledger``: others only read it.

    ``unsent``, ``sent_count``: how many messages requests hold, before and after they are sent.
    ``most_sent``: the largest ``sent_count`` since :meth:`restart_most_sent`. The app side alone
    writes these numbers.
    """

    def __init__(
        self,
        channel: int,
        write: Callable[[bytes], None],
        schedule_flush: Callable[[Callable[[], None]], None],
        buffer: Buffer,
        side: AsyncioSide,
        max_bytes: int,
        consumer: ConsumerEvents,
        before_last_ack: Callable[[], bytes] = bytes,
        max_unsent: int | None = None,
    ) -> None:
        self.is_open = True
        self.unsent = self.sent_count = self.most_sent = 0
        self.max_unsent = maxsize if max_unsent is None else max_unsent
        self.is_idle = False
        self.needs_check = asyncio.Event()
        self.is_short = False
        self.needs_renewal = False
        self.is_consumer_lost = False
        self.largest_message = 1
        self._consumer = consumer
        self._before_last_ack = before_last_ack
        self._fetches: deque[Callable[[bool], object]] = deque()
        self._close_code = 0
        self._was_fetching = False
        self._channel = channel
        self._write = write
        self._schedule_flush = schedule_flush
        self._buffer = buffer
        self._waiters = buffer.waiters
        self._side = side
        self._max_bytes = max_bytes
        self.ledger = self._ledger = Ledger(channel)
        time = asyncio.get_running_loop().time
        self.credit = Credit(self._ledger, time)
        self.prefetch_raise = PrefetchRaise(time())
        self._counts_sent = max_unsent is not None
        self._acknowledged: deque[int] = deque()
        self._batch = self._calm_batch = 1
        # Each counter is written by one side only, so their difference needs no lock.
        self._received_bytes = 0
        self._settled_bytes = 0
        self._timers: dict[Delivery, asyncio.TimerHandle] = {}
        self._parked_since_replaced = 0
        self._end_reason = ""

    @property
    def held_bytes(self) -> int:
        return self._received_bytes - self._settled_bytes

    @property
    def parked(self) -> int:
        """How many messages wait until they are tried again."""
        return len(self._timers)

    @property
    def in_use(self) -> int:
        """How many messages are unsettled and not parked."""
        return len(self._ledger) - len(self._timers)

    @property
    def in_use_unsent(self) -> int:
        """How many messages are unsettled, not parked and not sent: ``prefetch_count`` bounds
        these."""
        return self.in_use - self.sent_count

    @property
    def held(self) -> int:
        """How many messages requests hold."""
        return max(0, self.in_use - len(self._buffer))

    @property
    def withholds_credit(self) -> bool:
        """Whether the broker would send more messages if the prefetch were raised by the messages
        that are sent, or if the acknowledgements that wait were written. Asked for each request
        that waits, so it asks first what is mostly false."""
        if len(self._acknowledged) >= self._batch:
            return True
        is_beyond = self.sent_count > self.prefetch_raise.size
        return is_beyond and len(self._ledger) >= self.credit.prefetch

    @property
    def settled(self) -> int:
        """How many messages were settled."""
        return self._ledger.settled

    def request_waits(self) -> None:
        """A request begins to wait, or a message is sent while requests wait; and the subscription
        is idle, or its prefetch may grow, or it :attr:`withholds_credit`."""
        if len(self._acknowledged) >= self._batch:
            self.flush()
        if self.is_idle:
            self.needs_check.set()
        else:
            self._note_shortage()

    def _note_shortage(self, arriving: int = 0) -> None:
        if self.credit.is_short(self._buffer.unserved, arriving):
            self.is_short = True
            self.needs_check.set()

    # As a Sink: called by the tap.

    def delivered(self, messages: Sequence[RawDelivery]) -> None:
        if not self.is_open:
            return
        ledger, last = self._ledger, messages[-1][0]
        if last - ledger.last != len(messages):
            raise codec.WireError(f"delivery tag {last} after {ledger.last}")
        ledger.last = last
        deliveries = []
        received, largest_message = self._received_bytes, self.largest_message
        for tag, redelivered, route, properties, body in messages:
            size = len(body) + MESSAGE_OVERHEAD
            if size > largest_message:
                largest_message = size
            received += size
            deliveries.append(Delivery(self, tag, redelivered, route, properties, body))
        self.largest_message = largest_message
        if received - self._settled_bytes > self._max_bytes and self.credit.prefetch > 1:
            deliveries = self._bounded(deliveries)
        else:
            self._received_bytes = received
        if self._waiters and self.credit.can_grow:
            self._note_shortage(len(deliveries))
        self._buffer.put(deliveries)

    def _bounded(self, deliveries: list[Delivery]) -> list[Delivery]:
        """Return to the queue what exceeds ``max_bytes``. A message of any size may be here
        alone."""
        kept = []
        for delivery in deliveries:
            size = len(delivery.body) + MESSAGE_OVERHEAD
            held = self.held_bytes
            if held and held + size > self._max_bytes:
                self._write_requeue((delivery.tag,))
                self.needs_renewal = True
                self.needs_check.set()
            else:
                self._received_bytes += size
                kept.append(delivery)
        return kept

    def fetch_ended(self, found: bool) -> None:
        if found and self.is_idle:  # the request may not wait any more
            self._side.post(self.requeue_surplus)
        if self._fetches:
            self._fetches.popleft()(found)

    def consumer_changed(self, tag: str) -> None:
        if tag == self._consumer.tag:
            self.credit.counts_from_now()
        self._consumer.changed(tag)

    def consumer_lost(self, tag: str | None) -> None:
        """The broker has cancelled a consumer."""
        if tag == self._consumer.tag and not self._end_reason:
            self.is_consumer_lost = True
            self.ended("RabbitMQ cancelled the consumer")

    def closed(self, closing: codec.ChannelClose) -> None:
        """Stop: the broker closes the connection for a frame on a closed channel."""
        self.is_open = False
        self._close_code = closing.code
        self.ended(closing.text)

    def ended(self, reason: str) -> None:
        """The channel or its consumer has ended."""
        self._end_reason = self._end_reason or reason
        self.needs_check.set()
        self._consumer.ended(reason)
        self._was_fetching = self._was_fetching or bool(self._fetches)
        while self._fetches:
            self.fetch_ended(False)

    def fetch(self, queue: str, ended: Callable[[bool], object]) -> None:
        """Send a Basic.Get. Its message arrives like a delivery; then ``ended(True)`` is called.
        ``ended(False)``: the queue is empty, or the channel has ended."""
        if self.is_open and not self._end_reason:
            self._fetches.append(ended)
            self._write(codec.get(self._channel, queue))
        else:
            ended(False)

    def was_get_refused(self, connection_close_code: int) -> bool:
        """Whether the channel or its connection has ended because the queue refuses Basic.Get."""
        codes = self._close_code, connection_close_code
        return self._was_fetching and not REFUSALS_OF_GET.isdisjoint(codes)

    def raise_if_ended(self) -> None:
        """Raises :class:`LinkError` when the channel or its consumer has ended."""
        if self._end_reason:
            raise LinkError(self._end_reason)

    def consumer_replaced(self, prefetch: int, *, can_grow: bool = False) -> None:
        """A new consumer starts: the messages that are unsettled now do not count for its
        prefetch."""
        self.credit.consumer_started(prefetch, can_grow=can_grow)
        self.is_short = self.needs_renewal = False
        self._batch = max(1, prefetch // ACK_BATCHES_PER_PREFETCH)
        self._calm_batch = max(1, prefetch // CALM_ACK_BATCHES_PER_PREFETCH)
        self._parked_since_replaced = 0

    def settle_all(self) -> None:
        """Write all acknowledgements and requeue all other messages. Nothing can be settled
        after."""
        self.flush()
        if self.is_open:
            self._write(self._ledger.requeue_all())
        self.is_open = False
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def flush(self) -> None:
        """Write the acknowledgements that wait, as few frames as possible."""
        acknowledged, tags = self._acknowledged, []
        # Also those that are appended at the same time: they schedule no other flush.
        while acknowledged:
            tags.append(acknowledged.popleft())
        if self.is_open and tags:
            before = self._cancellation()
            self._write(before + b"".join(self._ledger.acknowledge(tags)))
            self._note_settled()

    def _note_settled(self) -> None:
        if self.credit.can_grow:
            self.credit.note_settled()
            if self._waiters:
                self._note_shortage()
        elif self.is_idle and self._buffer.has_waiters:
            self.needs_check.set()

    def _cancellation(self) -> bytes:
        """Before a message is settled: the frame that cancels the consumer, if the broker must not
        send another message. All credit has to be in use: then no delivery is on its way."""
        if self.credit.prefetch == 1 and self.credit.is_used_up:
            return self._before_last_ack()
        return b""

    # As a DeliveryChannel: app side.

    def sent(self, delivery: Delivery) -> None:
        if self._counts_sent:
            delivery.is_sent = True
            self.unsent -= 1
            self.sent_count = count = self.sent_count + 1
            if count > self.most_sent:
                self.most_sent = count
            if self._waiters:
                self._serve_waiting()

    def _serve_waiting(self) -> None:
        """A message was sent while requests wait: one of them may hold another message. If there
        is none in the buffer, the prefetch may be too small now."""
        if self._buffer.ready:
            self._buffer.serve()
        elif self.is_idle or self.credit.can_grow or self.withholds_credit:
            self._side.tell(self.request_waits)

    def restart_most_sent(self) -> None:
        self.most_sent = self.sent_count

    def _release(self, delivery: Delivery) -> None:
        """A request holds the message no more."""
        if delivery.is_sent:
            delivery.is_sent = False
            self.sent_count -= 1
        else:
            self.unsent -= 1

    def acknowledge(self, delivery: Delivery) -> None:
        if delivery.is_sent:  # as _release, without a call
            self.sent_count -= 1
        else:
            self.unsent -= 1
            if self._waiters:
                self._buffer.serve()
        self._settled_bytes += len(delivery.body) + MESSAGE_OVERHEAD
        acknowledged = self._acknowledged
        acknowledged.append(delivery.tag)
        waiting = len(acknowledged)
        if waiting == (self._batch if self._waiters else self._calm_batch):
            self._side.tell(self.flush)
        elif waiting == 1:
            self._side.tell(self._schedule_flush, self.flush)

    def give_back(self, delivery: Delivery) -> None:
        self._release(delivery)
        if not self.is_open:
            return
        if self.is_idle and not self._buffer.has_waiters and self._may_requeue(delivery):
            self._requeue_deliveries([delivery])
        else:
            self._buffer.put_back(delivery)

    def requeue_surplus(self) -> None:
        """Requeue the buffered messages beyond the prefetch, unless a request waits; without a
        consumer all of them. Parked messages stay, and those that the queue has counted often."""
        if self.is_open and not self._buffer.has_waiters:
            surplus = self._buffer.take_out(self._may_requeue, keep=self.credit.prefetch)
            self._requeue_deliveries(surplus)

    def requeue_overdue(self, now: float) -> None:
        """Idle: requeue the buffered messages that were first parked :data:`MAX_PARKED_TIME`
        ago."""
        if self.is_open and self.is_idle and not self._buffer.has_waiters:
            latest = now - MAX_PARKED_TIME
            self._requeue_deliveries(
                self._buffer.take_out(
                    lambda each: each.channel is self and 0 < each.parked_at <= latest
                )
            )

    def _may_requeue(self, delivery: Delivery) -> bool:
        return delivery.channel is self and (
            not delivery.redelivered or delivery_count(delivery.properties) < MAX_COUNTED_RETURNS
        )

    def reject(self, delivery: Delivery) -> None:
        self._release(delivery)
        self._settled_bytes += len(delivery.body) + MESSAGE_OVERHEAD
        self._side.tell(self._reject, delivery.tag)
        self._buffer.serve()

    def park(self, delivery: Delivery, seconds: float) -> None:
        self._release(delivery)
        self._side.tell(self._park, delivery, seconds)
        self._buffer.serve()

    def _requeue_deliveries(self, deliveries: list[Delivery]) -> None:
        for delivery in deliveries:
            self._settled_bytes += len(delivery.body) + MESSAGE_OVERHEAD
        self._side.tell(self._write_requeue, [delivery.tag for delivery in deliveries])

    # The asyncio side: calls from the app side.

    def _reject(self, tag: int) -> None:
        if self.is_open:
            self._write(self._cancellation() + self._ledger.reject(tag))
            self._note_settled()

    def _write_requeue(self, tags: Sequence[int]) -> None:
        if self.is_open and tags:
            self._write(b"".join(self._ledger.requeue(tags)))

    def _park(self, delivery: Delivery, seconds: float) -> None:
        if not self.is_open:
            return
        loop = asyncio.get_running_loop()
        now = loop.time()
        delivery.parked_at = delivery.parked_at or now
        again, latest = now + seconds, delivery.parked_at + MAX_PARKED_TIME
        # Decided here: the loop rounds times, so that a timer may fire a moment early.
        then = self._return_to_buffer if again < latest else self._requeue_parked
        self._timers[delivery] = loop.call_at(min(again, latest), self._unpark, delivery, then)
        self._parked_since_replaced += 1
        if self._parked_since_replaced >= self.credit.prefetch:
            self.needs_renewal = True
            self.needs_check.set()

    def _unpark(self, delivery: Delivery, then: Callable[[Delivery], None]) -> None:
        del self._timers[delivery]
        self._side.post(then, delivery)

    def _return_to_buffer(self, delivery: Delivery) -> None:
        """App side: the message returns to the buffer."""
        if self.is_open:
            self._buffer.put_back(delivery)

    def _requeue_parked(self, delivery: Delivery) -> None:
        """App side: the message was parked for :data:`MAX_PARKED_TIME`: requeue it."""
        if self.is_open:
            self._requeue_deliveries([delivery])
