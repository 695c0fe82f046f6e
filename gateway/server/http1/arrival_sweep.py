"""One timer that looks whether responses have arrived, for all connections of a server."""

from __future__ import annotations

import asyncio
from typing import Protocol

TICK = 0.005
"""Seconds until the first look."""

TICKS_BETWEEN_LOOKS = (1, 2, 4, 8, 16, 20)
"""The time between two looks at the same connection grows: 5 to 100 ms."""


class SweptOutput(Protocol):
    """:class:`.output.Output`. ``is_swept``: it is in the sweep."""

    is_swept: bool

    def sweep(self, now: float) -> bool:
        """Look. False: there is nothing to look for any more."""
        ...


class ArrivalSweep:
    """``now``: the time of the event loop at the last look, or when the first output was added. No
    timer runs while nothing waits."""

    def __init__(self) -> None:
        self.now = 0.0
        self._outputs: list[list[SweptOutput]] = [[] for _ in TICKS_BETWEEN_LOOKS]
        self._ticks = 0
        self._is_running = False

    def add(self, output: SweptOutput) -> None:
        output.is_swept = True
        self._outputs[0].append(output)
        if not self._is_running:
            self._is_running = True
            loop = asyncio.get_running_loop()
            self.now = loop.time()
            loop.call_later(TICK, self._look)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        now = self.now = loop.time()
        self._ticks += 1
        last = len(TICKS_BETWEEN_LOOKS) - 1
        for stage in range(last, -1, -1):  # what waits longer moves on to a stage that is done
            if self._ticks % TICKS_BETWEEN_LOOKS[stage]:
                continue
            outputs, self._outputs[stage] = self._outputs[stage], []
            for output in outputs:
                if output.sweep(now):
                    self._outputs[min(stage + 1, last)].append(output)
                else:
                    output.is_swept = False
        self._is_running = any(self._outputs)
        if self._is_running:
            loop.call_later(TICK, self._look)
