"""Better or worse than an earlier run? Only what is beyond the noise of both counts. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import Struct

from .document import Document
from .summary import Cell, Spread, cells, floors_of

WORTH_MENTIONING = {"cpu": 0.05, "rate": 0.05, "p50": 0.15, "p99": 0.25, "start": 0.25}
"""The least change of a median that is told, as a part of it; percentiles are noisier than CPU."""

SMALLEST = {"p50": 0.2, "p99": 1.0, "start": 0.05}
"""Nor is a change of less than so many ms (of the start: s), whatever part it is."""

RATES_ALIKE = 0.25
"""Part by which rates of an open loop may differ where its latencies are compared."""


class Change(Struct, frozen=True):
    """``metric`` of a cell; ``ratio``: new by old, of the floor's where there is one."""

    scenario: str
    candidate: str
    metric: str
    old: float
    new: float
    ratio: float
    is_worse: bool

    def __str__(self) -> str:
        word = "worse" if self.is_worse else "better"
        return (
            f"{self.scenario} {self.candidate}: {self.metric} {self.old:.4g} -> {self.new:.4g} "
            f"({self.ratio - 1:+.0%}, {word})"
        )


def changes(old: Document, new: Document) -> list[Change]:
    """Every change beyond the noise, of cells that both have."""
    before = {(cell.scenario, cell.candidate): cell for cell in cells(old)}
    after = {(cell.scenario, cell.candidate): cell for cell in cells(new)}
    floors = floors_of(new)
    return [
        change
        for (scenario, candidate), cell in after.items()
        if (scenario, candidate) in before and floors[scenario, candidate]
        for change in _of_cell(
            before[scenario, candidate],
            cell,
            before.get((scenario, floors[scenario, candidate])),
            after.get((scenario, floors[scenario, candidate])),
        )
    ]


def regressions(found: Sequence[Change]) -> list[Change]:
    return [change for change in found if change.is_worse]


def _of_cell(
    old: Cell, new: Cell, old_floor: Cell | None, new_floor: Cell | None
) -> Iterator[Change]:
    """Of a dropped connection messages may come twice: what was answered and could not be
    acknowledged any more."""
    for metric in WORTH_MENTIONING:
        earlier, later = _spread(old, metric), _spread(new, metric)
        if earlier is None or later is None:
            continue
        if metric in ("p50", "p99") and not _is_alike(old.offered, new.offered):
            continue
        scale = 1.0
        if metric in ("cpu", "rate") and old_floor is not None and new_floor is not None:
            scale = _machine(_spread(old_floor, metric), _spread(new_floor, metric))
        change = _change(old, metric, earlier, later, scale)
        if change is not None:
            yield change
    for metric in ("lost",) if new.gap else ("lost", "duplicated"):
        earlier_count, later_count = _messages(old, metric), _messages(new, metric)
        if later_count != earlier_count:
            yield Change(
                new.scenario,
                new.candidate,
                metric,
                earlier_count,
                later_count,
                later_count / earlier_count if earlier_count else float("inf"),
                later_count > earlier_count,
            )


def _is_alike(old: float, new: float) -> bool:
    """Latencies at other rates are of other loads."""
    return abs(new - old) <= RATES_ALIKE * old


def _spread(cell: Cell, metric: str) -> Spread | None:
    if metric in ("p50", "p99"):
        found: Spread | None = getattr(cell.latency, metric) if cell.latency else None
    else:
        found = getattr(cell, metric)
    return found


def _messages(cell: Cell, metric: str) -> int:
    count: int = getattr(cell.account, metric) if cell.account else 0
    return count


def _machine(old: Spread | None, new: Spread | None) -> float:
    """How much more the floor shows now: another machine, or another load on it."""
    if old is None or new is None or not old.median:
        return 1.0
    return new.median / old.median


def _change(cell: Cell, metric: str, old: Spread, new: Spread, scale: float) -> Change | None:
    """None when the ranges overlap or the medians differ too little. ``old`` counts times
    ``scale``."""
    least, middle, most = old.least * scale, old.median * scale, old.most * scale
    overlaps = new.least <= most and least <= new.most
    difference = abs(new.median - middle)
    smallest = max(SMALLEST.get(metric, 0.0), WORTH_MENTIONING[metric] * middle)
    if overlaps or difference < smallest or not middle:
        return None
    is_more = new.median > middle
    return Change(
        cell.scenario,
        cell.candidate,
        metric,
        middle,
        new.median,
        new.median / middle,
        is_more != (metric == "rate"),
    )
