"""Metrics of the process and of Python, read when an exporter reads.

Those of the process have the names of Prometheus' clients. Linux has all of them in ``/proc``;
other systems have those of :mod:`resource`. KrakenD's metrics of Go have no counterpart: in their
place are those of Python, under the names of Prometheus' client for Python.
"""

from __future__ import annotations

import gc
import os
import platform
import resource
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ...telemetry.metrics import Collect, Family, Registry, Value

PROCESS, PYTHON = "process_", "python_"
"""How the names begin."""

PROC = Path("/proc")

NO_LIMIT = float(2**64 - 1)
"""How Prometheus' clients report a limit that is not set."""


def add_process_metrics(registry: Registry, proc: Path = PROC) -> None:
    """``proc``: where Linux has its files about processes."""
    text = "Total user and system CPU time spent in seconds."
    cpu = registry.family(Family("process_cpu_seconds_total", "counter", help=text)).value({})
    max_files = _gauge(registry, "process_max_fds", "Maximum number of open file descriptors.")
    max_memory = _gauge(
        registry,
        "process_virtual_memory_max_bytes",
        "Maximum amount of virtual memory available in bytes.",
    )

    def collect() -> None:
        used = resource.getrusage(resource.RUSAGE_SELF)
        cpu.value = round(used.ru_utime + used.ru_stime, 6)
        max_files.value = _limit(resource.RLIMIT_NOFILE)
        max_memory.value = _limit(resource.RLIMIT_AS)

    registry.collectors.append(collect)
    # A container may hide some of these files, or give them without all their lines.
    for add in (_add_linux, _add_start_time, _add_network):
        with suppress(OSError, ValueError, LookupError):
            registry.collectors.append(_unless_unreadable(add(registry, proc)))


def _limit(which: int) -> float:
    limit, _ = resource.getrlimit(which)
    return NO_LIMIT if limit == resource.RLIM_INFINITY else limit


def _add_linux(registry: Registry, proc: Path) -> Collect:
    own = proc / "self"
    _stat(own)
    files = _gauge(registry, "process_open_fds", "Number of open file descriptors.")
    resident = _gauge(registry, "process_resident_memory_bytes", "Resident memory size in bytes.")
    virtual = _gauge(registry, "process_virtual_memory_bytes", "Virtual memory size in bytes.")
    page = os.sysconf("SC_PAGE_SIZE")

    def collect() -> None:
        _, virtual.value, pages = _stat(own)
        resident.value = pages * page
        files.value = _open_files(own / "fd")

    return collect


def _add_start_time(registry: Registry, proc: Path) -> Collect:
    ticks, _, _ = _stat(proc / "self")
    started_at = _boot_time(proc) + ticks / os.sysconf("SC_CLK_TCK")
    text = "Start time of the process since unix epoch in seconds."
    started = _gauge(registry, "process_start_time_seconds", text)

    def collect() -> None:
        started.value = started_at

    return collect


def _stat(own: Path) -> tuple[int, int, int]:
    """Ticks from the start of the system to that of the process, its virtual memory in bytes, its
    resident memory in pages: fields 22 to 24 of proc(5)."""
    # After the name of the command, which may have blanks: then comes field 3.
    fields = (own / "stat").read_bytes().rpartition(b")")[2].split()
    ticks, virtual, pages = map(int, fields[19:22])
    return ticks, virtual, pages


def _add_network(registry: Registry, proc: Path) -> Collect:
    path = proc / "self/net/netstat"
    _octets(path)
    received = _octet_counter(registry, "receive", "received")
    sent = _octet_counter(registry, "transmit", "sent")

    def collect() -> None:
        received.value, sent.value = _octets(path)

    return collect


def _octet_counter(registry: Registry, direction: str, verb: str) -> Value:
    """Linux counts for all processes of a container together, so workers are not added up."""
    name = f"process_network_{direction}_bytes_total"
    text = f"Number of bytes {verb} by the process over the network."
    return registry.family(Family(name, "counter", help=text, across="max")).value({})


def _unless_unreadable(collect: Collect) -> Collect:
    """The old values stay if no file can be opened, because the process has too many."""

    def collect_if_readable() -> None:
        with suppress(OSError):
            collect()

    return collect_if_readable


def _boot_time(proc: Path) -> int:
    """In seconds since 1970."""
    lines = (proc / "stat").read_bytes().splitlines()
    [line] = [each for each in lines if each.startswith(b"btime ")]
    return int(line.split()[1])


def _open_files(folder: Path) -> int:
    # Since Linux 6.2 the size is the number of files. Listing 10,000 files takes milliseconds.
    return folder.stat().st_size or sum(1 for _ in folder.iterdir())


def _octets(path: Path) -> tuple[int, int]:
    """Bytes received and sent: two of the counters of ``IpExt``, which has a line with names, and a
    line with values."""
    lines = [line.split() for line in path.read_bytes().splitlines() if line.startswith(b"IpExt:")]
    names, values = lines
    counters = dict(zip(names[1:], map(int, values[1:]), strict=True))
    return counters[b"InOctets"], counters[b"OutOctets"]


def add_python_metrics(registry: Registry) -> None:
    major, minor, patch = platform.python_version_tuple()
    labels = {
        "implementation": platform.python_implementation(),
        "version": platform.python_version(),
        "major": major,
        "minor": minor,
        "patchlevel": patch,
    }
    info = Family("python_info", "gauge", help="Python platform information", across="max")
    registry.family(info).value(labels).value = 1
    generations = [
        [*_of_generation(registry, str(number))] for number in range(len(gc.get_stats()))
    ]

    def collect() -> None:
        for values, stats in zip(generations, gc.get_stats(), strict=True):
            for key, value in values:
                value.value = stats[key]

    registry.collectors.append(collect)


def _of_generation(registry: Registry, number: str) -> Iterator[tuple[str, Value]]:
    """Keys of :func:`gc.get_stats`, and where their values are shown."""
    for key, name, text in GC_COUNTERS:
        family = registry.family(Family(f"python_gc_{name}_total", "counter", help=text))
        yield key, family.value({"generation": number})


GC_COUNTERS = (
    ("collections", "collections", "Number of times this generation was collected"),
    ("collected", "objects_collected", "Objects collected during gc"),
    ("uncollectable", "objects_uncollectable", "Uncollectable objects found during GC"),
)


def _gauge(registry: Registry, name: str, text: str) -> Value:
    return registry.family(Family(name, "gauge", help=text)).value({})
