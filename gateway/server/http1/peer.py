"""Whether the client of a TCP connection has every byte, as the kernel knows it (Linux)."""

from __future__ import annotations

import fcntl
import select
import struct
import termios
from collections.abc import Callable

from anyio import move_on_after, sleep

GONE = select.POLLERR | select.POLLHUP
FIN = select.POLLRDHUP
ACKNOWLEDGE_TIMEOUT = 1.0
"""Seconds for the client's kernel to acknowledge the last bytes after it has sent a FIN."""


class Peer:
    """The client at the other end of the socket ``descriptor``. ``is_open``: the socket is open.

    ``has_ended``: the client has said in TLS that it sends no more. A FIN or a reset follows.
    """

    def __init__(self, descriptor: int, is_open: Callable[[], bool]) -> None:
        self.has_ended = False
        self._descriptor = descriptor
        self._is_open = is_open
        poll = select.poll()
        poll.register(descriptor, FIN)
        self._poll = poll.poll

    async def has_acknowledged_all(self) -> bool:
        """Whether the client has read, or will read, every byte that was given to the kernel."""
        events = self._poll(0)
        if not events and not self.has_ended:
            return True
        return await self._has_acknowledged(events[0][1] if events else 0)

    async def _has_acknowledged(self, events: int) -> bool:
        """For a client that has sent a FIN: it has read everything, or it has closed before.

        In the second case its kernel responds to our bytes with a reset. Until then they count as
        not acknowledged.
        """
        is_acknowledged = False
        with move_on_after(ACKNOWLEDGE_TIMEOUT):
            while self._is_open() and not events & GONE:
                is_acknowledged = self._unacknowledged() == 0
                found = self._poll(0)
                events = found[0][1] if found else 0
                if is_acknowledged and events & FIN and not events & GONE:
                    return True
                await sleep(0.01)
            return False
        # The client has ended in TLS, but its connection is open: it still reads.
        return is_acknowledged and not events & FIN

    def _unacknowledged(self) -> int:
        """Bytes in the kernel's send queue (SIOCOUTQ, tcp(7))."""
        size = fcntl.ioctl(self._descriptor, termios.TIOCOUTQ, b"\0\0\0\0")
        return int(struct.unpack("i", size)[0])
