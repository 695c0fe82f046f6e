"""Charts of throughput and latency over time: the repetitions of a load, one after the other."""

from __future__ import annotations

from functools import partial

from msgspec import Struct

from ..document import Document, Named, Run
from ..summary import LATENCY
from .charts import Card, View, facts
from .svg import Line, Scale, line_chart, linear, logarithmic
from .words import number

HEIGHT = 160


class _Panel(Struct, frozen=True):
    """A chart of each card. ``field``: of a slice."""

    modes: tuple[str, ...]
    field: str
    title: str

    def values(self, run: Run) -> list[float]:
        if run.mode not in self.modes or run.refused:
            return []
        return [getattr(part, self.field) for part in run.slices]


STEADY = (*LATENCY, "half")
PANELS = (
    _Panel(("closed",), "rate", "responses/s at most"),
    _Panel(STEADY, "rate", "responses/s"),
    _Panel(STEADY, "p99", "p99, ms"),
)


def timed(document: Document) -> list[str]:
    """Candidates that have such a chart."""
    return [run.candidate for run in document.runs if any(each.values(run) for each in PANELS)]


def over_time(view: View) -> list[Card]:
    return [
        Card(scenario.name, scenario.title, facts(view, scenario), charts)
        for scenario in view.document.scenarios
        if (charts := [chart for panel in PANELS if (chart := _chart(view, scenario, panel))])
    ]


def _chart(view: View, scenario: Named, panel: _Panel) -> str:
    """Empty when nothing was recorded. All charts of a panel have the same scales."""
    document, titles = view.document, view.titles
    shown = [run for run in document.runs if run.candidate in titles and panel.values(run)]
    runs = [run for run in shown if run.scenario == scenario.name]
    values = [value for run in shown for value in panel.values(run) if value]
    if not runs or not values:
        return ""
    lines = [
        Line(
            titles[run.candidate],
            view.kinds[run.candidate],
            [
                (run.repetition + (index + 0.5) / len(run.slices), value, "")
                for index, value in enumerate(panel.values(run))
                if value or panel.field == "rate"
            ],
            has_dots=False,
        )
        for run in runs
    ]
    return line_chart(
        lines,
        partial(_repetitions, 1 + max(run.repetition for run in document.runs)),
        partial(logarithmic, min(values), max(values))
        if panel.field == "p99"
        else partial(linear, 0.0, max(values), label=number),
        f"repetitions of {max(run.seconds for run in runs):g} s",
        panel.title,
        height=HEIGHT,
    )


def _repetitions(count: int, begin: float, end: float) -> Scale:
    return Scale(
        lambda value: begin + value / count * (end - begin),
        [(each + 0.5, str(each + 1)) for each in range(count)],
    )
