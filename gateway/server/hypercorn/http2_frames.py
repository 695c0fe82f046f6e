"""Limits the frames that a client of HTTP/2 sends, before the library of HTTP/2 gets them. Pure.

A frame of a few bytes costs the library some 40 us, so a few kilobytes of frames could delay all
other clients. Frames are counted, and passed on in pieces.
"""

from __future__ import annotations

from collections.abc import Iterator

MAX_FRAMES_PER_TURN = 64
"""Frames that are handled before other connections have their turn."""

FRAME_HEADER_BYTES = 9
PREFACE_BYTES = 24
"""Bytes before the first frame (RFC 9113, 3.4)."""
DATA, HEADERS, RST_STREAM, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 8, 9
END_STREAM = 1

MAX_FRAME_RATE = 1_000
"""Frames a second of a connection that carry no request and no body."""
MAX_FRAME_BURST = 2_000
"""Such frames at once."""
RESET_COST = 10
"""Frames that one reset of a request counts as: 100 resets a second, 200 at once."""
WINDOW_UPDATES_PER_PIECE = 3
"""Window updates that are free for each piece of a response: of the stream, of the connection, and
one more."""
PIECE_BYTES = 4096
"""Bytes of such a piece. The updates of a client that reads single bytes are counted."""


class FrameFlood(Exception):
    """The client has sent more frames than a client needs."""


class Frames:
    """The frames of one connection. ``now``: seconds of any clock."""

    def __init__(self, now: float) -> None:
        self._allowed = float(MAX_FRAME_BURST)
        self._updates = 0
        self._updated_at = now
        self._payload = PREFACE_BYTES
        self._partial_header = b""

    def allow_window_updates(self, size: int) -> None:
        """The client gets ``size`` bytes of a response, and may send window updates for them."""
        self._updates += WINDOW_UPDATES_PER_PIECE * (1 + size // PIECE_BYTES)

    def pieces(self, data: bytes, now: float) -> Iterator[bytes]:
        """Divide ``data`` into pieces, one for each turn. Raises :class:`FrameFlood`.

        The header of a frame that is not complete is kept for the next call.
        """
        self._allowed = min(
            MAX_FRAME_BURST, self._allowed + (now - self._updated_at) * MAX_FRAME_RATE
        )
        self._updated_at = now
        data = self._partial_header + data
        size = len(data)
        begin, at, frames = 0, self._payload, 0
        while at + FRAME_HEADER_BYTES <= size:
            length = int.from_bytes(data[at : at + 3], "big")
            self._count(data[at + 3], data[at + 4], length)
            at += FRAME_HEADER_BYTES + length
            frames += 1
            if frames == MAX_FRAMES_PER_TURN:
                yield data[begin:at]
                begin, frames = min(at, size), 0
        self._payload = max(at - size, 0)
        self._partial_header = data[at:]
        if begin < (end := size - len(self._partial_header)):
            yield data[begin:end]

    def _count(self, kind: int, flags: int, length: int) -> None:
        if kind in (HEADERS, CONTINUATION) or (kind == DATA and (length or flags & END_STREAM)):
            return
        if kind == WINDOW_UPDATE and self._updates:
            self._updates -= 1
            return
        self._allowed -= RESET_COST if kind == RST_STREAM else 1
        if self._allowed < 0:
            raise FrameFlood
