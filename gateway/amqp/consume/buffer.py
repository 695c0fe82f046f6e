"""Deliveries waiting to be taken, and requests waiting for a delivery.

Lives where the gateway runs ("app side"). The asyncio side only appends: what both touch is
one deque, whose operations are atomic.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import Protocol

from anyio import CancelScope, Event
from msgspec import Struct

from ...core.backoff import exponential
from ...core.bridge import AsyncioSide


class DeliveryChannel(Protocol):
    """The channel a delivery came by; it alone can settle it. A closed one settles nothing."""

    is_open: bool

    def acknowledge(self, delivery: Delivery) -> None: ...

    def give_back(self, delivery: Delivery) -> None: ...

    def reject(self, delivery: Delivery) -> None: ...

    def park(self, delivery: Delivery, seconds: float) -> None: ...


class Delivery(Struct, eq=False):
    """One message on its way, not yet settled. A :class:`gateway.core.proxy.TakenMessage`.

    ``route``: exchange and routing key, ``properties``: flags and values, both as on the wire.
    ``tries``: how often it was parked already. ``parked_at``: loop time of the first time.
    """

    origin: DeliveryChannel
    tag: int
    redelivered: bool
    route: bytes
    properties: bytes
    body: bytes
    tries: int = 0
    is_held: bool = False
    parked_at: float = 0.0

    def acknowledge(self) -> None:
        """Acknowledge."""
        if self.is_held:
            self.is_held = False
            self.origin.acknowledge(self)

    def give_back(self) -> None:
        """To the front of its buffer; to the queue when its subscription rests."""
        if self.is_held:
            self.is_held = False
            self.origin.give_back(self)

    def reject(self) -> None:
        """Away from the queue: dropped, or to its dead-letter exchange."""
        if self.is_held:
            self.is_held = False
            self.origin.reject(self)

    def park(self, seconds: float | None = None) -> None:
        """Park it: other messages pass it for a pause, which grows with each try by default."""
        if self.is_held:
            self.is_held = False
            self.tries += 1
            if seconds is None:
                seconds = next(islice(exponential(), self.tries - 1, None))
            self.origin.park(self, seconds)


class Waiter(Protocol):
    """Who waits for one delivery."""

    def take(self, delivery: Delivery) -> None:
        """Called once. Never raises."""


class _TaskWaiter:
    """A task that waits."""

    def __init__(self) -> None:
        self.event = Event()
        self.taken: Delivery | None = None

    def take(self, delivery: Delivery) -> None:
        self.taken = delivery
        self.event.set()


class Buffer:
    """Bounded by whoever fills it: the prefetch of a channel and its bound in bytes.

    Requests are served in the order they came: who finds others waiting waits behind them.
    A delivery handed to a request that is cancelled in that moment goes back to the front.
    ``ready``: what is here. Only the buffer takes from it; a look is the cheapest question.
    ``asks``: how often somebody asked for one.
    """

    def __init__(self, side: AsyncioSide) -> None:
        self._side = side
        self.ready: deque[Delivery] = deque()
        self.request_count = 0
        self._waiters: deque[Waiter] = deque()
        self._fetches: deque[CancelScope] = deque()
        self._is_waking = False

    def __len__(self) -> int:
        return len(self.ready)

    @property
    def has_waiters(self) -> bool:
        return bool(self._waiters)

    def put(self, deliveries: Sequence[Delivery]) -> None:
        """Asyncio side: append, and wake those who wait, once per burst."""
        self.ready.extend(deliveries)
        if self._waiters and not self._is_waking:
            self._is_waking = True
            self._side.post(self._wake)

    def put_back(self, delivery: Delivery) -> None:
        """Before everything that was delivered after it: given back, the order stays."""
        ready, earlier = self.ready, []
        while ready and (not ready[0].origin.is_open or ready[0].tag < delivery.tag):
            first = ready.popleft()
            if first.origin.is_open:
                earlier.append(first)
        ready.appendleft(delivery)
        ready.extendleft(reversed(earlier))
        self._wake()

    def take_out(self, origin: DeliveryChannel) -> list[Delivery]:
        """All deliveries of that channel that no request has taken; the buffer forgets them."""
        ready = self.ready
        taken: list[Delivery] = []
        kept: list[Delivery] = []
        for _ in range(len(ready)):  # one by one: the asyncio side may append meanwhile
            delivery = ready.popleft()
            (taken if delivery.origin is origin else kept).append(delivery)
        ready.extendleft(reversed(kept))
        return taken

    def take_nowait(self) -> Delivery | None:
        """The next delivery; None when there is none or others wait for it already."""
        self.request_count += 1
        ready = self.ready
        while ready and not self._waiters:
            delivery = ready.popleft()
            if delivery.origin.is_open:
                delivery.is_held = True
                return delivery
        return None

    async def take(self) -> Delivery:
        """Wait for the next delivery."""
        waiter = _TaskWaiter()
        self.wait(waiter)
        try:
            await waiter.event.wait()
        except BaseException:
            self.withdraw(waiter)
            if waiter.taken is not None:
                waiter.taken.give_back()
            raise
        assert waiter.taken is not None
        return waiter.taken

    def wait(self, waiter: Waiter) -> None:
        """Have ``waiter`` take the next delivery: at once, or when there is one."""
        self.request_count += 1
        self._waiters.append(waiter)
        if self.ready:
            self._wake()

    def withdraw(self, waiter: Waiter) -> bool:
        """Wait no more. False when it has taken: whoever has the delivery settles it."""
        if waiter not in self._waiters:
            return False
        self._waiters.remove(waiter)
        return True

    async def take_fetched(self) -> Delivery | None:
        """Wait for the answer to a Basic.Get that was just asked for; None: the queue is empty."""
        with CancelScope() as fetch:
            self._fetches.append(fetch)
            try:
                return await self.take()
            finally:
                if fetch in self._fetches:
                    self._fetches.remove(fetch)
        return None

    def nothing_fetched(self) -> None:
        """The queue is empty: the first who asked may go."""
        if self._fetches:
            self._fetches.popleft().cancel()

    def _wake(self) -> None:
        self._is_waking = False
        ready, waiters = self.ready, self._waiters
        while waiters and ready:
            delivery = ready.popleft()
            if delivery.origin.is_open:
                delivery.is_held = True
                waiters.popleft().take(delivery)
