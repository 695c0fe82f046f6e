"""The body of an answer while it is still coming: from the asyncio side to whoever reads it.

Bounded: a connection whose reader is slow is not read from (:data:`HIGH`, :data:`LOW`).
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable
from typing import Protocol

from ..core.bridge import TimedEvent
from ..core.proxy import NO_DEADLINE
from ..errors import BackendFailure, DeadlineExceeded

HIGH, LOW = 256 * 1024, 64 * 1024
"""Bytes read from a connection and not taken yet: no more is read above one, again below the
other."""

PIECE = 256 * 1024
"""Bytes of an unpacked body that are handed out at once."""

BROKEN_OFF = "unexpected EOF"
"""Go's words for an answer that ends too early."""

_GZIP = 16 + zlib.MAX_WBITS


class PieceSource(Protocol):
    """Where the pieces come from. Called on the app side, never waits."""

    def taken(self, size: int) -> None:
        """So many bytes more may come."""

    def withdraw_body(self) -> None:
        """Nobody wants the rest."""

    def event(self) -> TimedEvent: ...


def gzip_failure(error: zlib.error) -> str:
    """Go's words for the failures of zlib."""
    text = str(error)
    if "header check" in text:
        return "gzip: invalid header"
    return "gzip: invalid checksum" if "data check" in text else "flate: corrupt input"


class BodyStream:
    """The body of a response while it arrives; one task of the app side reads it.

    ``end``: the time (``anyio.current_time()``) at which reading fails. ``length``: of the whole
    body, as text; empty if it is not known. The stream is a
    :class:`gateway.core.proxy.TakenMessage`: at the end of its request it is given back, and its
    connection is closed if the body has not arrived completely.
    """

    def __init__(self, source: PieceSource) -> None:
        self._source = source
        self._pieces: deque[bytes] = deque()
        self._packed = b""
        self._unpack: zlib._Decompress | None = None
        self._is_over = False
        self._failure: BackendFailure | None = None
        self._wake: Callable[[], object] | None = None
        self.end = NO_DEADLINE
        self.length = b""

    def unpack_gzip(self) -> None:
        """What comes is gzipped, and shall not be. Before anything is read."""
        self._unpack = zlib.decompressobj(_GZIP)

    async def next(self) -> bytes:
        """The next piece; b"" when that was all.

        Raises :class:`BackendFailure` when it breaks off, :class:`DeadlineExceeded` when the time
        is over.
        """
        while True:
            if self._packed or self._pieces:
                if piece := self._take():
                    return piece
            elif self._failure is not None:
                raise self._failure
            elif not self._is_over:
                await self._wait()
            elif self._unpack is not None and not self._unpack.eof:
                raise BackendFailure(BROKEN_OFF)
            else:
                return b""

    def _take(self) -> bytes:
        packed = self._packed
        if not packed:
            packed = self._pieces.popleft()
            self._source.taken(len(packed))
        if self._unpack is None:
            return packed
        try:
            piece = self._unpack.decompress(packed, PIECE)
        except zlib.error as error:
            self.give_back()
            raise BackendFailure(gzip_failure(error)) from error
        self._packed = self._unpack.unconsumed_tail
        return piece

    async def _wait(self) -> None:
        event = self._source.event()
        self._wake = event.set
        try:
            await event.wait(self.end)
        finally:
            self._wake = None
        if not self._pieces and not self._is_over:
            self.give_back()
            raise DeadlineExceeded

    # From the other side, in order.

    def feed(self, piece: bytes) -> None:
        if not self._is_over:
            self._pieces.append(piece)
            self._woken()

    def finish(self, failure: BackendFailure | None) -> None:
        """Nothing follows; ``failure``: although something should."""
        if not self._is_over:
            self._is_over = True
            self._failure = failure
            self._woken()

    def _woken(self) -> None:
        if self._wake is not None:
            self._wake()

    # As a hold.

    def acknowledge(self) -> None:
        """Nothing is to be settled."""

    def park(self) -> None:
        """It cannot come again."""
        self.give_back()

    def give_back(self) -> None:
        """Nobody reads on."""
        if not self._is_over:
            self._pieces.clear()
            self._packed = b""
            self.finish(BackendFailure("nobody reads the rest"))
            self._source.withdraw_body()
