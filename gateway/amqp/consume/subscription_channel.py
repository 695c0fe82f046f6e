"""One tapped channel of a subscription, from its opening to its end.

Deliveries arrive on it and are settled on it. Methods under "app side" are called on the app side,
all others on the asyncio side.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from ...core.bridge import AsyncioSide
from ..connection.link import LinkError
from ..wire import codec
from ..wire.delivery_fast_path import RawDelivery
from .buffer import Buffer, Delivery
from .ledger import Ledger

ACK_BATCHES_PER_PREFETCH = 8
"""Acknowledgements are written when an eighth of the prefetch is settled, or after ``FLUSH_DELAY``.
The broker then sends as many new messages at once. With a prefetch below 16 each is written at
once: prefetch 1, under load, 328 -> 205 us a request; prefetch 10, 118 -> 92 us
(docs/performance-history.md). When slow clients hold nearly all of the prefetch, the other requests
get their messages at intervals of ``FLUSH_DELAY``."""

MESSAGE_OVERHEAD = 512
"""Bytes that a message counts in addition to its body, so that small messages are bounded too."""

MAX_PARKED_TIME = 15 * 60.0
"""Seconds after which a parked message is returned to the queue. RabbitMQ closes a channel with a
message that is unacknowledged for 30 minutes (``consumer_timeout``)."""


class SubscriptionChannel:
    """The deliveries of one channel. Its consumers may be replaced.

    ``max_bytes``: bound of the unsettled messages. RabbitMQ may send as many messages as the
    prefetch allows, whatever their size. A message beyond the bound is returned to the queue at
    once, and the subscription replaces the consumer by one with a smaller prefetch. With a prefetch
    of 1, one message may exceed the bound: a queue that must always have a consumer has one with
    this prefetch until enough messages are settled.

    Parked messages are unacknowledged, so they count for the prefetch. When they use up all of it,
    the consumer is replaced as well: a new consumer starts with a full prefetch.

    ``is_idle``: the subscription is idle; a message that is given back is returned to the queue.
    ``needs_check``: set when the subscription must check this channel: it has ended, the consumer
    must be replaced, or a request waits.
    """

    def __init__(
        self,
        channel: int,
        write: Callable[[bytes], None],
        schedule_flush: Callable[[Callable[[], None]], None],
        buffer: Buffer,
        side: AsyncioSide,
        max_bytes: int,
    ) -> None:
        self.is_open = True
        self.is_idle = False
        self.needs_check = asyncio.Event()
        self.largest_message = 1
        self.prefetch = 0
        self._channel = channel
        self._write = write
        self._schedule_flush = schedule_flush
        self._buffer = buffer
        self._side = side
        self._max_bytes = max_bytes
        self._ledger = Ledger(channel)
        self._acknowledged: deque[int] = deque()
        self._batch = 1
        # Each counter is written by one side only, so their difference needs no lock.
        self._received_bytes = 0
        self._settled_bytes = 0
        self._timers: dict[Delivery, asyncio.TimerHandle] = {}
        self._parked_since_replaced = 0
        self._end_reason = ""

    @property
    def held_bytes(self) -> int:
        return self._received_bytes - self._settled_bytes

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
        if received - self._settled_bytes > self._max_bytes and self.prefetch > 1:
            deliveries = self._bounded(deliveries)
        else:
            self._received_bytes = received
        self._buffer.put(deliveries)

    def _bounded(self, deliveries: list[Delivery]) -> list[Delivery]:
        """Return to the queue what exceeds ``max_bytes``. A message of any size may be here
        alone."""
        kept = []
        for delivery in deliveries:
            size = len(delivery.body) + MESSAGE_OVERHEAD
            held = self.held_bytes
            if held and held + size > self._max_bytes:
                self._requeue((delivery.tag,))
                self.needs_check.set()
            else:
                self._received_bytes += size
                kept.append(delivery)
        return kept

    def fetched_nothing(self) -> None:
        self._side.post(self._buffer.nothing_fetched)

    def fetch(self, queue: str) -> None:
        """Send a Basic.Get. Its message arrives like a delivery; otherwise
        :meth:`fetched_nothing` is called."""
        if self.is_open:
            self._write(codec.get(self._channel, queue))

    def closed(self, closing: codec.ChannelClose) -> None:
        """Stop: the broker closes the connection for a frame on a closed channel."""
        self.is_open = False
        self.end(closing.text)

    def end(self, reason: str) -> None:
        """The channel or its consumer has ended."""
        self._end_reason = self._end_reason or reason
        self.needs_check.set()

    def raise_if_ended(self) -> None:
        """Raises :class:`LinkError` when the channel or its consumer has ended."""
        if self._end_reason:
            raise LinkError(self._end_reason)

    def consumer_replaced(self, prefetch: int) -> None:
        """A new consumer starts: the messages that are unsettled now do not count for its
        prefetch."""
        self.prefetch = prefetch
        self._batch = max(1, prefetch // ACK_BATCHES_PER_PREFETCH)
        self._parked_since_replaced = 0

    def close(self) -> None:
        """Write all acknowledgements and return all other messages. Nothing can be settled
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
        while (
            acknowledged
        ):  # also those that are appended at the same time: they schedule no other flush
            tags.append(acknowledged.popleft())
        if self.is_open and tags:
            self._write(b"".join(self._ledger.acknowledge(tags)))

    # As a DeliveryChannel: app side.

    def acknowledge(self, delivery: Delivery) -> None:
        self._settled_bytes += len(delivery.body) + MESSAGE_OVERHEAD
        acknowledged = self._acknowledged
        acknowledged.append(delivery.tag)
        waiting = len(acknowledged)
        if waiting == self._batch:
            self._side.tell(self.flush)
        elif waiting == 1:
            self._side.tell(self._schedule_flush, self.flush)

    def give_back(self, delivery: Delivery) -> None:
        if not self.is_open:
            return
        if self.is_idle and not self._buffer.has_waiters:
            self._return_to_queue([delivery])
        else:
            self._buffer.put_back(delivery)

    def return_buffered(self) -> None:
        """Return the buffered messages to the queue. Parked messages stay here."""
        if self.is_open and self.is_idle and not self._buffer.has_waiters:
            self._return_to_queue(self._buffer.take_out(self))

    def reject(self, delivery: Delivery) -> None:
        self._settled_bytes += len(delivery.body) + MESSAGE_OVERHEAD
        self._side.tell(self._reject, delivery.tag)

    def park(self, delivery: Delivery, seconds: float) -> None:
        self._side.tell(self._park, delivery, seconds)

    def _return_to_queue(self, deliveries: list[Delivery]) -> None:
        for delivery in deliveries:
            self._settled_bytes += len(delivery.body) + MESSAGE_OVERHEAD
        self._side.tell(self._requeue, [delivery.tag for delivery in deliveries])

    # The asyncio side: calls from the app side.

    def _reject(self, tag: int) -> None:
        if self.is_open:
            self._write(self._ledger.reject(tag))

    def _requeue(self, tags: Sequence[int]) -> None:
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
        then = self._put_back if again < latest else self._return_parked
        self._timers[delivery] = loop.call_at(min(again, latest), self._unpark, delivery, then)
        self._parked_since_replaced += 1
        if self._parked_since_replaced >= self.prefetch:
            self.needs_check.set()

    def _unpark(self, delivery: Delivery, then: Callable[[Delivery], None]) -> None:
        del self._timers[delivery]
        self._side.post(then, delivery)

    def _put_back(self, delivery: Delivery) -> None:
        """App side: the message returns to the buffer."""
        if self.is_open:
            self._buffer.put_back(delivery)

    def _return_parked(self, delivery: Delivery) -> None:
        """App side: the message was parked for :data:`MAX_PARKED_TIME`, return it to the queue."""
        if self.is_open:
            self._return_to_queue([delivery])
