"""An asyncio event loop with virtual time: when it has nothing to do, its clock jumps to the next
timer.

    anyio_backend = ("asyncio", {"loop_factory": VirtualTimeLoop})

Sockets, threads and ``call_soon_threadsafe`` work. But they take no virtual time: a deadline may
pass before a thread or a socket has answered.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Mapping
from typing import Any


class VirtualTimeSelector(selectors.BaseSelector):
    """Waits for sockets as the system's selector, but never for a time. ``now``: the time."""

    def __init__(self) -> None:
        self.now = 0.0
        self._selector = selectors.DefaultSelector()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Without a ``timeout`` there is no timer: only a socket or a thread can go on."""
        if timeout is None:
            return self._selector.select(None)
        events = self._selector.select(0)
        if not events and timeout > 0:
            self.now += timeout
        return events

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._selector.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._selector.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._selector.modify(fileobj, events, data)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._selector.get_map()

    def close(self) -> None:
        self._selector.close()


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """``time()`` begins at 0."""

    def __init__(self) -> None:
        self._clock = VirtualTimeSelector()
        super().__init__(self._clock)
        # Timers within it fire together. After a year, floats are 4 ns apart: more than the
        # resolution of the real clock, and a timer would never be due.
        self._clock_resolution = 1e-6

    def time(self) -> float:
        return self._clock.now
