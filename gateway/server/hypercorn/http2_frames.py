"""The frames that a client of HTTP/2 sends, before anything is made of them: how many there are.

Frames of a few bytes cost the library of HTTP/2 some 40 us each, so a few kilobytes of them could
hold up everybody. They are counted, and handed over in pieces. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator

FRAMES_OF_A_TURN = 64
"""Frames that are worked on before others have their turn."""

FRAME_HEAD = 9
PREFACE = 24
"""Bytes before the first frame (RFC 9113, 3.4)."""
DATA, HEADERS, RST_STREAM, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 8, 9
END_STREAM = 1

RATE = 1_000
"""Frames a second of a connection that carry no request and no body."""
BURST = 2_000
"""Such frames at once."""
RESET_COST = 10
"""So many of them is a request that is reset: 100 a second, 200 at once."""
UPDATES = 3
"""Frames that may answer a piece of an answer: of its stream, of the connection, one to spare."""
UPDATED_SIZE = 4096
"""Bytes of such a piece. A client that asks for single bytes pays for its frames."""


class Flood(Exception):
    """More frames than a client needs."""


class Frames:
    """The frames of one connection. ``now``: seconds of any clock."""

    def __init__(self, now: float) -> None:
        self._allowed = float(BURST)
        self._updates = 0
        self._looked = now
        self._payload = PREFACE
        self._head = b""

    def may_take(self, size: int) -> None:
        """The client has ``size`` bytes of an answer to take."""
        self._updates += UPDATES * (1 + size // UPDATED_SIZE)

    def pieces(self, data: bytes, now: float) -> Iterator[bytes]:
        """``data``, in pieces that are worked on in one turn each. Raises :class:`Flood`.

        A head of a frame that is not complete is kept for the next call.
        """
        self._allowed = min(BURST, self._allowed + (now - self._looked) * RATE)
        self._looked = now
        data = self._head + data
        size = len(data)
        begin, at, frames = 0, self._payload, 0
        while at + FRAME_HEAD <= size:
            length = int.from_bytes(data[at : at + 3], "big")
            self._count(data[at + 3], data[at + 4], length)
            at += FRAME_HEAD + length
            frames += 1
            if frames == FRAMES_OF_A_TURN:
                yield data[begin:at]
                begin, frames = min(at, size), 0
        self._payload = max(at - size, 0)
        self._head = data[at:]
        if begin < (end := size - len(self._head)):
            yield data[begin:end]

    def _count(self, kind: int, flags: int, length: int) -> None:
        if kind in (HEADERS, CONTINUATION) or (kind == DATA and (length or flags & END_STREAM)):
            return
        if kind == WINDOW_UPDATE and self._updates:
            self._updates -= 1
            return
        self._allowed -= RESET_COST if kind == RST_STREAM else 1
        if self._allowed < 0:
            raise Flood
