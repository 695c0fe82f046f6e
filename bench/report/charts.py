"""The charts of the HTML report: their values and scales."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

from msgspec import Struct

from ..document import Document
from ..summary import Cell
from ..sweeps import Sweep, SweepPoint, sweeps
from .svg import Bar, Line, Scale, bar_chart, line_chart, linear, logarithmic
from .words import number, sweep_summary, times


class Card(Struct, frozen=True):
    """A chart with a title. ``lines``: text below the title. ``chart``: SVG; "" when there are no
    valid figures."""

    title: str
    lines: list[str]
    chart: str


def bars(document: Document, every: Sequence[Cell], kinds: dict[str, str]) -> str:
    titles = {each.name: each.title for each in document.candidates}
    groups = []
    for scenario in document.scenarios:
        shown = [
            bar
            for cell in every
            if cell.scenario == scenario.name
            and (bar := _bar(cell, titles[cell.candidate], kinds[cell.candidate]))
        ]
        if shown:
            groups.append((scenario.title, shown))
    if not groups:
        return ""
    return bar_chart(groups, "CPU per request, times the baseline", "×1: baseline")


def _bar(cell: Cell, title: str, kind: str) -> Bar | None:
    ratio = cell.cpu_ratio
    if ratio is None or cell.cpu is None:
        return None
    text = f"{times(ratio)} · {number(cell.cpu.median)} µs"
    hint = f"{title}: {text} ({number(cell.cpu.low)}–{number(cell.cpu.high)})"
    return Bar(title, kind, ratio.median, ratio.low, ratio.high, text, hint)


def latencies(document: Document, every: Sequence[Cell], kinds: dict[str, str]) -> list[Card]:
    """All charts have the same scales, so that they can be compared by eye."""
    titles = {each.name: each.title for each in document.candidates}
    shown = [cell for cell in every if cell.has_curve]
    values = [ms for cell in shown for _, ms in cell.curve if ms]
    highest = max((percentile for cell in shown for percentile, _ in cell.curve), default=0.0)
    cards = []
    for scenario in document.scenarios:
        of_scenario = [cell for cell in shown if cell.scenario == scenario.name]
        if not of_scenario:
            continue
        lines = [
            Line(
                titles[cell.candidate],
                kinds[cell.candidate],
                [(_nines(p), ms, f"p{p:g}: {number(ms)} ms") for p, ms in cell.curve],
            )
            for cell in of_scenario
        ]
        chart = line_chart(
            lines,
            partial(_percentiles, highest),
            partial(logarithmic, min(values), max(values)),
            "percentile",
            "ms",
        )
        rate = max(cell.offered for cell in of_scenario)
        cards.append(Card(scenario.title, [f"at {number(rate)}/s"], chart))
    return cards


def _nines(percentile: float) -> float:
    """0 for 0 %, 1 for 90 %, 2 for 99 %: the axis gives each further nine the same space."""
    return -math.log10(max(1e-7, 1 - percentile / 100))


def _percentiles(most: float, begin: float, end: float) -> Scale:
    last = max(_nines(most), 1.0)
    ticks = [p for p in (0, 50, 90, 99, 99.9, 99.99) if _nines(p) <= last + 1e-6]
    return Scale(
        lambda value: begin + value / last * (end - begin),
        [(_nines(p), f"{p:g}") for p in ticks],
    )


def sweep_cards(document: Document, kinds: dict[str, str]) -> list[Card]:
    """All charts have the same scale of milliseconds."""
    found = sweeps(document)
    titles = {each.name: each.title for each in document.candidates}
    values = [
        ms for sweep in found for point in _valid(sweep) for ms in (point.p50, point.p99) if ms
    ]
    return [
        Card(
            scenario.title,
            [f"{titles[sweep.candidate]} {sweep_summary(sweep)}" for sweep in of_scenario],
            _sweep_chart(of_scenario, titles, kinds, values),
        )
        for scenario in document.scenarios
        if (of_scenario := [sweep for sweep in found if sweep.scenario == scenario.name])
    ]


def _valid(sweep: Sweep) -> list[SweepPoint]:
    return [point for point in sweep.points if point.is_valid and point.p99]


def _sweep_chart(
    found: Sequence[Sweep],
    titles: dict[str, str],
    kinds: dict[str, str],
    values: Sequence[float],
) -> str:
    lines, marks = [], []
    for sweep in found:
        title, kind = titles[sweep.candidate], kinds[sweep.candidate]
        for name, suffix in (("p50", " second"), ("p99", "")):
            points = [
                (
                    point.offered,
                    getattr(point, name),
                    f"{name} {number(getattr(point, name))} ms at {number(point.offered)}/s",
                )
                for point in _valid(sweep)
            ]
            lines.append(Line(title, kind + suffix, points))
        if sweep.saturation_point and "baseline" not in kind:
            marks.append((sweep.saturation_point, number(sweep.saturation_point)))
    rates = [rate for line in lines for rate, _, _ in line.points]
    if not rates:
        return ""
    return line_chart(
        lines,
        partial(linear, 0.0, max(rates), label=number),
        partial(logarithmic, min(values), max(values)),
        "requests offered a second",
        "ms",
        marks=marks,
    )
