"""Passes packets on between two TUN interfaces, each after a delay, for ``network.py``.

python -m bench.relay DESCRIPTOR DESCRIPTOR SECONDS: until the end of its standard input, so that it
ends with its parent. Packets keep their order, and none is lost.
"""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from select import select

from .priority import raise_priority

MAX_PACKET = 65_536


def relay(first: int, second: int, delay: float) -> None:
    others = {first: second, second: first}
    standard_input = sys.stdin.fileno()
    waiting: deque[tuple[float, int, bytes]] = deque()
    """When to write, where, and the packet. The delay is the same for all: in order of time."""
    while True:
        timeout = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        readable, _, _ = select([first, second, standard_input], [], [], timeout)
        if standard_input in readable:
            return
        for end in readable:
            packet = os.read(end, MAX_PACKET)
            waiting.append((time.monotonic() + delay, others[end], packet))
        while waiting and waiting[0][0] <= time.monotonic():
            _, end, packet = waiting.popleft()
            os.write(end, packet)


if __name__ == "__main__":
    raise_priority()
    relay(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
