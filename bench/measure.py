"""CPU and memory of a process and its descendants (Linux)."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import psutil
from msgspec import Struct

from gateway.demo.broker import Broker

T = TypeVar("T", int, float)


def cpu_seconds(pid: int) -> float:
    """User and system time so far. Descendants that have ended are not included."""
    return _sum_over_tree(pid, _cpu_seconds)


def resident_bytes(pid: int) -> int:
    """Memory that is in RAM now."""
    return _sum_over_tree(pid, lambda process: process.memory_info().rss)


def _sum_over_tree(pid: int, read: Callable[[psutil.Process], T]) -> T:
    """Raises OSError when the process itself has ended; a descendant may end at any time."""
    try:
        process = psutil.Process(pid)
        total = read(process)
        descendants = process.children(recursive=True)
    except psutil.NoSuchProcess as error:
        raise ProcessLookupError(str(error)) from error
    for descendant in descendants:
        with suppress(psutil.NoSuchProcess, OSError):
            total += read(descendant)
    return total


def _cpu_seconds(process: psutil.Process) -> float:
    # The kernel's CPU clock of the process, in nanoseconds; clock_getcpuclockid(3) computes its
    # number in this way. psutil's cpu_times() has steps of 10 ms: a load of one second often
    # needs less than 100 ms.
    return time.clock_gettime((~process.pid << 3) | 2)


class Meter(Struct, frozen=True):
    """CPU seconds of a candidate and of the broker; 0 for a broker that this run did not start."""

    candidate: float
    broker: float

    def since(self, earlier: Meter) -> Meter:
        return Meter(self.candidate - earlier.candidate, self.broker - earlier.broker)


def read_meter(pid: int, broker: Broker | None) -> Meter:
    return Meter(cpu_seconds(pid), cpu_seconds(broker.pid) if broker is not None else 0.0)
