"""Compare a run with an earlier one; a difference within the noise is no change. Pure functions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import Struct

from .document import LIMIT, Document
from .summary import Cell, Spread, baselines_of, cells

WORTH_MENTIONING = {"cpu": 0.05, "rate": 0.05, "p50": 0.15, "p99": 0.25, "start": 0.25}
"""The smallest change of a median that is reported, as a part of it. Percentiles vary more than
CPU."""

SMALLEST = {"p50": 0.2, "p99": 1.0, "start": 0.05}
"""The smallest change that is reported, in ms (``start``: in seconds)."""

RATES_ALIKE = 0.25
"""Latencies of an open loop are compared only when their rates differ by at most this part."""


class Change(Struct, frozen=True):
    """``ratio``: ``new`` divided by ``old``. Where there is a baseline, ``old`` is multiplied by
    the change of the baseline."""

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
            f"{self.scenario} {self.candidate}: {self.metric} {_text(self.old)} -> "
            f"{_text(self.new)} ({self.ratio - 1:+.0%}, {word})"
        )


def _text(value: float) -> str:
    return f"{value:.4g}" if value < 1000 else f"{value:.0f}"


def changes(old: Document, new: Document) -> list[Change]:
    """Every change beyond the noise, of cells that both documents have. The limit is not ours."""
    before = {(cell.scenario, cell.candidate): cell for cell in cells(old)}
    after = {(cell.scenario, cell.candidate): cell for cell in cells(new)}
    baselines = baselines_of(new)
    return [
        change
        for (scenario, candidate), cell in after.items()
        if (scenario, candidate) in before and baselines[scenario, candidate] and candidate != LIMIT
        for change in _of_cell(
            before[scenario, candidate],
            cell,
            before.get((scenario, baselines[scenario, candidate])),
            after.get((scenario, baselines[scenario, candidate])),
        )
    ]


def regressions(found: Sequence[Change]) -> list[Change]:
    return [change for change in found if change.is_worse]


def _of_cell(
    old: Cell, new: Cell, old_baseline: Cell | None, new_baseline: Cell | None
) -> Iterator[Change]:
    """After a dropped connection a message may come twice: its response was sent, and it could not
    be acknowledged any more. So duplicates of ``recovery`` are not compared."""
    for metric in WORTH_MENTIONING:
        earlier, later = spread_of(old, metric), spread_of(new, metric)
        if earlier is None or later is None:
            continue
        if metric in ("p50", "p99") and not is_alike(old.offered, new.offered):
            continue
        scale = 1.0
        if metric in ("cpu", "rate") and old_baseline is not None and new_baseline is not None:
            scale = _machine(spread_of(old_baseline, metric), spread_of(new_baseline, metric))
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


def is_alike(old: float, new: float) -> bool:
    """Latencies at different rates cannot be compared."""
    return abs(new - old) <= RATES_ALIKE * old


def spread_of(cell: Cell, metric: str) -> Spread | None:
    if metric in ("p50", "p99"):
        found: Spread | None = getattr(cell.latency, metric) if cell.latency else None
    else:
        found = getattr(cell, metric)
    return found


def _messages(cell: Cell, metric: str) -> int:
    count: int = getattr(cell.accounting, metric) if cell.accounting else 0
    return count


def _machine(old: Spread | None, new: Spread | None) -> float:
    """The change of the baseline: its cause is not the gateway, but perhaps another machine."""
    if old is None or new is None or not old.median:
        return 1.0
    return new.median / old.median


def _change(cell: Cell, metric: str, old: Spread, new: Spread, scale: float) -> Change | None:
    """None when the ranges overlap or the medians differ too little. ``old`` is multiplied by
    ``scale``."""
    low, middle, high = old.low * scale, old.median * scale, old.high * scale
    overlaps = new.low <= high and low <= new.high
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
