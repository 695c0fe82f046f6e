"""When which fault happened, and which of them explains a duplicate."""

from __future__ import annotations

import math
import time

from msgspec import Struct

BEFORE, AFTER = 1.0, 2.0
"""A message may be duplicated when it was received in these seconds before and after a fault: it is
acknowledged later, and connections are repaired later."""

NO_CAUSE = "no fault"


class FaultEvent(Struct):
    """``began``, ``ended``: seconds after the start; infinite while it lasts. ``problem``: what
    went wrong beyond the fault."""

    name: str
    began: float
    ended: float = math.inf
    problem: str = ""

    def __str__(self) -> str:
        problem = f": {self.problem}" if self.problem else ""
        return f"{self.began:7.1f} s  {self.name} ({self.ended - self.began:.1f} s){problem}"


class Timeline:
    def __init__(self) -> None:
        self.events: list[FaultEvent] = []
        self._began = time.monotonic()

    def now(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._began

    def begin(self, name: str) -> FaultEvent:
        event = FaultEvent(name, self.now())
        self.events.append(event)
        return event

    def cause(self, seconds: float) -> str:
        """The last fault that can have duplicated a message which was received at that time."""
        for event in reversed(self.events):
            if event.began - BEFORE <= seconds <= event.ended + AFTER:
                return event.name
        return NO_CAUSE
