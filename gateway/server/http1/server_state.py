"""What all connections of a server share, and one timer for their time limits."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from email.utils import formatdate
from typing import Protocol

from ...core.asgi import ASGIApp, Scope
from ...core.direct import DirectHead, FindDirect
from ...telemetry.logs import get_logger
from ..settings import Limits
from ..unsent import Unsent
from .arrival_sweep import ArrivalSweep
from .write_coalescer import WriteCoalescer

log = get_logger("gateway.server")

SWEEP_INTERVAL = 0.5
"""Seconds between two checks of all connections: the precision of every time limit."""


class ServedConnection(Protocol):
    """A connection: :class:`.protocol.HttpProtocol`."""

    transport: asyncio.Transport

    def check_time(self, now: float) -> None:
        """Enforce the time limit of the connection."""
        ...

    def shutdown(self) -> None:
        """Take no further request, and close after the last response."""
        ...

    def stop(self) -> None:
        """The grace period is over: respond to a request that still waits without a task."""
        ...

    def abort(self) -> None:
        """Close the connection now."""
        ...


class ServerState:
    """``tasks``: of the requests that run. ``now``: the time of the event loop, updated at each
    sweep; connections read it at each request. ``default_headers``: of every response, with the
    date: a new list at each sweep.
    """

    def __init__(
        self,
        app: ASGIApp,
        limits: Limits,
        unsent: Unsent,
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        self.app = app
        self.limits = limits
        self.unsent = unsent
        self.coalescer = WriteCoalescer()
        self.arrivals = ArrivalSweep()
        self.connections: set[ServedConnection] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.now = 0.0
        self.default_headers: list[tuple[bytes, bytes]] = []
        self._find_direct: FindDirect | None = getattr(app, "direct", None)
        self._headers = headers

    def find_direct(self, scope: Scope) -> DirectHead | None:
        """How requests with this head are handled without a task; None: they need one."""
        if self._find_direct is None:
            return None
        try:
            return self._find_direct(scope)
        except Exception:  # the application responds to it as to any error
            log.exception("an error in the application")
            return None

    async def run(self) -> None:
        """Check all connections again and again. Never returns."""
        loop = asyncio.get_running_loop()
        while True:
            self.default_headers = [(b"date", formatdate(usegmt=True).encode()), *self._headers]
            self.now = loop.time()
            for connection in tuple(self.connections):
                connection.check_time(self.now)
            await asyncio.sleep(SWEEP_INTERVAL)
