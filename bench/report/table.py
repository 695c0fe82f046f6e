"""The result as tables in the terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Console
from rich.table import Table

from ..compare import Change
from ..document import Document
from ..summary import Cell, cells
from ..sweeps import Sweep, sweeps
from .words import (
    NOT_COUNTED,
    NOTHING,
    busy,
    failures,
    messages,
    middle,
    number,
    offered,
    refusals,
    sweep_summary,
    times,
    with_range,
)

WIDTH = 140
"""Characters of a line when the output is not a terminal."""

COSTS = (
    "CPU/baseline",
    "CPU µs/request",
    "requests/s",
    "broker CPU µs",
    "RSS MiB",
    "failed",
    "lost/duplicated",
)
TIMES = (
    "p99/baseline",
    "CPU/baseline",
    "CPU µs",
    "rate /s",
    "p50 ms",
    "p90",
    "p99",
    "p99.9",
    "max",
)


def show(document: Document, found: Sequence[Change] = ()) -> None:
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    console.print(_table(document, COSTS, _costs))
    console.print()
    if any(cell.latency is not None for cell in cells(document)):
        console.print(_table(document, TIMES, _times))
    for sweep in sweeps(document):
        console.print(
            f"\n{sweep.scenario}, {sweep.candidate}: {sweep_summary(sweep)}", markup=False
        )
        console.print(_sweep_table(sweep))
    for run in document.runs:
        if run.mode == "k6" and run.latency is not None:
            console.print(
                f"k6: {run.scenario}, {run.candidate} at {number(run.offered)}/s: "
                f"p50 {number(run.latency.p50)}, p99 {number(run.latency.p99)} ms {run.refused}"
            )
    for cell in cells(document):
        if cell.refused:
            console.print(f"[yellow]not counted:[/] {cell.scenario}, {cell.candidate}: ", end="")
            console.print(refusals(cell), markup=False)
    for note in filter(None, [busy(document.machine), *document.notes]):
        console.print(note, markup=False)
    for change in found:
        console.print(str(change), style="red" if change.is_worse else "green", markup=False)


def _table(document: Document, heads: Sequence[str], columns: Callable[[Cell], list[str]]) -> Table:
    """One row for each cell for which ``columns`` has a value."""
    titles = {candidate.name: candidate.title for candidate in document.candidates}
    table = Table(box=None, pad_edge=False, header_style="bold", title_justify="left")
    table.add_column("scenario", no_wrap=True)
    table.add_column("candidate", no_wrap=True)
    for head in heads:
        table.add_column(head, justify="right", no_wrap=True)
    last = ""
    for cell in cells(document):
        values = columns(cell)
        if all(value == NOTHING for value in values):
            continue
        if last and cell.scenario != last:
            table.add_row()
        name = cell.scenario if cell.scenario != last else ""
        table.add_row(name, titles[cell.candidate], *values)
        last = cell.scenario
    return table


def _costs(cell: Cell) -> list[str]:
    accounting = messages(cell.accounting)
    return [
        times(cell.cpu_ratio),
        with_range(cell.cpu),
        with_range(cell.rate),
        middle(cell.broker_cpu),
        f"{cell.resident / 2**20:.0f}" if cell.resident else NOTHING,
        failures(cell),
        accounting
        if cell.accounting is None or cell.accounting.is_clean
        else f"[red]{accounting}[/]",
    ]


def _times(cell: Cell) -> list[str]:
    latency = cell.latency
    if latency is None:
        return [NOTHING] * len(TIMES)
    return [
        times(cell.p99_ratio),
        times(cell.steady_cpu_ratio),
        middle(cell.steady_cpu),
        offered(cell),
        middle(latency.p50),
        middle(latency.p90),
        with_range(latency.p99),
        middle(latency.p999),
        middle(latency.max) + (f" (gap {middle(cell.gap)} s)" if cell.gap else ""),
    ]


def _sweep_table(sweep: Sweep) -> Table:
    table = Table(box=None)
    for head in ("offered/s", "achieved/s", "p50 ms", "p99", "p99.9", ""):
        table.add_column(head, justify="right")
    for point in sweep.points:
        table.add_row(
            number(point.offered),
            number(point.achieved),
            number(point.p50),
            number(point.p99),
            number(point.p999),
            "" if point.is_valid else NOT_COUNTED,
        )
    return table
