"""The charts of the HTML report: their values and scales. Charts of one kind share their scales, so
that panels side by side can be compared by eye."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

from msgspec import Struct

from ..document import Document, Named
from ..summary import Cell
from ..sweeps import Sweep, SweepPoint, sweeps
from .svg import Line, Scale, line_chart, linear, logarithmic
from .words import counts, number, sizes, sweep_summary, times


class View(Struct, frozen=True):
    """What a page shows. ``kinds``: CSS classes by candidate."""

    document: Document
    cells: list[Cell]
    kinds: dict[str, str]

    @property
    def titles(self) -> dict[str, str]:
        """By candidate."""
        return {each.name: each.title for each in self.document.candidates}


class Card(Struct, frozen=True):
    """A panel. ``lines``: text below the title. ``charts``: SVG; empty when there are no valid
    figures."""

    scenario: str
    title: str
    lines: list[str]
    charts: list[str]


class Bar(Struct, frozen=True):
    """``value``, ``low``, ``high``: percent of the width; the last two are the whisker. ``text``:
    after the bar. ``hint``: the tooltip."""

    kind: str
    value: float
    low: float
    high: float
    text: str
    hint: str


class BarGroup(Struct, frozen=True):
    title: str
    line: str
    bars: list[Bar]


class BarChart(Struct, frozen=True):
    """``one``: where the baseline is, percent of the width."""

    groups: list[BarGroup]
    one: float


def bars(view: View) -> BarChart:
    """CPU per request, times the baseline."""
    shown = [cell for cell in view.cells if cell.cpu_ratio is not None]
    most = max((cell.cpu_ratio.high for cell in shown if cell.cpu_ratio), default=1.0)
    groups = []
    for scenario in view.document.scenarios:
        of_scenario = [cell for cell in shown if cell.scenario == scenario.name]
        if of_scenario:
            counted = counts(cell.requests for cell in of_scenario)
            groups.append(
                BarGroup(
                    scenario.title,
                    _joined(counted, sizes(view.document, scenario)),
                    [bar for cell in of_scenario if (bar := _bar(view, cell, most))],
                )
            )
    return BarChart(groups, 100 / most)


def _bar(view: View, cell: Cell, most: float) -> Bar | None:
    ratio, cpu = cell.cpu_ratio, cell.cpu
    if ratio is None or cpu is None:
        return None
    text = f"{times(ratio)} · {number(cpu.median)} µs"
    hint = f"{view.titles[cell.candidate]}: {text} ({number(cpu.low)}–{number(cpu.high)})"
    low, value, high = (100 * each / most for each in (ratio.low, ratio.median, ratio.high))
    return Bar(view.kinds[cell.candidate], value, low, high, text, hint)


def latencies(view: View) -> list[Card]:
    """Latency by percentile, at a fixed rate."""
    shown = [cell for cell in view.cells if cell.has_curve]
    values = [ms for cell in shown for _, ms in cell.curve if ms]
    highest = max((percentile for cell in shown for percentile, _ in cell.curve), default=0.0)
    cards = []
    for scenario in view.document.scenarios:
        of_scenario = [cell for cell in shown if cell.scenario == scenario.name]
        if not of_scenario:
            continue
        lines = [
            Line(
                view.titles[cell.candidate],
                view.kinds[cell.candidate],
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
        cards.append(Card(scenario.name, scenario.title, facts(view, scenario), [chart]))
    return cards


def facts(view: View, scenario: Named) -> list[str]:
    """Rate, counts and sizes of the loads at a fixed rate."""
    found = [each for each in view.cells if each.scenario == scenario.name and each.steady_requests]
    if not found:
        return [sizes(view.document, scenario)]
    rate = f"at {number(max(cell.offered for cell in found))}/s"
    counted = counts(cell.steady_requests for cell in found)
    return [_joined(rate, counted), sizes(view.document, scenario)]


def _joined(*parts: str) -> str:
    return " · ".join(filter(None, parts))


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


def sweep_cards(view: View) -> list[Card]:
    """Latency by rate."""
    found = sweeps(view.document)
    points = [point for sweep in found for point in _valid(sweep)]
    return [
        Card(
            scenario.name,
            scenario.title,
            [
                *(f"{view.titles[each.candidate]}: {sweep_summary(each)}" for each in of_scenario),
                _joined(
                    counts(each.requests for each in of_scenario), sizes(view.document, scenario)
                ),
            ],
            _sweep_charts(view, of_scenario, points),
        )
        for scenario in view.document.scenarios
        if (of_scenario := [sweep for sweep in found if sweep.scenario == scenario.name])
    ]


def _valid(sweep: Sweep) -> list[SweepPoint]:
    return [point for point in sweep.points if point.is_valid and point.p99]


def _sweep_charts(view: View, found: Sequence[Sweep], every: Sequence[SweepPoint]) -> list[str]:
    """``every``: the points of all panels."""
    lines, marks = [], []
    for sweep in found:
        title, kind = view.titles[sweep.candidate], view.kinds[sweep.candidate]
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
    if not any(line.points for line in lines):
        return []
    values = [ms for point in every for ms in (point.p50, point.p99) if ms]
    return [
        line_chart(
            lines,
            partial(linear, 0.0, max(point.offered for point in every), label=number),
            partial(logarithmic, min(values), max(values)),
            "requests offered a second",
            "ms",
            marks=marks,
        )
    ]
