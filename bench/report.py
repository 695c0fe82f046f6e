"""Figures as a table: ratios against the floor first, absolute second."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from msgspec import Struct

from .load import Load


class Result(Struct, frozen=True):
    """One measurement. ``cpu``: microseconds per request of the server's processes;
    ``resident``: bytes at its end."""

    server: str
    scenario: str
    load: Load
    cpu: float
    resident: int


HEAD = (
    f"{'server':15}{'scenario':12}{'CPU/floor':>10}{'CPU us/request':>22}"
    f"{'requests/s':>12}{'p50 ms':>8}{'p99 ms':>8}{'MiB':>6}{'failed':>8}"
)


def table(results: Sequence[Result]) -> str:
    """Medians over the repetitions; in brackets the least and the most."""
    groups: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        groups.setdefault((result.server, result.scenario), []).append(result)
    lines = [
        _line(group, _cpu(groups.get((server, "floor"), [])))
        for (server, _), group in groups.items()
    ]
    return "\n".join((HEAD, *sorted(lines, key=lambda line: line.split()[0])))


def _cpu(results: Sequence[Result]) -> float:
    return median(result.cpu for result in results) if results else 0.0


def _line(results: Sequence[Result], floor: float) -> str:
    cpus = [result.cpu for result in results]
    spread = f"{median(cpus):.1f} ({min(cpus):.1f}-{max(cpus):.1f})"
    ratio = f"{median(cpus) / floor:.2f}" if floor else "-"
    return (
        f"{results[0].server:15}{results[0].scenario:12}{ratio:>10}{spread:>22}"
        f"{median(result.load.rate for result in results):12.0f}"
        f"{median(result.load.p50 for result in results):8.2f}"
        f"{median(result.load.p99 for result in results):8.2f}"
        f"{max(result.resident for result in results) / 2**20:6.0f}"
        f"{sum(result.load.failures for result in results):8d}"
    )
