"""The body of a response while it arrives: from the asyncio side to its reader on the app side.

Bounded: while the reader is slow, nothing more is read from the connection (:data:`HIGH_WATER`,
:data:`LOW_WATER`).
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable
from typing import Protocol

from ..core.bridge import TimedEvent
from ..core.proxy import NO_DEADLINE, OutcomeWatcher
from ..errors import BackendFailure, DeadlineExceeded

HIGH_WATER, LOW_WATER = 256 * 1024, 64 * 1024
"""Bytes that were read from a connection and not taken yet. Reading pauses above the first and
continues below the second."""

MAX_PIECE_BYTES = 256 * 1024
"""Bytes of one piece of an unpacked body."""

BROKEN_OFF = "unexpected EOF"
"""Go's words for a body that ends too early."""

GZIP = 16 + zlib.MAX_WBITS
"""zlib's number for the gzip format."""


class PieceSource(Protocol):
    """The source of the pieces. Called on the app side; never waits."""

    def taken(self, size: int) -> None:
        """The reader has taken ``size`` bytes: as many may follow."""

    def withdraw_body(self) -> None:
        """The rest of the body is not wanted."""

    def new_event(self) -> TimedEvent:
        """Make an event for one wait."""
        ...


def gzip_failure(error: zlib.error) -> str:
    """Go's words for the failures of zlib."""
    text = str(error)
    if "header check" in text:
        return "gzip: invalid header"
    return "gzip: invalid checksum" if "data check" in text else "flate: corrupt input"


class BodyStream:
    """The body of a response while it arrives; one task of the app side reads it.

    ``end``: the time (``anyio.current_time()``) at which reading fails. ``length``: of the whole
    body, as in the header; empty if it is not known. The stream is a
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
        """Unpack the body. To be called before anything is read."""
        self._unpack = zlib.decompressobj(GZIP)

    async def next(self) -> bytes:
        """The next piece; b"" at the end.

        Raises :class:`BackendFailure` when the body ends too early, :class:`DeadlineExceeded` at
        ``end``.
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
            piece = self._unpack.decompress(packed, MAX_PIECE_BYTES)
        except zlib.error as error:
            self.give_back()
            raise BackendFailure(gzip_failure(error)) from error
        self._packed = self._unpack.unconsumed_tail
        return piece

    async def _wait(self) -> None:
        event = self._source.new_event()
        self._wake = event.set
        try:
            await event.wait(self.end)
        finally:
            self._wake = None
        if not self._pieces and not self._is_over:
            self.give_back()
            raise DeadlineExceeded

    # Called in order, by callbacks from the asyncio side.

    def feed(self, piece: bytes) -> None:
        if not self._is_over:
            self._pieces.append(piece)
            self._wake_reader()

    def finish(self, failure: BackendFailure | None) -> None:
        """No piece follows. ``failure``: the body ended too early."""
        if not self._is_over:
            self._is_over = True
            self._failure = failure
            self._wake_reader()

    def _wake_reader(self) -> None:
        if self._wake is not None:
            self._wake()

    # As a TakenMessage.

    shown_id = ""

    def sent(self) -> None:
        """There is nothing to do."""

    def acknowledge(self) -> None:
        """There is nothing to acknowledge."""

    def park(self) -> None:
        """A body cannot come again."""
        self.give_back()

    def watch(self, watcher: OutcomeWatcher) -> None:
        """It is no message of a broker."""

    def give_back(self) -> None:
        """The rest is not read: end the stream and close its connection."""
        if not self._is_over:
            self._pieces.clear()
            self._packed = b""
            self.finish(BackendFailure("the rest of the body is not wanted"))
            self._source.withdraw_body()
