"""A whole run: each repetition measures each scenario, while all its candidates are running.

Figures that are compared with each other are therefore measured within seconds, and a machine that
becomes slower or faster affects all candidates alike.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from .candidates import Candidate, running
from .document import GATEWAY, Life, Run
from .load.own import LoadError
from .load.plan import Step
from .profile import recorded
from .queues import Stock
from .scenario import Scenario
from .session import Session, Tools
from .sweeps import point_of, saturation_point_of
from .without_http import clients_without_http

PART = 1 / 3
"""The rate of the open loop, as a part of the slowest candidate's maximum throughput. Requests that
come one by one cost more than bursts, so an open loop cannot reach the maximum throughput."""

SWEEP = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1)
"""Rates of a sweep, as parts of the candidate's maximum throughput."""

HALF_TIMES = 3
"""The load at half of the saturation point is this many times as long: in one second a single stall
decides the p99."""

RECOVERY_TIME = 6.0
PROFILE_TIME = 5.0


PROBLEMS = (RuntimeError, LoadError, OSError, subprocess.CalledProcessError)
"""Errors of a session when a process does not start or exits."""


class Options(Struct, frozen=True):
    """``rate``: of the open loop; 0: a third of the slowest candidate's maximum throughput."""

    seconds: float
    warm_up: float
    repetitions: int
    rate: float = 0.0
    is_sweep: bool = False
    uses_k6: bool = False
    has_direct: bool = True
    profile: Path | None = None

    @property
    def half_seconds(self) -> float:
        return HALF_TIMES * self.seconds


class Display(Protocol):
    """Shows the progress of a run."""

    def begin(self, repetition: int, scenario: Scenario, candidate: Candidate, what: str) -> None:
        """A load starts."""

    def end(self, run: Run) -> None:
        """The load is over."""


class Campaign:
    """``runs`` and ``lives`` grow during the run; after an interruption they have all that was
    complete. ``problems``: what could not be measured; the run continues after each.
    """

    def __init__(
        self,
        scenarios: Sequence[Scenario],
        candidates: Sequence[Candidate],
        urls: dict[str, str],
        tools: Tools,
        options: Options,
        display: Display,
    ) -> None:
        """``urls``: URLs of the broker by candidate; each has its own virtual host."""
        self.runs: list[Run] = []
        self.lives: list[Life] = []
        self.problems: list[str] = []
        self._scenarios = scenarios
        self._candidates = candidates
        self._urls = urls
        self._tools = tools
        self._options = options
        self._display = display
        self._rates: dict[str, float] = {}

    def run(self) -> None:
        for repetition in range(self._options.repetitions):
            for scenario in self._scenarios:
                self._visit(repetition, scenario)
                if self._options.has_direct:
                    self._measure_direct(repetition, scenario)

    def _visit(self, repetition: int, scenario: Scenario) -> None:
        """Measure one repetition of one scenario."""
        candidates = [each for each in self._candidates if each.takes_part(scenario)]
        try:
            with ExitStack() as stack:
                sessions = list(self._sessions(repetition, scenario, candidates, stack))
                sessions = rotated(sessions, repetition)
                if scenario.kind == "requests" and sessions:
                    self._load_requests(scenario, sessions)
                else:
                    for session in sessions:
                        self._load_otherwise(session)
        except PROBLEMS as error:
            self.problems.append(f"{scenario.name} failed: {error}")

    def _sessions(
        self,
        repetition: int,
        scenario: Scenario,
        candidates: Sequence[Candidate],
        stack: ExitStack,
    ) -> Iterator[Session]:
        """One for each candidate that starts."""
        for candidate in candidates:
            try:
                yield stack.enter_context(self._session(repetition, scenario, candidate))
            except PROBLEMS as error:
                self.problems.append(f"{scenario.name}, {candidate.name}: {error}")

    @contextmanager
    def _session(
        self, repetition: int, scenario: Scenario, candidate: Candidate
    ) -> Generator[Session]:
        url = self._urls[candidate.name]
        stock = None
        if scenario.uses_broker and (candidate.is_gateway or scenario.kind != "requests"):
            stock = Stock(scenario, url)
            stock.set_up()
            if scenario.kind != "agents":
                stock.top_up(100)
        self._display.begin(repetition, scenario, candidate, "start")
        http = self._tools.backend.url
        with running(candidate, scenario, url, http, self._tools.folder) as process:
            session = Session(scenario, candidate, repetition, stock, process, self._tools)
            yield session
        self.lives.append(
            Life(
                scenario.name,
                candidate.name,
                repetition,
                process.start,
                session.accounting(),
                process.response_bytes,
            )
        )

    def _load_requests(self, scenario: Scenario, sessions: Sequence[Session]) -> None:
        options = self._options
        for session in sessions:
            self._begin(session, "warm-up")
            session.warm_up(options.warm_up)
            self._begin(session, "closed loop")
            self._note_valid(partial(session.saturate, options.seconds))
        if options.is_sweep:
            for session in sessions:
                self._sweep(session)
            return
        rate = self._rate(scenario, sessions)
        for session in sessions:
            self._begin(session, f"open loop, {rate:.0f}/s")
            self._note_valid(partial(session.offer, rate, options.seconds, warm_up=options.warm_up))
        if options.uses_k6:
            for session in sessions:
                self._begin(session, f"k6, {rate:.0f}/s")
                self._note(session.offer_with_k6(rate, max(1.0, options.seconds)))
        if options.profile is not None and not sessions[0].repetition:
            for session in sessions:
                if session.candidate.is_gateway:
                    self._profile(session, options.profile)

    def _note_valid(self, load: Callable[[], Run]) -> None:
        """A run that is refused is repeated once."""
        run = load()
        self._note(load() if run.refused else run)

    def _rate(self, scenario: Scenario, sessions: Sequence[Session]) -> float:
        """The same for all candidates and repetitions."""
        if scenario.name not in self._rates:
            slowest = min(session.rate for session in sessions)
            self._rates[scenario.name] = self._options.rate or scenario.rate or PART * slowest
        return max(1.0, self._rates[scenario.name])

    def _sweep(self, session: Session) -> None:
        self._begin(session, "sweep")
        steps = [Step(part * session.rate, self._options.seconds) for part in SWEEP]
        runs = session.offer_steps(steps, "sweep")
        for run in runs:
            self._note(run)
        saturation_point = saturation_point_of([point_of([run]) for run in runs])
        if saturation_point is not None:
            if session.candidate.name == GATEWAY:
                self._rates[session.scenario.name] = saturation_point / 2
            self._begin(session, f"half of the saturation point, {saturation_point / 2:.0f}/s")
            seconds = self._options.half_seconds
            self._note_valid(
                partial(session.offer, saturation_point / 2, seconds, "half", self._options.warm_up)
            )

    def _load_otherwise(self, session: Session) -> None:
        scenario, seconds = session.scenario, self._options.seconds
        rate = self._options.rate or scenario.rate
        self._begin(session, scenario.kind)
        if scenario.kind == "waiting":
            session.wait_for_messages(rate, self._options.warm_up)
            self._note(session.wait_for_messages(rate, max(1.0, seconds)))
        elif scenario.kind == "agents":
            self._note(session.empty_queue(seconds))
        else:
            session.warm_up(self._options.warm_up)
            self._note(session.drop_connections(rate, max(RECOVERY_TIME, seconds)))

    def _measure_direct(self, repetition: int, scenario: Scenario) -> None:
        """Measure clients without HTTP at the gateway's rate: in a sweep half of its saturation
        point, and as long."""
        url = next(self._urls[each.name] for each in self._candidates if each.is_gateway)
        options = self._options
        rate = self._rates.get(scenario.name) or options.rate or scenario.rate
        if not rate:  # no candidate has responded
            return
        seconds = options.half_seconds if options.is_sweep else options.seconds
        for name, measure in clients_without_http(scenario, options.is_sweep):
            candidate = Candidate(name, name, "")
            self._display.begin(repetition, scenario, candidate, "without HTTP")
            stock = Stock(scenario, url)
            stock.set_up()
            try:
                run = measure(stock, repetition, rate, seconds, self._tools)
            except PROBLEMS as error:
                self.problems.append(f"{scenario.name}, {name}: {error}")
            else:
                self._note(replace(run, mode="half") if options.is_sweep else run)

    def _profile(self, session: Session, folder: Path) -> None:
        """Write a flame graph of a load that is not counted, because the profiler needs CPU."""
        seconds = max(PROFILE_TIME, self._options.seconds)
        path = folder / f"{session.scenario.name}-{session.candidate.name}.svg"
        self._begin(session, "profile")
        session.saturate(seconds, recorded(session.process.pid, seconds - 1, path))

    def _begin(self, session: Session, what: str) -> None:
        self._display.begin(session.repetition, session.scenario, session.candidate, what)

    def _note(self, run: Run) -> None:
        self.runs.append(run)
        self._display.end(run)


def rotated(sessions: Sequence[Session], repetition: int) -> list[Session]:
    """The sessions in another order for each repetition. After the closed loops RabbitMQ and the
    machine are busy for a moment, which makes the latencies of the first candidate worse (p99 of
    ten queues: 1.2 to 49 ms; in the second place 0.8 to 2.3 ms)."""
    first = repetition % max(1, len(sessions))
    return [*sessions[first:], *sessions[:first]]


def load_count(
    scenarios: Sequence[Scenario], candidates: Sequence[Candidate], options: Options
) -> int:
    """How many runs there will be."""
    of_requests = 1 + (len(SWEEP) + 1 if options.is_sweep else 1 + options.uses_k6)
    count = 0
    for scenario in scenarios:
        loads = of_requests if scenario.kind == "requests" else 1
        count += loads * sum(each.takes_part(scenario) for each in candidates)
        clients = clients_without_http(scenario, options.is_sweep)
        count += len(clients) if options.has_direct else 0
    return count * options.repetitions
