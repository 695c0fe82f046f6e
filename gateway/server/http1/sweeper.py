"""One timer for the time limits of all connections, instead of one timer for each request."""

from __future__ import annotations

import asyncio
from collections.abc import Set
from typing import Protocol

from ..settings import Limits
from ..unsent import Unsent
from .arrival_sweep import ArrivalSweep
from .write_coalescer import WriteCoalescer

SWEEP_INTERVAL = 0.5
"""Seconds between two checks of all connections: the precision of every time limit."""


class SweptConnection(Protocol):
    def check_time(self, now: float) -> None:
        """Enforce the time limit of the connection."""
        ...


class ConnectionSweeper:
    """What all connections of a server share.

    ``now``: the time of the event loop, updated at each sweep. Connections read it at each request.
    """

    def __init__(self, limits: Limits, unsent: Unsent) -> None:
        self.limits = limits
        self.unsent = unsent
        self.coalescer = WriteCoalescer()
        self.arrivals = ArrivalSweep()
        self.now = 0.0

    async def run(self, connections: Set[SweptConnection]) -> None:
        """Check all connections again and again. Never returns."""
        loop = asyncio.get_running_loop()
        while True:
            self.now = loop.time()
            for connection in tuple(connections):
                connection.check_time(self.now)
            await asyncio.sleep(SWEEP_INTERVAL)
