"""A limit of concurrent work that is fair to clients, with a bounded queue.

A client with many requests delays its own ones first: the names in the queue take turns. If the
queue is full, the newest request of the name with the most requests is refused.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

from anyio import Event

from ...errors import GatewayError

T = TypeVar("T")


class QueueFull(GatewayError):
    """Too many requests wait."""

    status = 503


class FairQueue(Generic[T]):
    """Items by a path of names: first the name that is hardest to change for a client. All paths of
    a queue have the same length. Pure.
    """

    def __init__(self) -> None:
        self._inner: OrderedDict[str, FairQueue[T]] = OrderedDict()
        self._items: deque[T] = deque()

    def __len__(self) -> int:
        return len(self._items) + sum(map(len, self._inner.values()))

    def push(self, path: Sequence[str], item: T) -> None:
        if path:
            self._inner.setdefault(path[0], FairQueue()).push(path[1:], item)
        else:
            self._items.append(item)

    def pop(self) -> T:
        """Remove the oldest item of the first name, which becomes the last one."""
        if self._items:
            return self._items.popleft()
        name, queue = self._inner.popitem(last=False)
        item = queue.pop()
        if queue:
            self._inner[name] = queue
        return item

    def drop(self) -> T:
        """Remove the newest item of the name with the most items; of equal names the last one."""
        if self._items:
            return self._items.pop()
        name = max(reversed(self._inner), key=lambda name: len(self._inner[name]))
        item = self._inner[name].drop()
        self._remove_if_empty(name)
        return item

    def remove(self, path: Sequence[str], item: T) -> None:
        if path:
            self._inner[path[0]].remove(path[1:], item)
            self._remove_if_empty(path[0])
        else:
            self._items.remove(item)

    def _remove_if_empty(self, name: str) -> None:
        if not self._inner[name]:
            del self._inner[name]


class _LimiterWaiter:
    """``is_refused``: dropped from the queue."""

    def __init__(self) -> None:
        self.decided = Event()
        self.is_refused = False


class FairLimiter:
    """``max_running``: blocks that run at once; ``max_waiting``: how many more may wait."""

    def __init__(self, max_running: int, max_waiting: int) -> None:
        self._free = max_running
        self._max_waiting = max_waiting
        self._queue: FairQueue[_LimiterWaiter] = FairQueue()

    @property
    def waiting(self) -> int:
        return len(self._queue)

    @asynccontextmanager
    async def slot(self, path: Sequence[str]) -> AsyncGenerator[None]:
        """Wait, then run the block. Raises :class:`QueueFull`."""
        if self._free:
            self._free -= 1
        else:
            await self._wait(path)
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, path: Sequence[str]) -> None:
        waiter = _LimiterWaiter()
        self._queue.push(path, waiter)
        if len(self._queue) > self._max_waiting:
            refused = self._queue.drop()
            refused.is_refused = True
            refused.decided.set()
        try:
            await waiter.decided.wait()
        except BaseException:  # cancelled: the client has gone
            if not waiter.decided.is_set():
                self._queue.remove(path, waiter)
            elif not waiter.is_refused:
                self._pass_on()
            raise
        if waiter.is_refused:
            raise QueueFull

    def _pass_on(self) -> None:
        if self._queue:
            self._queue.pop().decided.set()
        else:
            self._free += 1
