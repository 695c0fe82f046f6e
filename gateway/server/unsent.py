"""Bytes of answers that clients have not taken yet: a bound of the process, for all its servers."""

from __future__ import annotations

from time import monotonic
from typing import Protocol

from anyio import sleep

from ..telemetry.logs import get_logger

CHECK = 0.5
"""Seconds between looks at how long readers have been waited for."""

log = get_logger("gateway.server")


class ResponseReader(Protocol):
    """A client that has an answer to take: a connection of HTTP/1.1, a stream of HTTP/2 or 3."""

    def unsent(self) -> int:
        """Bytes that it has not taken yet."""
        ...

    def cut_off(self) -> None:
        """Free these bytes. The messages of the answer go back."""
        ...


class Unsent:
    """What waits for which reader, and since when; those that have waited longest are first.

    ``limit``: bytes; beyond it readers are cut off, the first of those that have taken nothing
    since they were looked at last. The newest is not: its answer may be as large as it is.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.size = 0
        self._waiting: dict[ResponseReader, tuple[int, float]] = {}

    def wait(self, reader: ResponseReader, size: int) -> None:
        """``size`` bytes wait for ``reader`` from now on; 0: none."""
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
                "a client that does not read its answer is cut off: more than max_unsent_bytes "
                "(%d) wait for clients",
                self.limit,
            )
            reader.cut_off()

    async def keep_time(self, seconds: float) -> None:
        """For ever: cut off readers that take longer than so many seconds."""
        while True:
            await sleep(CHECK)
            latest = monotonic() - seconds
            late = [reader for reader, (_, since) in self._waiting.items() if since < latest]
            for reader in late:
                self.wait(reader, 0)
                if reader.unsent():
                    log.debug("a client that does not read its answer in time is cut off")
                    reader.cut_off()
