"""Attempts to connect to the hosts of a cluster, several at the same time. One of them succeeds."""

from __future__ import annotations

import asyncio

from anyio import CancelScope

from .urls import BrokerUrl


class Attempts:
    """``search``: the scope of what begins attempts. ``pending``: the hosts that are being tried.
    ``connected_at``: loop time of the success, which ends the search and all other attempts."""

    def __init__(self) -> None:
        self.search = CancelScope()
        self.pending: dict[BrokerUrl, CancelScope] = {}
        self.connected_at: float | None = None
        self._decided = asyncio.Event()

    def begin(self, host: BrokerUrl) -> CancelScope:
        """The scope of a new attempt."""
        attempt = self.pending[host] = CancelScope()
        return attempt

    async def wait_decided(self) -> None:
        """Wait until a pending attempt fails. A success ends the search."""
        self._decided = asyncio.Event()
        await self._decided.wait()

    def fail(self, host: BrokerUrl) -> None:
        self.pending.pop(host, None)
        self._decided.set()

    def succeed(self, host: BrokerUrl) -> bool:
        """False when another attempt was faster."""
        if self.connected_at is not None:
            return False
        self.connected_at = asyncio.get_running_loop().time()
        del self.pending[host]
        for scope in (self.search, *self.pending.values()):
            scope.cancel()
        return True
