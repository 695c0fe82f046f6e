"""Results as HTML pages without scripts and without anything from the network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ..compare import Change
from ..document import LIMIT, Document
from ..summary import Cell, cells
from ..sweeps import sweeps
from .charts import View, bars, latencies, sweep_cards
from .comparison import METRICS, differences, paired, rows, side_by_side
from .over_time import over_time, timed
from .words import busy, messages, number, offered, refusals, statuses, times, whole

COLOURS = 6
TILES = 6


def page(document: Document) -> str:
    """Of one document."""
    values = _values(document)
    return _rendered("page.html", values | {"tiles": _tiles(document, values["cells"])})


def comparison(old: Document, new: Document, found: Sequence[Change]) -> str:
    """Of two documents. ``found``: their differences."""
    both = side_by_side(old, new)
    values = _values(both)
    values |= {each: paired(values[each], both) for each in ("latencies", "over_time", "sweeps")}
    titles = {each.name: each.title for each in new.scenarios}
    return _rendered(
        "comparison.html",
        values
        | {
            "old": old,
            "new": new,
            "changes": found,
            "differences": differences(old, new),
            "metrics": list(METRICS.values()),
            "rows": rows(old, new, found),
            "scenario_titles": titles | values["scenario_titles"],
        },
    )


def _values(document: Document) -> dict[str, Any]:
    """What both templates need."""
    every = cells(document)
    view = View(document, every, colours(document))
    return {
        "document": document,
        "cells": every,
        "kinds": view.kinds,
        "scenario_titles": {each.name: each.title for each in document.scenarios},
        "candidate_titles": view.titles,
        "refused": [cell for cell in every if cell.refused],
        "bars": bars(view),
        "latencies": latencies(view),
        "over_time": over_time(view),
        "timed": timed(document),
        "sweeps": sweep_cards(view),
        "swept": [sweep.candidate for sweep in sweeps(document)],
        "statuses": statuses(every),
    }


def colours(document: Document) -> dict[str, str]:
    """CSS classes of each candidate. Baselines are grey; those of single scenarios, and clients
    without HTTP, have dotted lines."""
    baselines = {each.baseline for each in document.candidates}
    measured = [each.name for each in document.candidates if each.baseline and each.name != LIMIT]
    kinds = {name: f"c{index % COLOURS}" for index, name in enumerate(measured)}
    for each in document.candidates:
        is_general = each.name in baselines
        kinds.setdefault(each.name, "baseline" if is_general else "baseline other")
    return {**kinds, LIMIT: "baseline limit"}


def run_facts(document: Document) -> dict[str, str]:
    machine = document.machine
    return {
        "measured": document.started.replace("T", " ").replace("+00:00", " UTC"),
        **({"commit": document.commit} if document.commit else {}),
        "machine": f"{machine.processor}, {machine.cores} cores, {machine.memory / 2**30:.0f} GiB",
        "load before": f"{machine.load:.2f}",
        "loads": f"{document.repetitions} × {document.seconds:g} s",
        **machine.versions,
    }


def status_name(status: int) -> str:
    return str(status) if status else "none"


def _tiles(document: Document, every: Sequence[Cell]) -> list[Cell]:
    """Cells of the gateway. Default scenarios come first, and among them those with messages."""
    scenarios = {each.name: each for each in document.scenarios if not each.baseline}
    own = next((each.name for each in document.candidates if each.baseline), "")
    shown = [
        cell
        for cell in every
        if cell.candidate == own and cell.cpu_ratio is not None and cell.scenario in scenarios
    ]
    return sorted(
        shown,
        key=lambda cell: (not scenarios[cell.scenario].is_default, cell.accounting is None),
    )[:TILES]


_environment = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=StrictUndefined,
)
_environment.filters |= {
    function.__name__: function
    for function in (
        busy,
        messages,
        number,
        offered,
        refusals,
        run_facts,
        status_name,
        times,
        whole,
    )
}


def _rendered(template: str, values: dict[str, Any]) -> str:
    return _environment.get_template(template).render(values)
