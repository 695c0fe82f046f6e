"""One timer that looks whether responses have arrived, for all connections of a server."""

from __future__ import annotations

import asyncio
from typing import Protocol

from ...core.bridge import next_tick
from ...telemetry.logs import get_logger

log = get_logger("gateway.server")

TICKS_BETWEEN_LOOKS = (1, 8, 12, 20)
"""A tick is 5 ms (:func:`gateway.core.bridge.next_tick`). The first look is one tick after the
response, for kernels that acknowledge at once. The second one is 40 ms later: Linux delays an
acknowledgement for at least so long. The last number repeats."""


class SweptOutput(Protocol):
    """:class:`.output.Output`. ``looks``: how often it was looked at since it was added; None: it
    is not in the sweep."""

    looks: int | None

    def sweep(self, now: float) -> bool:
        """Look. False: there is nothing to look for any more."""
        ...


class ArrivalSweep:
    """``now``: the time of the event loop at the last look, or when the first output was added. No
    timer runs while nothing waits."""

    def __init__(self) -> None:
        self.now = 0.0
        self._is_running = False
        self._ticks = 0
        self._due: dict[int, list[SweptOutput]] = {}

    def add(self, output: SweptOutput) -> None:
        if not self._is_running:
            self._is_running = True
            loop = asyncio.get_running_loop()
            self.now = loop.time()
            loop.call_at(next_tick(self.now), self._look)
        output.looks = 0
        self._add(output, 0)

    def _add(self, output: SweptOutput, looks: int) -> None:
        ticks = TICKS_BETWEEN_LOOKS[min(looks, len(TICKS_BETWEEN_LOOKS) - 1)]
        self._due.setdefault(self._ticks + ticks, []).append(output)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        self.now = loop.time()
        self._ticks += 1
        for output in self._due.pop(self._ticks, ()):
            try:
                is_undecided = output.sweep(self.now)
            except Exception:  # the other connections go on
                log.exception("an unexpected error of a connection")
                is_undecided = False
            if is_undecided:
                output.looks = (output.looks or 0) + 1
                self._add(output, output.looks)
            else:
                output.looks = None
        self._is_running = bool(self._due)
        if self._is_running:
            loop.call_at(next_tick(self.now), self._look)
