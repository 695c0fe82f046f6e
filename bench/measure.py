"""CPU and memory of a process tree (Linux)."""

from __future__ import annotations

import os
import time
from pathlib import Path

from msgspec import Struct

from gateway.broker import Broker

PAGE = os.sysconf("SC_PAGE_SIZE")


def process_tree(pid: int) -> list[int]:
    """The process and all below it."""
    found = [pid]
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in children.read_text().split():
            found += process_tree(int(child))
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time of the process tree so far; what has ended does not count."""
    return sum(time.clock_gettime(_cpu_clock(each)) for each in process_tree(pid))


def resident_bytes(pid: int) -> int:
    """Memory of the process tree that is in RAM now."""
    pages = (Path(f"/proc/{each}/statm").read_text().split()[1] for each in process_tree(pid))
    return sum(map(int, pages)) * PAGE


class Meter(Struct, frozen=True):
    """CPU seconds of a candidate and of the broker; 0 for a broker that is not ours."""

    candidate: float
    broker: float

    def since(self, earlier: Meter) -> Meter:
        return Meter(self.candidate - earlier.candidate, self.broker - earlier.broker)


def read_meter(pid: int, broker: Broker | None) -> Meter:
    return Meter(cpu_seconds(pid), cpu_seconds(broker.pid) if broker is not None else 0.0)


def _cpu_clock(pid: int) -> int:
    """The CPU clock of a process, to the nanosecond (clock_getcpuclockid(3) computes it so)."""
    return (~pid << 3) | 2
