"""Bytes of responses that clients have not read yet: one limit for all servers of the process."""

from __future__ import annotations

from time import monotonic
from typing import Protocol

from anyio import Event, sleep

from ..telemetry.logs import get_logger

CHECK_INTERVAL = 0.5
"""Seconds between two checks for clients that read too slowly."""

log = get_logger("gateway.server")


class ResponseReader(Protocol):
    """A client that has a response to read: a connection of HTTP/1.1, a stream of HTTP/2 or 3."""

    def unsent(self) -> int:
        """Bytes that the client has not read yet."""
        ...

    def cut_off(self) -> None:
        """Free these bytes. The messages of the response go back."""
        ...


class Unsent:
    """The bytes that wait for each reader, and since when; the longest wait is first.

    ``limit``: in bytes. Beyond it the first reader is cut off that has read nothing since it was
    checked last. The newest reader is never cut off: its response may be larger than the limit.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.size = 0
        self._waiting: dict[ResponseReader, tuple[int, float]] = {}

    def wait(self, reader: ResponseReader, size: int) -> None:
        """From now on ``size`` bytes wait for ``reader``; 0: none."""
        if known := self._waiting.pop(reader, None):
            self.size -= known[0]
        if size:
            self.size += size
            while self.size > self.limit and self._waiting:
                self._make_room()
            self._waiting[reader] = size, monotonic()

    def _make_room(self) -> None:
        reader = next(iter(self._waiting))
        known, since = self._waiting.pop(reader)
        self.size -= known
        if (size := reader.unsent()) < known:
            if size:
                self.size += size
                self._waiting[reader] = size, since
        else:
            log.warning(
                "a client that does not read its response is cut off: more than max_unsent_bytes "
                "(%d) wait for clients",
                self.limit,
            )
            reader.cut_off()

    async def cut_off_slow_readers(self, seconds: float) -> None:
        """Cut off readers that take longer than ``seconds``. Never returns."""
        while True:
            await sleep(CHECK_INTERVAL)
            latest = monotonic() - seconds
            late = [reader for reader, (_, since) in self._waiting.items() if since < latest]
            self._cut_off(late)

    async def cut_off_after_stop(self, stop: Event, grace: float) -> None:
        """Cut off every reader ``grace`` seconds after ``stop``. On Trio hypercorn waits until a
        response is written, also at the end of the grace period."""
        await stop.wait()
        await sleep(grace)
        self._cut_off(list(self._waiting))

    def _cut_off(self, readers: list[ResponseReader]) -> None:
        for reader in readers:
            self.wait(reader, 0)
            if reader.unsent():
                log.debug("a client that does not read its response in time is cut off")
                reader.cut_off()
