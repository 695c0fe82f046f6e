"""CPU and memory of a process tree (Linux)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from msgspec import Struct

from gateway.demo.broker import Broker

T = TypeVar("T", int, float)
PAGE = os.sysconf("SC_PAGE_SIZE")


def cpu_seconds(pid: int) -> float:
    """User and system time of the process tree so far; what has ended does not count."""
    return _over_tree(pid, _cpu_seconds)


def resident_bytes(pid: int) -> int:
    """Memory of the process tree that is in RAM now."""
    return _over_tree(pid, _resident_bytes)


def _over_tree(pid: int, read: Callable[[int], T]) -> T:
    """Of the process, and of all below it that do not end meanwhile. Raises OSError when the
    process itself has ended."""
    total = read(pid)
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):
            for child in (task / "children").read_text().split():
                with suppress(OSError):
                    total += _over_tree(int(child), read)
    return total


def _cpu_seconds(pid: int) -> float:
    # The CPU clock of a process, to the nanosecond (clock_getcpuclockid(3) computes it so).
    return time.clock_gettime((~pid << 3) | 2)


def _resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE


class Meter(Struct, frozen=True):
    """CPU seconds of a candidate and of the broker; 0 for a broker that is not ours."""

    candidate: float
    broker: float

    def since(self, earlier: Meter) -> Meter:
        return Meter(self.candidate - earlier.candidate, self.broker - earlier.broker)


def read_meter(pid: int, broker: Broker | None) -> Meter:
    return Meter(cpu_seconds(pid), cpu_seconds(broker.pid) if broker is not None else 0.0)
