"""The result as one HTML page without scripts and without anything from the network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ..compare import Change
from ..document import LIMIT, Document
from ..summary import Cell, cells
from ..sweeps import sweeps
from .charts import bars, latencies, sweep_cards
from .words import busy, failures, messages, number, offered, refusals, times

COLOURS = 6
TILES = 6

_environment = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=StrictUndefined,
)
_environment.filters |= {
    function.__name__: function
    for function in (failures, messages, number, offered, refusals, times)
}


def page(document: Document, found: Sequence[Change] = ()) -> str:
    every = cells(document)
    kinds = colours(document)
    return _environment.get_template("page.html").render(
        document=document,
        facts=_facts(document),
        busy=busy(document.machine),
        cells=every,
        tiles=_tiles(document, every),
        refused=[cell for cell in every if cell.refused],
        changes=found,
        kinds=kinds,
        scenario_titles={each.name: each.title for each in document.scenarios},
        candidate_titles={each.name: each.title for each in document.candidates},
        bars=bars(document, every, kinds),
        latencies=latencies(document, every, kinds),
        sweeps=sweep_cards(document, kinds),
        swept=[sweep.candidate for sweep in sweeps(document)],
    )


def colours(document: Document) -> dict[str, str]:
    """CSS classes of each candidate. Baselines are grey; those of single scenarios, clients without
    HTTP, and the limit have dotted lines."""
    baselines = {each.baseline for each in document.candidates}
    measured = [each.name for each in document.candidates if each.baseline and each.name != LIMIT]
    return {
        **{name: f"c{index % COLOURS}" for index, name in enumerate(measured)},
        **{
            each.name: "baseline" if each.name in baselines else "baseline other"
            for each in document.candidates
            if each.name not in measured
        },
    }


def _facts(document: Document) -> dict[str, str]:
    machine = document.machine
    return {
        "measured": document.started.replace("T", " ").replace("+00:00", " UTC"),
        "machine": f"{machine.processor}, {machine.cores} cores, {machine.memory / 2**30:.0f} GiB",
        "load before": f"{machine.load:.2f}",
        "loads": f"{document.repetitions} × {document.seconds:g} s",
        **machine.versions,
    }


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
