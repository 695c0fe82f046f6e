"""Turns at work of which little can be done at once: fair among clients, with a bounded queue.

A client that asks for much delays itself first: names take turns, and when the queue is full the
newest request of the name that has most in it is refused.
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
    """Too much waits for a turn."""

    status = 503


class FairQueue(Generic[T]):
    """Items by a path of names, from what is hard to change for a client to what is easy. Items of
    one queue have paths of one length. Pure.
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
        """The oldest item of the name whose turn it is, which is then the last name."""
        if self._items:
            return self._items.popleft()
        name, queue = self._inner.popitem(last=False)
        item = queue.pop()
        if queue:
            self._inner[name] = queue
        return item

    def drop(self) -> T:
        """The newest item of the name that has most; of equal ones the one that came last."""
        if self._items:
            return self._items.pop()
        name = max(reversed(self._inner), key=lambda name: len(self._inner[name]))
        item = self._inner[name].drop()
        self._forget_empty(name)
        return item

    def remove(self, path: Sequence[str], item: T) -> None:
        if path:
            self._inner[path[0]].remove(path[1:], item)
            self._forget_empty(path[0])
        else:
            self._items.remove(item)

    def _forget_empty(self, name: str) -> None:
        if not self._inner[name]:
            del self._inner[name]


class _WaitingTurn:
    """One that waits. ``is_refused``: no turn will come."""

    def __init__(self) -> None:
        self.decided = Event()
        self.is_refused = False


class Turns:
    """``at_a_time``: how many have a turn; ``most_waiting``: how many more may wait for one."""

    def __init__(self, at_a_time: int, most_waiting: int) -> None:
        self._free = at_a_time
        self._most_waiting = most_waiting
        self._queue: FairQueue[_WaitingTurn] = FairQueue()

    @property
    def waiting(self) -> int:
        return len(self._queue)

    @asynccontextmanager
    async def turn(self, path: Sequence[str]) -> AsyncGenerator[None]:
        """Wait for a turn, and have it while the block runs. Raises :class:`QueueFull`."""
        if self._free:
            self._free -= 1
        else:
            await self._wait(path)
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, path: Sequence[str]) -> None:
        waiting = _WaitingTurn()
        self._queue.push(path, waiting)
        if len(self._queue) > self._most_waiting:
            refused = self._queue.drop()
            refused.is_refused = True
            refused.decided.set()
        try:
            await waiting.decided.wait()
        except BaseException:  # cancelled: the client has gone
            if not waiting.decided.is_set():
                self._queue.remove(path, waiting)
            elif not waiting.is_refused:
                self._pass_on()
            raise
        if waiting.is_refused:
            raise QueueFull

    def _pass_on(self) -> None:
        if self._queue:
            self._queue.pop().decided.set()
        else:
            self._free += 1
