"""CPU and memory of a process tree, from /proc (Linux)."""

from __future__ import annotations

import os
from pathlib import Path

TICK = 1 / os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


def process_tree(pid: int) -> list[int]:
    """The process and all below it."""
    found = [pid]
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in children.read_text().split():
            found += process_tree(int(child))
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time of the process tree so far."""
    return sum(_ticks(each) for each in process_tree(pid)) * TICK


def resident_bytes(pid: int) -> int:
    """Memory of the process tree that is in RAM now."""
    pages = (Path(f"/proc/{each}/statm").read_text().split()[1] for each in process_tree(pid))
    return sum(map(int, pages)) * PAGE


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])
