"""Progress of a run: a bar with live rates in a terminal, else one line for each load."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ..candidates import Candidate
from ..document import Run
from ..load.plan import Progress as LoadProgress
from ..scenario import Scenario
from .words import number


class Bar:
    """A :class:`bench.campaign.Display`. :meth:`on_progress` receives the generator's progress."""

    def __init__(self, progress: Progress, loads: int) -> None:
        self._progress = progress
        self._task = progress.add_task("starting", total=loads, live="")
        self._last = (time.monotonic(), 0)
        self._is_terminal = progress.console.is_terminal
        self._what = ""

    def begin(self, repetition: int, scenario: Scenario, candidate: Candidate, what: str) -> None:
        self._last = (time.monotonic(), 0)
        self._what = f"{repetition + 1}: {scenario.title} · {candidate.name} · {what}"
        self._progress.update(self._task, description=self._what, live="")

    def on_progress(self, progress: LoadProgress) -> None:
        now = time.monotonic()
        since, before = self._last
        rate = (progress.responded - before) / max(1e-3, now - since)
        self._last = (now, progress.responded)
        failed = f", {progress.failed} failed" if progress.failed else ""
        self._progress.update(self._task, live=f"{number(rate)}/s{failed}")

    def end(self, run: Run) -> None:
        self._progress.advance(self._task)
        if not self._is_terminal:
            latency = f", p99 {number(run.latency.p99)} ms" if run.latency else ""
            refused = f" (not counted: {run.refused})" if run.refused else ""
            print(f"{self._what}: {number(run.rate)}/s{latency}{refused}", flush=True)


@contextmanager
def open_bar(loads: int) -> Generator[Bar]:
    console = Console()
    columns = (
        BarColumn(20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
        TextColumn("[bold]{task.fields[live]}"),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        yield Bar(progress, loads)
