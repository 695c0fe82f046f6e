"""A queue of the broker in memory: its messages, its consumers, and who gets which. Pure.

It decides as RabbitMQ: consumers of the highest priority with credit take turns; a returned message
goes back to its old place (classic queue), or to the end of the returned ones, which a quorum queue
delivers first (before RabbitMQ 4: to the end of the queue).
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from msgspec import Struct

from .content import StoredMessage
from .rules import BrokerRules

Cancel = Callable[[], object]
"""Stops a timer."""


class QueueOwner(Protocol):
    """The broker, as its queues use it."""

    rules: BrokerRules

    def call_later(self, seconds: float, action: Callable[[], object]) -> Cancel: ...

    def time(self) -> float: ...

    def dead_letter(self, queue: BrokerQueue, message: StoredMessage, reason: str) -> None: ...

    def remove_queue(self, queue: BrokerQueue) -> None: ...


class QueueEntry(Struct, eq=False):
    """A message in one queue. ``position``: rises with each message. ``returned``: how often it
    was returned, as a quorum queue counts. ``expires_at``: time of the broker's clock."""

    message: StoredMessage
    position: int
    expires_at: float | None = None
    returned: int = 0
    is_redelivered: bool = False


class QueueConsumer:
    """``deliver``: gets each message. ``cancelled``: called when the broker cancels it.

    ``unacked``: messages that it has and that are not settled. ``prefetch``: 0: no bound.
    """

    def __init__(
        self,
        tag: str,
        queue: BrokerQueue,
        deliver: Callable[[QueueConsumer, QueueEntry], object],
        cancelled: Callable[[QueueConsumer], object],
        *,
        prefetch: int = 0,
        no_ack: bool = False,
        is_exclusive: bool = False,
        priority: int = 0,
    ) -> None:
        self.tag = tag
        self.queue = queue
        self.deliver = deliver
        self.cancelled = cancelled
        self.prefetch = prefetch
        self.no_ack = no_ack
        self.is_exclusive = is_exclusive
        self.priority = priority
        self.unacked = 0

    @property
    def has_credit(self) -> bool:
        return self.no_ack or not self.prefetch or self.unacked < self.prefetch


class BrokerQueue:
    """``owner``: the connection that alone may use it; None: any may."""

    def __init__(
        self,
        name: str,
        broker: QueueOwner,
        *,
        durable: bool,
        auto_delete: bool,
        owner: object | None,
        arguments: dict[str, Any],
    ) -> None:
        self.name = name
        self.durable = durable
        self.auto_delete = auto_delete
        self.owner = owner
        self.arguments = arguments
        self.kind = str(arguments.get("x-queue-type", "classic"))
        self.has_single_active_consumer = bool(arguments.get("x-single-active-consumer"))
        self.consumers: list[QueueConsumer] = []
        self.is_deleted = False
        self._broker = broker
        self._turns: list[QueueConsumer] = []
        self._active: QueueConsumer | None = None
        self._returned: list[QueueEntry] = []
        self._ready: deque[QueueEntry] = deque()
        self._last_position = 0
        self._cancel_expiry: Cancel | None = None
        self.used()

    def __len__(self) -> int:
        """Messages that are ready."""
        return len(self._returned) + len(self._ready)

    @property
    def ready(self) -> list[StoredMessage]:
        """The messages that are ready, in the order of their delivery."""
        return [entry.message for entry in (*self._returned, *self._ready)]

    @property
    def delivery_limit(self) -> int | None:
        """Returns after which a message is dropped; None: no limit."""
        if self.kind != "quorum":
            return None
        limit = self.arguments.get("x-delivery-limit", self._broker.rules.default_delivery_limit)
        return None if limit is None or limit < 0 else int(limit)

    # Messages.

    def put(self, message: StoredMessage) -> bool:
        """Add a message. False when the queue is full and refuses it."""
        most = self.arguments.get("x-max-length")
        is_full = most is not None and len(self) >= most
        if is_full and str(self.arguments.get("x-overflow", "")).startswith("reject-publish"):
            return False
        self._last_position += 1
        entry = QueueEntry(message, self._last_position)
        self._ready.append(entry)
        self._limit_lifetime(entry)
        self.dispatch()
        return True

    def take(self) -> QueueEntry:
        """The next message; there must be one."""
        return self._returned.pop(0) if self._returned else self._ready.popleft()

    def purge(self) -> int:
        count = len(self)
        self._returned.clear()
        self._ready.clear()
        return count

    def settled(self, consumer: QueueConsumer | None) -> None:
        """A message of this consumer was acknowledged, rejected or returned."""
        if consumer is None:
            return
        consumer.unacked -= 1
        if consumer in self.consumers and consumer not in self._turns and consumer.has_credit:
            self._turns.append(consumer)

    def give_back(self, entries: Sequence[QueueEntry], *, counts: bool = True) -> None:
        """Return messages, in the order of their delivery. ``counts``: for the delivery limit."""
        if self.is_deleted:
            return
        limit = self.delivery_limit
        for entry in entries:
            entry.is_redelivered = True
            entry.returned += counts
            if limit is not None and entry.returned > limit:
                self._broker.dead_letter(self, entry.message, "delivery_limit")
            elif self.kind != "quorum":
                insort(self._returned, entry, key=lambda each: each.position)
            elif self._broker.rules.returns_to_front:
                self._returned.append(entry)
            else:
                self._ready.append(entry)
        self.drop_expired()
        self.dispatch()

    def reject(self, entry: QueueEntry) -> None:
        """Dead-letter or drop a message that was delivered."""
        if not self.is_deleted:
            self._broker.dead_letter(self, entry.message, "rejected")

    # Consumers.

    def add_consumer(self, consumer: QueueConsumer) -> None:
        """It gets messages from the next :meth:`dispatch` on."""
        self.consumers.append(consumer)
        self._turns.append(consumer)
        self._active = self._active or consumer
        self.used()

    def remove_consumer(self, consumer: QueueConsumer) -> None:
        """An auto-delete queue is deleted with its last consumer."""
        if consumer not in self.consumers:
            return
        self.consumers.remove(consumer)
        if consumer in self._turns:
            self._turns.remove(consumer)
        if self._active is consumer:
            self._active = self.consumers[0] if self.consumers else None
        if not self.consumers and self.auto_delete:
            self._broker.remove_queue(self)
        else:
            self.used()
            self.dispatch()

    def dispatch(self) -> None:
        """Deliver while there are messages, and consumers with credit. Then drop from the head
        what is more than ``x-max-length``."""
        while len(self) and (consumer := self._next_consumer()) is not None:
            entry = self.take()
            self._turns.remove(consumer)
            consumer.unacked += not consumer.no_ack
            if consumer.has_credit:
                self._turns.append(consumer)
            consumer.deliver(consumer, entry)
        most = self.arguments.get("x-max-length")
        while most is not None and len(self) > most:
            self._broker.dead_letter(self, self.take().message, "maxlen")

    def _next_consumer(self) -> QueueConsumer | None:
        if self.has_single_active_consumer:
            active = self._active
            return active if active is not None and active in self._turns else None
        return max(self._turns, key=lambda each: each.priority, default=None)

    # Times.

    def used(self) -> None:
        """``x-expires``: the time without use starts anew."""
        if self._cancel_expiry is not None:
            self._cancel_expiry()
            self._cancel_expiry = None
        milliseconds = self.arguments.get("x-expires")
        if milliseconds is not None and not self.consumers and not self.is_deleted:
            self._cancel_expiry = self._broker.call_later(
                milliseconds / 1000, lambda: self._broker.remove_queue(self)
            )

    def delete(self) -> None:
        """Drop the messages, and report the deletion to the consumers."""
        self.is_deleted = True
        self.purge()
        self.cancel_consumers()

    def cancel_consumers(self) -> None:
        """Report to every consumer that it is cancelled. The queue stays, with its messages."""
        consumers, self.consumers, self._turns, self._active = self.consumers, [], [], None
        self.used()
        for consumer in consumers:
            consumer.cancelled(consumer)

    def _limit_lifetime(self, entry: QueueEntry) -> None:
        own, milliseconds = entry.message.lifetime, self.arguments.get("x-message-ttl")
        limits = [own, None if milliseconds is None else milliseconds / 1000]
        lifetime = min((each for each in limits if each is not None), default=None)
        if lifetime is not None:
            entry.expires_at = self._broker.time() + lifetime
            self._broker.call_later(lifetime, self.drop_expired)

    def drop_expired(self) -> None:
        """Dead-letter or drop the messages at the head whose time is over."""
        while head := (self._returned or self._ready):
            expires_at = head[0].expires_at
            if expires_at is None or expires_at > self._broker.time() + 1e-6:
                return
            self._broker.dead_letter(self, self.take().message, "expired")
