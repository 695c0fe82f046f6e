"""One candidate with one scenario, from its start to the accounting of its messages.

Each load is one run.
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

from .accounting import SHARED_NUMBER, Accounting
from .backend import Backend
from .candidates import Candidate, Running
from .document import Mode, Run, with_step
from .load.k6 import run_k6
from .load.own import OnProgress, OwnGenerator, do_nothing, ignore
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
"""Queues are filled for this many times the last measured rate, because a candidate is slow at
first."""

FIRST_GUESS = 20_000
"""Requests a second that no candidate exceeds during its warm-up; merging backends is slower."""

OPEN_CONNECTIONS = 128
"""HTTP connections of the open loop: more than a server needs below its saturation point."""

STALL = 60.0
"""Seconds in which agents must have emptied a queue."""

UNWATCHED = nullcontext()


class Tools(Struct, frozen=True):
    """What all sessions of a run share. ``use_wrk``: for maximum throughput, instead of
    ``generator``."""

    generator: OwnGenerator
    backend: Backend
    broker: Broker | None
    folder: Path
    use_wrk: bool
    jitter: Jitter = "poisson"
    on_progress: OnProgress = ignore


class Session:
    """``rate``: the last measured requests a second; it decides how many messages are filled in."""

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

    # Loads.

    def warm_up(self, seconds: float) -> None:
        """A short closed loop whose figures are not used."""
        self._fill(self._guess * seconds)
        result = self._generate(self._plan(mode="closed", seconds=seconds))
        self.rate = result.steps[0].responded_in_time / seconds

    def saturate(self, seconds: float, meanwhile: AbstractContextManager[None] = UNWATCHED) -> Run:
        """Measure the maximum throughput: as many requests as the candidate can respond to. wrk is
        used when it is installed and the scenario has one kind of request.

        ``meanwhile``: entered when the queues are full.
        """
        by_wrk = self._tools.use_wrk and is_present() and len(self._requests) == 1
        seconds = math.ceil(seconds) if by_wrk else seconds  # wrk takes whole seconds only
        self._fill(max(self.rate * self._surplus, self._guess) * seconds)
        with meanwhile:
            saturate = self._saturate_with_wrk if by_wrk else self._saturate_with_ours
            return self._checked(saturate(seconds))

    def _saturate_with_ours(self, seconds: float) -> Run:
        before = self._read_meter()
        result = self._generate(self._plan(mode="closed", seconds=seconds))
        return self._of_step("closed", result.steps[0], before)

    def _saturate_with_wrk(self, seconds: float) -> Run:
        before = self._read_meter()
        responses, took, statuses, _ = run_wrk(
            self.process.port,
            self._requests,
            SHARED_NUMBER,
            self.scenario.connections,
            seconds,
            self._tools.folder,
        )
        self._tally.unidentified += statuses[200]
        self._tally.possibly_taken += self.scenario.connections
        return self._of_answers("closed", "wrk", responses, took, statuses, before)

    def offer(self, rate: float, seconds: float, mode: Mode = "open", warm_up: float = 0.0) -> Run:
        """Send requests at a fixed rate, whether earlier ones have a response or not.

        ``warm_up``: seconds before the measurement, at the same rate. CPU includes them.
        """
        steps = [Step(rate, warm_up)] if warm_up else []
        return self.offer_steps([*steps, Step(rate, seconds)], mode)[-1]

    def offer_steps(self, steps: list[Step], mode: Mode) -> list[Run]:
        """One run for each step. CPU per request is the average of all steps."""
        plan = self._plan(mode="open", steps=steps, connections=self._open_connections)
        with self._stocked(steps) as begin:
            before = self._read_meter()
            result = self._generate(plan, begin)
            requests = sum(step.requests for step in result.steps)
            runs = [self._of_step(mode, step, before, requests) for step in result.steps]
        return [self._unless_short(run, index) for index, run in enumerate(runs)]

    def wait_for_messages(self, rate: float, seconds: float) -> Run:
        """Publish messages at a fixed rate for clients that wait. Latency is from publishing to the
        response."""
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
        """Like :meth:`offer`; the broker closes every connection in the middle of it."""
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

    def empty_queue(self, seconds: float) -> Run:
        """Measure how fast agents empty a full queue. Two smaller portions show how many messages
        they need for ``seconds``."""
        self._empty(500)
        self._empty(max(500, round(self.rate * seconds / 4)))
        return self._empty(max(500, round(self.rate * seconds)))

    def _empty(self, messages: int) -> Run:
        stock = self._stock
        assert stock is not None
        done = self._counter(stock)
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

    def _counter(self, stock: Stock) -> Callable[[], int]:
        """Returns how many messages the agents have passed on."""
        target = self.scenario.target
        return (lambda: stock.count(target)) if target else self._tools.backend.count

    def offer_with_k6(self, rate: float, seconds: float) -> Run:
        """Like :meth:`offer`, by k6: to confirm the figures of our own generator."""
        with self._stocked([Step(rate, seconds)]) as begin:
            before = self._read_meter()
            begin()
            opinion = run_k6(
                self.process.port,
                self.scenario.calls,
                SHARED_NUMBER,
                rate,
                seconds,
                self._tools.folder,
            )
            responded = opinion.requests - opinion.failed
            self._tally.unidentified += responded
            run = self._of_answers(
                "k6",
                "k6",
                opinion.requests,
                seconds,
                {200: responded, **({0: opinion.failed} if opinion.failed else {})},
                before,
            )
        dropped = f"k6 dropped {opinion.dropped} requests" if opinion.dropped else run.refused
        run = replace(run, offered=rate, latency=opinion.latency, refused=dropped)
        return self._unless_short(run)

    def accounting(self) -> Accounting | None:
        """The accounting of all numbered messages; call this after the process has exited."""
        if self._stock is None:
            return None
        return self._tally.accounting(self.scenario, self._stock)

    # Helpers of the loads.

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

    def _generate(self, plan: Plan, on_begin: Callable[[], object] = do_nothing) -> LoadResult:
        """``on_begin`` is called when the load begins."""
        result = self._tools.generator.run(plan, self._tools.on_progress, on_begin)
        self._next_number += sum(step.requests for step in result.steps)
        self._tally.received += result.received
        self._tally.confirmed += result.confirmed
        return result

    def _fill(self, requests: float) -> None:
        if self._stock is not None:
            self._stock.top_up(math.ceil(requests))

    @contextmanager
    def _stocked(self, steps: Sequence[Step]) -> Generator[Callable[[], object]]:
        """Keep the queues as the scenario requires during an open loop of ``steps``. Yields a
        function to call when the load begins."""
        stock = self._stock
        if stock is not None and self.scenario.is_in_steady_state:
            with stock.in_steady_state(steps) as begin:
                yield begin
            return
        if stock is not None:
            requests = sum(step.rate * step.seconds for step in steps)
            stock.lengthen(math.ceil(requests * 1.05 + 100))
        yield do_nothing

    def _unless_short(self, run: Run, step: int = 0) -> Run:
        """The run is refused when its queues were fed too late."""
        if self._stock is None or run.refused:
            return run
        return replace(run, refused=self._stock.shortage(step))

    def _read_meter(self) -> Meter:
        return read_meter(self.process.pid, self._tools.broker)

    def _of_step(self, mode: Mode, step: StepResult, before: Meter, requests: int = 0) -> Run:
        """``requests``: how many the CPU was used for, if not for those of this step alone."""
        run = self._of_answers(
            mode, "own", step.responded_in_time, step.seconds, step.statuses, before
        )
        return with_step(run, step, requests or step.requests)

    def _of_answers(
        self,
        mode: Mode,
        tool: str,
        responses: int,
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
            rate=responses / seconds,
            statuses=statuses,
            cpu=spent.candidate / max(1, responses) * 1e6,
            broker_cpu=spent.broker / max(1, responses) * 1e6 if self._stock is not None else None,
            resident=resident_bytes(self.process.pid),
            refused=failing(statuses) if mode in ("closed", "open", "half", "k6") else "",
        )

    def _checked(self, run: Run) -> Run:
        """A run with an empty queue is refused, because clients waited; the next one gets more
        messages."""
        if self._stock is not None and self._stock.full and not self._stock.least():
            self._surplus *= SURPLUS
            return replace(run, refused="a queue ran empty")
        self.rate = max(run.rate, 1.0)
        return run
