"""One candidate with one scenario, from its start to the account of its messages.

A session is started, loaded in one way after the other, and closed; each load is a run.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from gateway.demo.broker import Broker

from .account import UNTOLD, Account
from .backend import Backend
from .candidates import Candidate, Running
from .document import Mode, Run, with_step
from .load.k6 import run_k6
from .load.own import OwnGenerator, Tell, nobody, nothing
from .load.plan import Jitter, LoadResult, Plan, Step, StepResult
from .load.validity import failing
from .load.wrk import is_present, run_wrk
from .measure import Meter, read_meter, resident_bytes
from .messages import PUBLISHED
from .queues import Stock
from .requests import request_of
from .scenario import EXCHANGE, Scenario
from .tally import Tally

SURPLUS = 2.5
"""Queues get so many times the messages that the rate seen before would take: a cold start is
slow."""

FIRST_GUESS = 20_000
"""Requests a second that nobody exceeds before anything is known; merges are slower."""

OPEN_CONNECTIONS = 128
"""Of the open loop: more than a server that keeps up ever needs at once."""

STALL = 60.0
"""Seconds in which agents must have worked off what there is."""

UNWATCHED = nullcontext()


class Tools(Struct, frozen=True):
    """What every session of a run shares. ``generator``: our own. ``use_wrk``: for saturation."""

    generator: OwnGenerator
    backend: Backend
    broker: Broker | None
    folder: Path
    use_wrk: bool
    jitter: Jitter = "poisson"
    tell: Tell = nobody


class Session:
    """``rate``: requests a second that were seen last, to know how full queues must be."""

    def __init__(
        self,
        scenario: Scenario,
        candidate: Candidate,
        repetition: int,
        stock: Stock | None,
        process: Running,
        tools: Tools,
    ) -> None:
        self.scenario = scenario
        self.candidate = candidate
        self.rate = 0.0
        self.process = process
        self.repetition = repetition
        self._stock = stock
        self._tools = tools
        self._requests = [request_of(call) for call in scenario.calls]
        self._surplus = SURPLUS
        self._tally = Tally(process.received, process.confirmed)
        self._next_number = PUBLISHED + process.attempts

    # Ways to load it.

    def warm_up(self, seconds: float) -> None:
        """A short closed loop that nobody looks at."""
        self._fill(self._guess * seconds)
        result = self._generate(self._plan(mode="closed", seconds=seconds))
        self.rate = result.steps[0].answered_in_time / seconds

    def saturate(self, seconds: float, beside: AbstractContextManager[None] = UNWATCHED) -> Run:
        """As many requests as it can answer. ``wrk`` when there is one, and one kind of request.

        ``beside``: entered when the queues are full.
        """
        by_wrk = self._tools.use_wrk and is_present() and len(self._requests) == 1
        seconds = math.ceil(seconds) if by_wrk else seconds  # wrk knows no others
        self._fill(max(self.rate * self._surplus, self._guess) * seconds)
        with beside:
            saturate = self._saturate_with_wrk if by_wrk else self._saturate_with_ours
            return self._checked(saturate(seconds))

    def _saturate_with_ours(self, seconds: float) -> Run:
        before = self._read_meter()
        result = self._generate(self._plan(mode="closed", seconds=seconds))
        return self._of_step("closed", result.steps[0], before)

    def _saturate_with_wrk(self, seconds: float) -> Run:
        before = self._read_meter()
        answers, took, statuses, _ = run_wrk(
            self.process.port,
            self._requests,
            UNTOLD,
            self.scenario.connections,
            seconds,
            self._tools.folder,
        )
        self._tally.uncounted += statuses[200]
        self._tally.doubtful += self.scenario.connections
        return self._of_answers("closed", "wrk", answers, took, statuses, before)

    def offer(self, rate: float, seconds: float, mode: Mode = "open") -> Run:
        """Requests at a fixed rate, whatever comes of them."""
        return self.offer_steps([Step(rate, seconds)], mode)[0]

    def offer_steps(self, steps: list[Step], mode: Mode) -> list[Run]:
        """One run for each step; CPU is that of all of them."""
        plan = self._plan(mode="open", steps=steps, connections=self._open_connections)
        with self._stocked(steps) as begin:
            before = self._read_meter()
            result = self._generate(plan, begin)
            requests = sum(step.requests for step in result.steps)
            runs = [self._of_step(mode, step, before, requests) for step in result.steps]
        return [self._unless_short(run, index) for index, run in enumerate(runs)]

    def wait_for_messages(self, rate: float, seconds: float) -> Run:
        """Messages at a fixed rate for clients that wait: from publishing to the answer."""
        assert self._stock is not None
        queue = self._stock.scenario.target
        before = self._read_meter()
        result = self._generate(
            self._plan(
                mode="waiting",
                steps=[Step(rate, seconds)],
                publish=(self._stock.url, EXCHANGE, queue),
            )
        )
        step = result.steps[0]
        published_numbers = range(self._next_number - step.requests, self._next_number)
        self._tally.confirmed += published_numbers
        return self._of_step("waiting", step, before)

    def drop_connections(self, rate: float, seconds: float) -> Run:
        """As :meth:`offer`, while the broker closes every connection in the middle."""
        broker, stock = self._tools.broker, self._stock
        assert broker is not None
        assert stock is not None
        vhost = stock.url.rsplit("/", 1)[1] or "/"
        closing = threading.Timer(
            seconds / 2, broker.ctl, ("close_all_connections", "--vhost", vhost, "bench")
        )
        closing.start()
        try:
            return self.offer(rate, seconds, "recovery")
        finally:
            closing.join()

    def work_off(self, seconds: float) -> Run:
        """How fast agents empty a full queue; a first portion tells how much ``seconds`` are."""
        self._work_off(500)
        self._work_off(max(500, round(self.rate * seconds / 4)))
        return self._work_off(max(500, round(self.rate * seconds)))

    def _work_off(self, messages: int) -> Run:
        stock = self._stock
        assert stock is not None
        done = self._worked_off(stock)
        expected = done() + messages
        before, began = self._read_meter(), time.monotonic()
        stock.top_up(messages)
        while done() < expected and time.monotonic() - began < STALL:
            time.sleep(0.01)
        took = time.monotonic() - began
        missing = expected - done()
        if not self.scenario.target:
            self._tally.received += self._tools.backend.take()
        self.rate = (messages - missing) / took
        statuses = {200: messages - missing, **({0: missing} if missing > 0 else {})}
        return self._of_answers("agents", "own", messages - missing, took, statuses, before)

    def _worked_off(self, stock: Stock) -> Callable[[], int]:
        target = self.scenario.target
        return (lambda: stock.count(target)) if target else self._tools.backend.count

    def ask_k6(self, rate: float, seconds: float) -> Run:
        """A second opinion on :meth:`offer`."""
        with self._stocked([Step(rate, seconds)]) as begin:
            before = self._read_meter()
            begin()
            opinion = run_k6(
                self.process.port, self.scenario.calls, UNTOLD, rate, seconds, self._tools.folder
            )
            answered = opinion.requests - opinion.failed
            self._tally.uncounted += answered
            run = self._of_answers(
                "k6",
                "k6",
                opinion.requests,
                seconds,
                {200: answered, **({0: opinion.failed} if opinion.failed else {})},
                before,
            )
        dropped = f"k6 dropped {opinion.dropped} requests" if opinion.dropped else run.refused
        run = replace(run, offered=rate, latency=opinion.latency, refused=dropped)
        return self._unless_short(run)

    def account(self) -> Account | None:
        """Of all numbered messages; call it when the process has ended."""
        if self._stock is None:
            return None
        return self._tally.account(self.scenario, self._stock)

    # Between the two.

    @property
    def _guess(self) -> float:
        return FIRST_GUESS / math.sqrt(self.scenario.takes)

    @property
    def _open_connections(self) -> int:
        return OPEN_CONNECTIONS if self.scenario.connections >= 64 else self.scenario.connections

    def _plan(self, **changes: object) -> Plan:
        values = {
            "port": self.process.port,
            "requests": self._requests,
            "connections": self.scenario.connections,
            "first_number": self._next_number,
            "collects": self._stock is not None,
            "jitter": self._tools.jitter,
            **changes,
        }
        return Plan(**values)  # type: ignore[arg-type]

    def _generate(self, plan: Plan, begin: Callable[[], object] = nothing) -> LoadResult:
        """``begin`` is called when the load begins."""
        result = self._tools.generator.run(plan, self._tools.tell, begin)
        self._next_number += sum(step.requests for step in result.steps)
        self._tally.received += result.received
        self._tally.confirmed += result.confirmed
        return result

    def _fill(self, requests: float) -> None:
        if self._stock is not None:
            self._stock.top_up(math.ceil(requests))

    @contextmanager
    def _stocked(self, steps: Sequence[Step]) -> Generator[Callable[[], object]]:
        """Queues as the scenario wants them while an open loop of ``steps`` is on. Yields what is
        to be called when it begins."""
        stock = self._stock
        if stock is not None and self.scenario.is_in_operation:
            with stock.in_operation(steps) as begin:
                yield begin
            return
        if stock is not None:
            requests = sum(step.rate * step.seconds for step in steps)
            stock.lengthen(math.ceil(requests * 1.05 + 100))
        yield nothing

    def _unless_short(self, run: Run, step: int = 0) -> Run:
        """Refused when queues were not fed as they should have been."""
        if self._stock is None or run.refused:
            return run
        return replace(run, refused=self._stock.shortage(step))

    def _read_meter(self) -> Meter:
        return read_meter(self.process.pid, self._tools.broker)

    def _of_step(self, mode: Mode, step: StepResult, before: Meter, requests: int = 0) -> Run:
        """``requests``: what the CPU went into, when it is not this step alone."""
        run = self._of_answers(
            mode, "own", step.answered_in_time, step.seconds, step.statuses, before
        )
        return with_step(run, step, requests or step.requests)

    def _of_answers(
        self,
        mode: Mode,
        tool: str,
        answers: int,
        seconds: float,
        statuses: dict[int, int],
        before: Meter,
    ) -> Run:
        spent = self._read_meter().since(before)
        return Run(
            scenario=self.scenario.name,
            candidate=self.candidate.name,
            repetition=self.repetition,
            mode=mode,
            tool=tool,
            seconds=seconds,
            requests=sum(statuses.values()),
            rate=answers / seconds,
            statuses=statuses,
            cpu=spent.candidate / max(1, answers) * 1e6,
            broker_cpu=spent.broker / max(1, answers) * 1e6 if self._stock is not None else None,
            resident=resident_bytes(self.process.pid),
            refused=failing(statuses) if mode in ("closed", "open", "half", "k6") else "",
        )

    def _checked(self, run: Run) -> Run:
        """A queue that ran empty measures how long clients wait for nothing; the next time it
        gets more."""
        if self._stock is not None and self._stock.full and not self._stock.least():
            self._surplus *= SURPLUS
            return replace(run, refused="a queue ran empty")
        self.rate = max(run.rate, 1.0)
        return run
