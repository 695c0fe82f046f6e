"""Whether a transport is read from, and whether it takes more bytes."""

from __future__ import annotations

import asyncio

HIGH_WATER_LIMIT = 64 * 1024
"""Bytes of a request's body that wait for the application before reading is paused."""


class FlowControl:
    """``write_paused``: the transport has said that its buffer is full."""

    __slots__ = ("_is_writable", "_transport", "read_paused", "write_paused")

    def __init__(self, transport: asyncio.Transport) -> None:
        self.read_paused = False
        self.write_paused = False
        self._transport = transport
        self._is_writable: asyncio.Event | None = None

    async def drain(self) -> None:
        """Wait until the transport takes more bytes."""
        if self.write_paused:
            if self._is_writable is None:
                self._is_writable = asyncio.Event()
            await self._is_writable.wait()

    def pause_reading(self) -> None:
        if not self.read_paused:
            self.read_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self.read_paused:
            self.read_paused = False
            self._transport.resume_reading()

    def pause_writing(self) -> None:
        if not self.write_paused:
            self.write_paused = True

    def resume_writing(self) -> None:
        if self.write_paused:
            self.write_paused = False
            if self._is_writable is not None:
                self._is_writable.set()
                self._is_writable = None
