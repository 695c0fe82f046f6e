"""Two documents side by side. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from ..compare import Change, is_alike, spread_of
from ..document import Document
from ..summary import Cell, cells
from .charts import Card
from .words import NOTHING, middle

OLD, NEW = "old", "new"

METRICS = {
    "cpu_ratio": "CPU / baseline",
    "cpu": "CPU µs",
    "rate": "requests/s",
    "p50": "p50 ms",
    "p99": "p99 ms",
    "start": "first response s",
}
"""Titles of the columns."""


class Figure(Struct, frozen=True):
    """``text``: old and new. ``change``: in percent. ``kind``: CSS class."""

    text: str
    change: str
    kind: str


class Row(Struct, frozen=True):
    """``figures``: as many as there are METRICS."""

    scenario: str
    candidate: str
    figures: list[Figure]


def rows(old: Document, new: Document, found: Sequence[Change]) -> list[Row]:
    """Of each cell that both documents have."""
    before = {(cell.scenario, cell.candidate): cell for cell in cells(old)}
    kinds = {
        (each.scenario, each.candidate, each.metric): "bad" if each.is_worse else "good"
        for each in found
    }
    return [
        Row(
            cell.scenario,
            cell.candidate,
            [
                _figure(
                    metric,
                    earlier,
                    cell,
                    kinds.get((cell.scenario, cell.candidate, metric), ""),
                )
                for metric in METRICS
            ],
        )
        for cell in cells(new)
        if (earlier := before.get((cell.scenario, cell.candidate)))
    ]


def _figure(metric: str, old: Cell, new: Cell, kind: str) -> Figure:
    earlier, later = spread_of(old, metric), spread_of(new, metric)
    change = ""
    if earlier is None and later is None:
        return Figure(NOTHING, "", "")
    if earlier and later and earlier.median:
        is_comparable = metric not in ("p50", "p99") or is_alike(old.offered, new.offered)
        change = f"{later.median / earlier.median - 1:+.0%}" if is_comparable else "other rate"
    return Figure(f"{middle(earlier)} → {middle(later)}", change, kind)


def differences(old: Document, new: Document) -> list[str]:
    """What makes figures of the two runs incomparable."""
    values = {
        "the processor": (old.machine.processor, new.machine.processor),
        "the number of cores": (old.machine.cores, new.machine.cores),
        "the length of the loads": (old.seconds, new.seconds),
    }
    return [name for name, (earlier, later) in values.items() if earlier != later]


def side_by_side(old: Document, new: Document) -> Document:
    """One document with both. Each scenario that both have is in it twice, under other names: all
    charts of it have the same scales."""
    both = [_renamed(old, OLD), _renamed(new, NEW)]
    by_name = {each.name: each for document in both for each in document.scenarios}
    shared = {each.name for each in old.scenarios}
    measured = {each.name for each in new.candidates}
    return replace(
        both[1],
        repetitions=max(old.repetitions, new.repetitions),
        scenarios=[
            by_name[_name(each.name, word)]
            for each in new.scenarios
            if each.name in shared
            for word in (OLD, NEW)
        ],
        candidates=[
            *new.candidates,
            *(each for each in old.candidates if each.name not in measured),
        ],
        runs=both[0].runs + both[1].runs,
        lives=both[0].lives + both[1].lives,
        notes=[f"{word}: {note}" for word, each in ((OLD, old), (NEW, new)) for note in each.notes],
    )


def paired(cards: Sequence[Card], document: Document) -> list[Card]:
    """With an empty card beside each that has no other: documents of older versions lack some
    figures."""
    by_scenario = {card.scenario: card for card in cards}
    names = [each.name for each in document.scenarios]
    pairs = zip(names[::2], names[1::2], strict=True)
    shown = [name for pair in pairs if any(each in by_scenario for each in pair) for name in pair]
    titles = {each.name: each.title for each in document.scenarios}
    return [by_scenario.get(name) or Card(name, titles[name], [], []) for name in shown]


def _renamed(document: Document, word: str) -> Document:
    return replace(
        document,
        scenarios=[
            replace(each, name=_name(each.name, word), title=f"{each.title}: {word}")
            for each in document.scenarios
        ],
        runs=[replace(run, scenario=_name(run.scenario, word)) for run in document.runs],
        lives=[replace(life, scenario=_name(life.scenario, word)) for life in document.lives],
    )


def _name(scenario: str, word: str) -> str:
    return f"{scenario} {word}"
