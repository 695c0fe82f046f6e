"""The figures of a run as a document: docs/performance.md describes it for machines.

Runs are raw; what is said about several of them is computed (``summary.py``).
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from msgspec import Struct, json
from msgspec.structs import replace

from .account import Account
from .load.histogram import Percentiles, percentiles
from .load.plan import StepResult
from .load.validity import LATE, LATE_FOR_GAPS, failures, refusal
from .machine import Machine

SCHEMA = 1
GATEWAY = "gateway"
"""The candidate that is the gateway on its default server."""
TAP = "tap"
"""The candidate that is the gateway's own client of the broker, without HTTP."""

Mode = Literal["closed", "open", "sweep", "half", "waiting", "agents", "recovery", "direct", "k6"]


class Run(Struct, frozen=True):
    """One measurement of one candidate.

    ``mode``: "half" is a further step of a sweep, at half of its knee. ``rate``: answers (or
    messages) a second; ``offered``: what was asked for, 0 for as many as
    there can be. ``statuses``: 0 is for no answer. ``latency``: milliseconds; of the open loop
    they count from the intended start; ``histogram``: the same, every value. ``cpu`` and
    ``broker_cpu``: microseconds of all cores per request, of the candidate's process tree and of
    the broker.
    ``resident``: bytes at the end. ``lateness``: of the generator, milliseconds at p99;
    ``generator_cpu``: its share of a core. ``refused``: why these figures are not the
    candidate's; "" for a valid run. ``longest_gap``: seconds between two successes.
    """

    scenario: str
    candidate: str
    repetition: int
    mode: Mode
    tool: str
    seconds: float
    requests: int
    rate: float
    offered: float = 0.0
    statuses: dict[int, int] = {}
    latency: Percentiles | None = None
    histogram: str = ""
    cpu: float = 0.0
    broker_cpu: float | None = None
    resident: int = 0
    lateness: float = 0.0
    generator_cpu: float = 0.0
    longest_gap: float = 0.0
    refused: str = ""

    @property
    def failures(self) -> int:
        return failures(self.statuses)


def with_step(run: Run, step: StepResult, requests: int) -> Run:
    """A run with what its generator has told. ``requests``: what its CPU went into."""
    lateness = percentiles(step.lateness)
    per_request = max(1, run.rate * run.seconds) / max(1, requests)
    return replace(
        run,
        offered=step.offered,
        latency=percentiles(step.latency),
        histogram=step.latency,
        cpu=run.cpu * per_request,
        broker_cpu=None if run.broker_cpu is None else run.broker_cpu * per_request,
        lateness=lateness.p99 if lateness is not None else 0.0,
        generator_cpu=step.cpu_share,
        longest_gap=step.longest_gap,
        refused=run.refused or refusal(step, LATE_FOR_GAPS if run.mode == "recovery" else LATE),
    )


class Life(Struct, frozen=True):
    """A candidate's process in one repetition of a scenario.

    ``start``: seconds from the command to the first good answer. ``account``: every message of
    all its runs; None where there are none.
    """

    scenario: str
    candidate: str
    repetition: int
    start: float
    account: Account | None = None


class Named(Struct, frozen=True):
    """What a report says about a scenario or a candidate. ``floor``: the candidate that it is
    compared with; "" for none. That of a scenario comes before those of its candidates.
    ``is_default``: a scenario that is run when none is named."""

    name: str
    title: str
    floor: str = ""
    is_default: bool = False


class Document(Struct, frozen=True):
    """``started``: ISO 8601, UTC. ``notes``: what the reader should know about this run."""

    started: str
    version: str
    command: list[str]
    machine: Machine
    seconds: float
    repetitions: int
    scenarios: list[Named]
    candidates: list[Named]
    runs: list[Run]
    lives: list[Life]
    notes: list[str] = []
    schema: int = SCHEMA


def write(document: Document, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(json.format(json.encode(document), indent=1))


def read(path: Path) -> Document:
    """Raises OSError, or ValueError when it is no such document."""
    document = json.decode(path.read_bytes(), type=Document)
    if document.schema != SCHEMA:
        raise ValueError(f"{path}: schema {document.schema}, this is for {SCHEMA}")
    return document
