"""The tapped channel of a subscription, from its opening to its end.

Deliveries come in by it and are settled by it. Both sides meet here: the methods named "app side"
are called where the gateway runs, the others on the asyncio side.
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
"""Acknowledgements wait until they are this part of the prefetch, or for ``Tap.soon``'s time. The
broker then sends as many messages in one go. Below a prefetch of twice that none waits. Where
slow clients hold nearly all of the prefetch, the rest comes in rounds of that time."""

MESSAGE_OVERHEAD = 512
"""What a message weighs beside its body: small ones must be bounded too."""

MAX_PARKED_TIME = 15 * 60.0
"""Seconds after which a parked message goes back to the queue. RabbitMQ closes a channel that
holds one for 30 minutes (``consumer_timeout``)."""


class SubscriptionChannel:
    """One life of one channel. Consumers come and go on it.

    ``limit``: bytes of messages that may be here unsettled. A message beyond it is returned to
    the queue at once and a renewal is asked for: RabbitMQ has sent what the prefetch allows
    before it hears of anything. With a prefetch of 1 the limit may be exceeded by one message:
    a queue that must keep its consumer gets one of this prefetch until there is room.
    Parked messages that use up the prefetch ask for a renewal as well: a new consumer on the same
    channel starts with a full prefetch.

    ``is_resting``: no request has asked for long. A message that is given back goes to the queue.
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

    # As the channel's sink: the asyncio side.

    def delivered(self, messages: Sequence[RawDelivery]) -> None:
        if not self.is_open:
            return
        ledger, last = self._ledger, messages[-1][0]
        if last - ledger.last != len(messages):
            raise codec.WireError(f"delivery tag {last} behind {ledger.last}")
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
        """Those that the limit has room for; the others are returned. One alone may be here,
        whatever its size."""
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
        """Ask for one message now; it comes in as any other, or the buffer hears of none."""
        if self.is_open:
            self._write(codec.get(self._channel, queue))

    def closed(self, closing: codec.ChannelClose) -> None:
        """A frame on a closed channel would make the broker close the connection."""
        self.is_open = False
        self.end(closing.text)

    def end(self, reason: str) -> None:
        """The channel or its consumer is over."""
        self._end_reason = self._end_reason or reason
        self.needs_check.set()

    def raise_if_ended(self) -> None:
        """Raise :class:`LinkError` when the channel or its consumer is over."""
        if self._end_reason:
            raise LinkError(self._end_reason)

    def consumer_replaced(self, prefetch: int) -> None:
        """There is a new consumer: what is unsettled now does not count for its prefetch."""
        self.prefetch = prefetch
        self._batch = max(1, prefetch // ACK_BATCHES_PER_PREFETCH)
        self._parked_since_replaced = 0

    def close(self) -> None:
        """Settle what is acknowledged, return all the rest; from now on nothing can be settled."""
        self.flush()
        if self.is_open:
            self._write(self._ledger.requeue_all())
        self.is_open = False
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def flush(self) -> None:
        """Write the acknowledgements that have come together."""
        acknowledged, tags = self._acknowledged, []
        while acknowledged:  # one that comes meanwhile does not ask for another flush
            tags.append(acknowledged.popleft())
        if self.is_open and tags:
            self._write(b"".join(self._ledger.acknowledge(tags)))

    # As the channel of deliveries: app side.

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
        """Return to the queue what no request has taken. Parked messages stay."""
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

    # What the app side asked for, on the asyncio side.

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
        delivery.parked_at = delivery.parked_at or loop.time()
        end = min(loop.time() + seconds, delivery.parked_at + MAX_PARKED_TIME)
        self._timers[delivery] = loop.call_at(end, self._unpark, delivery)
        self._parked_since_replaced += 1
        if self._parked_since_replaced >= self.prefetch:
            self.needs_check.set()

    def _unpark(self, delivery: Delivery) -> None:
        del self._timers[delivery]
        is_over = asyncio.get_running_loop().time() >= delivery.parked_at + MAX_PARKED_TIME
        self._side.post(self._return_parked if is_over else self._put_back, delivery)

    def _put_back(self, delivery: Delivery) -> None:
        """App side: available again."""
        if self.is_open:
            self._buffer.put_back(delivery)

    def _return_parked(self, delivery: Delivery) -> None:
        """App side: the broker would close the channel soon."""
        if self.is_open:
            self._return_to_queue([delivery])
