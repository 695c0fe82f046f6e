"""What the kernel knows of the other end of a TCP connection (Linux)."""

from __future__ import annotations

import fcntl
import select
import struct
import termios
from collections.abc import Callable

from anyio import move_on_after, sleep

GONE = select.POLLERR | select.POLLHUP
FIN = select.POLLRDHUP
DOUBT_TIME = 1.0
"""Seconds for the client's kernel to acknowledge the last bytes, when its FIN is here already."""


class Peer:
    """The client of the socket ``descriptor``, as long as that is open (``is_open``).

    ``has_ended``: it has said, in TLS, that it will send no more. Its FIN, or its reset, follows.
    """

    def __init__(self, descriptor: int, is_open: Callable[[], bool]) -> None:
        self.has_ended = False
        self._descriptor = descriptor
        self._is_open = is_open
        poll = select.poll()
        poll.register(descriptor, FIN)
        self._poll = poll.poll

    async def has_acknowledged_all(self) -> bool:
        """Whether a client is there that took, or will take, every byte the kernel was given."""
        events = self._poll(0)
        if not events and not self.has_ended:
            return True
        return await self._took_all(events[0][1] if events else 0)

    async def _took_all(self, events: int) -> bool:
        """It has sent a FIN: after it had read everything, or it closed before.

        In the second case its kernel answers our bytes with a reset, and until it does they
        count as not acknowledged.
        """
        is_taken = False
        with move_on_after(DOUBT_TIME):
            while self._is_open() and not events & GONE:
                is_taken = self._unacknowledged() == 0
                found = self._poll(0)
                events = found[0][1] if found else 0
                if is_taken and events & FIN and not events & GONE:
                    return True
                await sleep(0.01)
            return False
        # It has ended in TLS, and its connection is still there: it reads on.
        return is_taken and not events & FIN

    def _unacknowledged(self) -> int:
        """Bytes in the kernel's send queue (SIOCOUTQ, tcp(7))."""
        answer = fcntl.ioctl(self._descriptor, termios.TIOCOUTQ, b"\0\0\0\0")
        return int(struct.unpack("i", answer)[0])
