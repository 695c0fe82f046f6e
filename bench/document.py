"""The JSON document with all figures of a run; docs/performance.md describes its fields.

It has each single measurement. Medians and ratios are computed from it (``summary.py``).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from msgspec import Struct, json
from msgspec.structs import replace

from .accounting import Accounting
from .load.histogram import Percentiles, percentiles
from .load.plan import Slice, StepResult
from .load.validity import LATE, LATE_FOR_GAPS, failures, refusal
from .machine import Machine

SCHEMA = 2
GATEWAY = "gateway"
"""The candidate that is the gateway on its default server."""
LIMIT = "limit"
"""The bare HTTP protocol that responds with a constant, as a candidate."""
RAW_AMQP = "raw-amqp"
"""The gateway's own AMQP client without HTTP, as a candidate."""

Mode = Literal["closed", "open", "sweep", "half", "waiting", "agents", "recovery", "direct", "k6"]


class Run(Struct, frozen=True):
    """One measurement of one candidate.

    - ``mode``: "half" is a further step of a sweep, at half of the saturation point.
    - ``rate``: responses (or messages) a second. ``offered``: requests a second that should have
      been sent; 0 for as many as possible.
    - ``statuses``: count by status; 0 for requests without a response.
    - ``latency``: milliseconds, in an open loop from the intended start. ``histogram``: all values.
    - ``cpu``, ``broker_cpu``: microseconds of all cores per request, of the candidate's process
      tree and of the broker.
    - ``resident``: bytes at the end.
    - ``lateness``: of the generator, milliseconds at p99. ``generator_cpu``: its share of a core.
    - ``longest_gap``: seconds between two successful responses.
    - ``slices``: the load over time, in parts of equal length. wrk and sweeps have none.
    - ``refused``: why this run is not counted; "" for a valid run.
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
    slices: list[Slice] = []
    refused: str = ""

    @property
    def failures(self) -> int:
        return failures(self.statuses)


def with_step(run: Run, step: StepResult, requests: int) -> Run:
    """The run with the figures of its generator. ``requests``: how many the CPU was used for."""
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
        slices=[] if run.mode == "sweep" else step.slices,
        refused=run.refused or refusal(step, LATE_FOR_GAPS if run.mode == "recovery" else LATE),
    )


_SLICES = re.compile(rb'"slices": [^"]*\]')
"""They are in one line in the file: it is three times as short."""


class Life(Struct, frozen=True):
    """A candidate's process in one repetition of a scenario.

    ``start``: seconds from the command to the first good response. ``accounting``: of the messages
    of all its runs; None for a scenario without messages. ``response_bytes``: of the body of a
    response; 0 when it is not known.
    """

    scenario: str
    candidate: str
    repetition: int
    start: float
    accounting: Accounting | None = None
    response_bytes: int = 0


class Named(Struct, frozen=True):
    """A scenario or a candidate in a report. ``baseline``: the candidate that figures are compared
    with; "" for none. The baseline of a scenario has priority over those of the candidates.
    ``is_default``: whether a scenario is measured when none is named. ``request_bytes``,
    ``message_bytes``: of the body of a request, and of a message where there is no request."""

    name: str
    title: str
    baseline: str = ""
    is_default: bool = False
    request_bytes: int = 0
    message_bytes: int = 0


class Document(Struct, frozen=True):
    """``started``: ISO 8601, UTC. ``commit``: of the source code, with "-dirty" after it when files
    were changed; "" when it is not known. ``notes``: what could not be measured."""

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
    commit: str = ""
    schema: int = SCHEMA


def write(document: Document, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.format(json.encode(document), indent=1)
    path.write_bytes(_SLICES.sub(lambda found: b"".join(found[0].split()), text))


def read(path: Path) -> Document:
    """Raises OSError, or ValueError when the file is not a document of this schema."""
    document = json.decode(path.read_bytes(), type=Document)
    if document.schema != SCHEMA:
        raise ValueError(f"{path}: expected schema {SCHEMA}, found schema {document.schema}")
    return document
