"""The buffer of a queue: deliveries that no request has taken, and requests that wait for one.

The buffer belongs to the app side. The asyncio side only appends to a deque, whose operations are
atomic.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from anyio import Event

from ...core.bridge import AsyncioSide
from .delivery import Delivery


class Waiter(Protocol):
    """Waits for one delivery."""

    def take(self, delivery: Delivery) -> None:
        """It gets the delivery. Called once. Must not raise."""


class _TaskWaiter:
    """A task that waits for one delivery."""

    def __init__(self) -> None:
        self.event = Event()
        self.taken: Delivery | None = None

    def take(self, delivery: Delivery) -> None:
        self.taken = delivery
        self.event.set()


class Waitable(Protocol):
    """A buffer, or a subscription, which also sees to it that a message comes."""

    def wait(self, waiter: Waiter) -> None: ...

    def withdraw(self, waiter: Waiter) -> bool: ...


async def take_from(queue: Waitable) -> Delivery:
    """Wait for the next delivery."""
    waiter = _TaskWaiter()
    queue.wait(waiter)
    taken = await _taken(queue, waiter)
    assert taken is not None
    return taken


async def _taken(queue: Waitable, waiter: _TaskWaiter) -> Delivery | None:
    """What ``waiter`` gets. If this is cancelled, it stops waiting and gives it back."""
    try:
        await waiter.event.wait()
    except BaseException:
        queue.withdraw(waiter)
        if waiter.taken is not None:
            waiter.taken.give_back()
        raise
    return waiter.taken


class Buffer:
    """The deliveries of one queue, for the requests that take them.

    It has no bound of its own: the prefetch and ``buffer_bytes`` bound what a channel puts into it.
    Requests are served in the order in which they began to wait. A delivery for a request that is
    cancelled at the same moment returns to the front. While requests hold ``max_unsent`` messages
    of a channel that are not sent, its further messages stay here. But they get those that were
    parked: these use up no prefetch (:class:`.subscription_channel.SubscriptionChannel`).

    ``ready``: the buffered deliveries. ``waiters``: the requests that wait. Other objects only read
    both: ``if buffer.ready`` is cheaper than a call. ``request_count``: how many requests have
    taken a delivery or begun to wait.
    """

    def __init__(self, side: AsyncioSide) -> None:
        self._side = side
        self.ready: deque[Delivery] = deque()
        self.request_count = 0
        self.waiters: deque[Waiter] = deque()
        self._fetches: deque[_TaskWaiter] = deque()
        self._is_waking = False
        self._is_serving = False

    def __len__(self) -> int:
        return len(self.ready)

    @property
    def has_waiters(self) -> bool:
        return bool(self.waiters)

    @property
    def waiting(self) -> int:
        """How many requests wait for a delivery."""
        return len(self.waiters)

    @property
    def unserved(self) -> int:
        """How many requests wait and have no delivery here. Under Trio the requests get a delivery
        a moment after it was put."""
        return max(0, len(self.waiters) - len(self.ready))

    def put(self, deliveries: Sequence[Delivery]) -> None:
        """Asyncio side: append deliveries, and wake the waiters, once per burst."""
        self.ready.extend(deliveries)
        if self.waiters and not self._is_waking:
            self._is_waking = True
            self._side.post(self.serve)

    def put_back(self, delivery: Delivery) -> None:
        """Return a delivery to its place: before the deliveries with a higher tag. So the order of
        the queue is kept."""
        ready, earlier = self.ready, []
        while ready and (not ready[0].channel.is_open or ready[0].tag < delivery.tag):
            first = ready.popleft()
            if first.channel.is_open:
                earlier.append(first)
        ready.appendleft(delivery)
        ready.extendleft(reversed(earlier))
        self.serve()

    def take_out(self, is_taken: Callable[[Delivery], bool], keep: int = 0) -> list[Delivery]:
        """Remove the buffered deliveries for which ``is_taken`` is true, except for the first
        ``keep``, and return them."""
        ready = self.ready
        taken: list[Delivery] = []
        kept: list[Delivery] = []
        for _ in range(len(ready)):  # one by one: the asyncio side may append at the same time
            delivery = ready.popleft()
            (taken if len(kept) >= keep and is_taken(delivery) else kept).append(delivery)
        ready.extendleft(reversed(kept))
        return taken

    def drop_closed(self) -> None:
        """Drop the deliveries of channels that have ended. The broker has requeued them."""
        self.take_out(lambda delivery: not delivery.channel.is_open)

    def take_nowait(self) -> Delivery | None:
        """Take the next delivery. None when there is none for a request, or when others wait
        already."""
        ready = self.ready
        while ready and not self.waiters:
            delivery = ready.popleft()
            channel = delivery.channel
            if channel.is_open:
                unsent = channel.unsent
                if unsent >= channel.max_unsent and not delivery.tries:
                    ready.appendleft(delivery)
                    return None
                channel.unsent = unsent + 1
                delivery.is_held = True
                self.request_count += 1
                return delivery
        return None

    def wait(self, waiter: Waiter) -> None:
        """``waiter`` gets the next delivery: at once when there is one, otherwise later."""
        self.request_count += 1
        self.waiters.append(waiter)
        if self.ready:
            self.serve()

    def withdraw(self, waiter: Waiter) -> bool:
        """Stop waiting. False when ``waiter`` has its delivery already, and must settle it."""
        if waiter not in self.waiters:
            return False
        self.waiters.remove(waiter)
        return True

    async def take_fetched(self, send: Callable[[], object]) -> Delivery | None:
        """Call ``send``, which sends a Basic.Get, and wait for the response. None: the queue is
        empty, or a request that waited before has taken the message."""
        waiter = _TaskWaiter()
        self.wait(waiter)
        if waiter.taken is None:
            self._fetches.append(waiter)
            send()
        return await _taken(self, waiter)

    def fetched(self) -> None:
        """The oldest Basic.Get has its response. A message came to the buffer before this call.

        Each response is counted here, also when its request has hung up: otherwise it would end the
        wait of the next request, whose own response is still on its way. ``max_unsent`` does not
        concern a request that fetches.
        """
        waiter = self._fetches.popleft()
        if self.ready and waiter in self.waiters and self.ready[0].channel.is_open:
            self._give(self.ready.popleft())
        if self.withdraw(waiter):
            waiter.event.set()

    def serve(self) -> None:
        """Give the ready deliveries to the requests that wait.

        A request may take, send and settle its delivery during the call, and so call this again.
        """
        self._is_waking = False
        if self._is_serving:
            return
        self._is_serving = True
        try:
            ready, waiters = self.ready, self.waiters
            while waiters and ready:
                delivery = ready.popleft()
                channel = delivery.channel
                if channel.is_open:
                    unsent = channel.unsent
                    if unsent >= channel.max_unsent and not delivery.tries:
                        ready.appendleft(delivery)
                        return
                    delivery.is_held = True  # as _give, without a call
                    channel.unsent = unsent + 1
                    waiters.popleft().take(delivery)
        finally:
            self._is_serving = False

    def _give(self, delivery: Delivery) -> None:
        delivery.is_held = True
        delivery.channel.unsent += 1
        self.waiters.popleft().take(delivery)
