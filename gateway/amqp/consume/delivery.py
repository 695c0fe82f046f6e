"""A message from a queue, until it is settled.

The life of a message in the gateway: the broker delivers it into the buffer. A request takes it and
holds it until it ends: then the message is acknowledged, given back (to the front of the buffer),
rejected, or parked (it stays unacknowledged and comes back to the buffer after a backoff).
"""

from __future__ import annotations

from itertools import islice
from typing import Protocol

from msgspec import Struct

from ...core.backoff import exponential
from ...core.outcomes import ACKED, PARKED, REJECTED, REQUEUED
from ...core.proxy import OutcomeWatcher
from ..wire.properties import message_id_of


class DeliveryChannel(Protocol):
    """The channel of a delivery. A message can be settled only on its own channel, while it is
    open.

    ``unsent``: how many of its messages requests hold and have not sent. The buffer gives requests
    no more than ``max_unsent``.
    """

    unsent: int

    @property
    def is_open(self) -> bool: ...

    @property
    def max_unsent(self) -> int: ...

    def sent(self, delivery: Delivery) -> None: ...

    def acknowledge(self, delivery: Delivery) -> None: ...

    def give_back(self, delivery: Delivery) -> None: ...

    def reject(self, delivery: Delivery) -> None: ...

    def park(self, delivery: Delivery, seconds: float) -> None: ...


class Delivery(Struct, eq=False):
    """A message from a queue that is not settled yet. A :class:`gateway.core.proxy.TakenMessage`.

    ``route``: exchange and routing key, encoded. ``properties``: flags and values, encoded.
    ``tries``: how often it was parked. ``is_held``: a request has taken it and not settled it.
    ``is_sent``: it is held, its response is written, and it does not use up the prefetch.
    ``parked_at``: loop time when it was parked for the first time.
    """

    channel: DeliveryChannel
    tag: int
    redelivered: bool
    route: bytes
    properties: bytes
    body: bytes
    tries: int = 0
    is_held: bool = False
    is_sent: bool = False
    parked_at: float = 0.0

    @property
    def shown_id(self) -> str:
        return message_id_of(self.properties)

    def sent(self) -> None:
        """The whole response is written; only the client's acknowledgement of the last byte is
        missing."""
        if self.is_held and not self.is_sent:
            self.channel.sent(self)

    def acknowledge(self) -> None:
        """The broker may delete the message."""
        if self.is_held:
            self.is_held = False
            self.channel.acknowledge(self)

    def give_back(self) -> None:
        """Put it back to the front of the buffer; requeue it when the subscription is idle."""
        if self.is_held:
            self.is_held = False
            self.channel.give_back(self)

    def reject(self) -> None:
        """The broker drops the message, or publishes it to the dead-letter exchange of the
        queue."""
        if self.is_held:
            self.is_held = False
            self.channel.reject(self)

    def park(self, seconds: float | None = None) -> None:
        """Keep it unacknowledged for a backoff, then put it back to the buffer. Other messages are
        served meanwhile. Without ``seconds`` the backoff grows with each try: 1, 2, 4 ... 30 s."""
        if self.is_held:
            self.is_held = False
            self.tries += 1
            if seconds is None:
                seconds = next(islice(exponential(), self.tries - 1, None))
            self.channel.park(self, seconds)

    def watch(self, watcher: OutcomeWatcher) -> None:
        """From now on its channel reports to the watcher how the message is settled. A message that
        is not watched costs nothing."""
        watcher.consumed(self.shown_id, is_redelivered=self.redelivered)
        self.channel = WatchedChannel(self.channel, watcher)


class WatchedChannel:
    """The channel of one delivery. It reports how the message is settled. A
    :class:`DeliveryChannel`."""

    __slots__ = ("_channel", "_watcher")

    def __init__(self, channel: DeliveryChannel, watcher: OutcomeWatcher) -> None:
        self._channel = channel
        self._watcher = watcher

    @property
    def is_open(self) -> bool:
        return self._channel.is_open

    @property
    def unsent(self) -> int:
        return self._channel.unsent

    @unsent.setter
    def unsent(self, unsent: int) -> None:
        self._channel.unsent = unsent

    @property
    def max_unsent(self) -> int:
        return self._channel.max_unsent

    def sent(self, delivery: Delivery) -> None:
        self._channel.sent(delivery)

    def acknowledge(self, delivery: Delivery) -> None:
        """If the channel has ended, RabbitMQ has requeued the message."""
        delivery.channel = self._channel
        self._channel.acknowledge(delivery)
        self._watcher.settled(ACKED if self._channel.is_open else REQUEUED)

    def give_back(self, delivery: Delivery) -> None:
        delivery.channel = self._channel
        self._channel.give_back(delivery)
        self._watcher.settled(REQUEUED)

    def reject(self, delivery: Delivery) -> None:
        delivery.channel = self._channel
        self._channel.reject(delivery)
        self._watcher.settled(REJECTED if self._channel.is_open else REQUEUED)

    def park(self, delivery: Delivery, seconds: float) -> None:
        delivery.channel = self._channel
        self._channel.park(delivery, seconds)
        self._watcher.settled(PARKED if self._channel.is_open else REQUEUED)
