"""Workers of an agent, without a broker."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest
from anyio import create_task_group, fail_after, sleep, sleep_forever

from gateway.app.agent import AgentRunner, RateLimit
from gateway.config.structs import Agent, AgentConsumer
from gateway.core import proxy
from gateway.core.proxy import PARTS_FAILED, Branch, OutcomeWatcher, Request, Response
from gateway.errors import GatewayError

pytestmark = pytest.mark.anyio


class Job:
    """A message that remembers its end. ``pause``: what a failed try means."""

    def __init__(self, number: int, pause: float | None) -> None:
        self.number = number
        self.end = ""
        self._pause = pause

    @property
    def is_over(self) -> bool:
        return bool(self.end)

    async def request(self) -> Request:
        return Request("GET", f"/{self.number}", {})

    def done(self) -> None:
        self.end = self.end or "done"

    def watch(self, watcher: OutcomeWatcher) -> None: ...

    def give_back(self) -> None:
        self.end = self.end or "given back"

    def park(self) -> None:
        self.end = self.end or "parked"

    async def failed(self) -> float | None:
        if self._pause is None:
            self.end = "parked"
        return self._pause


class Source:
    """Has as many messages as are taken, up to ``number``."""

    is_attached = True
    problem = ""
    parked = dead_lettered = 0

    def __init__(self, number: int, pause: float | None = None) -> None:
        self.jobs = [Job(each, pause) for each in range(number)]
        self._next = iter(self.jobs)

    async def take(self) -> Job:
        job = next(self._next, None)
        if job is None:
            await sleep_forever()
            raise AssertionError
        return job

    def observed(self, pipe: proxy.Pipe) -> proxy.Pipe:
        return pipe

    def ends(self) -> list[str]:
        return [job.end for job in self.jobs]


class Pipe:
    """Notes the messages that it gets; fails as often as ``failures`` says."""

    def __init__(self, failures: Callable[[int], int] = lambda number: 0) -> None:
        self.called: list[int] = []
        self.running = self.peak = 0
        self._failures = failures

    async def __call__(self, request: Request) -> Response:
        number = int(request.path[1:])
        self.called.append(number)
        self.running += 1
        self.peak = max(self.peak, self.running)
        await sleep(0.01)
        self.running -= 1
        if self.called.count(number) <= self._failures(number):
            raise GatewayError("no")
        return Response()


def runner(
    source: Source, pipe: Pipe, grace: float = 5, *, has_ids: bool = False, **consumer: float
) -> AgentRunner:
    agent = Agent(name="a", consumer=AgentConsumer(**consumer))  # type: ignore[arg-type]
    return AgentRunner(agent, source, Branch(pipe), grace, has_ids=has_ids)


async def until(condition: Callable[[], object]) -> None:
    with fail_after(5):
        while not condition():
            await sleep(0.005)


async def test_every_message_is_processed_once_by_the_configured_number_of_workers() -> None:
    source, pipe = Source(30), Pipe()
    async with runner(source, pipe, workers=3).opened():
        await until(lambda: source.ends() == ["done"] * 30)
    assert sorted(pipe.called) == list(range(30))
    assert pipe.peak == 3


async def test_a_failed_message_is_retried_by_its_worker_when_the_source_says_so() -> None:
    source, pipe = Source(4, pause=0.01), Pipe(lambda number: 2 if number == 1 else 0)
    async with runner(source, pipe).opened():
        await until(lambda: source.ends() == ["done"] * 4)
    assert pipe.called == [0, 1, 1, 1, 2, 3]


async def test_a_failed_message_that_is_parked_delays_no_other_message() -> None:
    source, pipe = Source(4), Pipe(lambda number: 1 if number == 1 else 0)
    async with runner(source, pipe).opened():
        await until(lambda: source.ends() == ["done", "parked", "done", "done"])


async def test_an_unexpected_error_concerns_one_message_only() -> None:
    class Crashing(Pipe):
        async def __call__(self, request: Request) -> Response:
            if request.path == "/1":
                raise ZeroDivisionError
            return await super().__call__(request)

    source = Source(3)
    async with runner(source, Crashing()).opened():
        await until(lambda: source.ends() == ["done", "parked", "done"])


async def test_an_error_while_a_message_is_rejected_ends_no_worker() -> None:
    class Odd(Job):
        async def failed(self) -> float | None:
            raise ZeroDivisionError

    source, pipe = Source(3), Pipe(lambda number: 1 if number == 1 else 0)
    source.jobs[1].__class__ = Odd
    async with runner(source, pipe).opened():
        await until(lambda: source.ends() == ["done", "parked", "done"])


async def test_a_failed_backend_is_a_failure_of_the_message() -> None:
    class Partial(Pipe):
        async def __call__(self, request: Request) -> Response:
            return Response({"a": 1}, PARTS_FAILED)

    source = Source(1)
    async with runner(source, Partial()).opened():
        await until(lambda: source.ends() == ["parked"])


async def test_at_a_stop_running_messages_finish_and_no_further_ones_start() -> None:
    source, pipe = Source(1000), Pipe()
    agent = runner(source, pipe, workers=2)
    async with agent.opened():
        await until(lambda: len(pipe.called) > 5)
        agent.stop()
        begun = len(pipe.called)
    assert source.ends() == ["done"] * begun + [""] * (1000 - begun)


async def test_a_message_that_is_not_finished_in_time_goes_back() -> None:
    class Endless(Pipe):
        async def __call__(self, request: Request) -> Response:
            await sleep_forever()
            raise AssertionError

    source = Source(1)
    agent = runner(source, Endless(), grace=0.05)
    async with agent.opened():
        await until(lambda: agent.readiness()["in_flight"] == 1)
    assert source.ends() == ["given back"]


async def test_a_pause_before_a_next_try_ends_with_the_stop() -> None:
    source, pipe = Source(1, pause=3600), Pipe(lambda number: 100)
    with fail_after(5):
        async with runner(source, pipe).opened():
            await until(lambda: pipe.called == [0])
    assert source.ends() == ["given back"]


def test_a_rate_allows_a_burst_and_then_one_message_per_interval() -> None:
    rate = RateLimit(2)
    assert [rate.reserve(100) for _ in range(4)] == [0, 0, 0.5, 1.0]
    assert rate.reserve(101) == 0.5
    assert [rate.reserve(200) for _ in range(3)] == [0, 0, 0.5]
    assert [RateLimit(0).reserve(1) for _ in range(3)] == [0, 0, 0]
    slow = RateLimit(0.5)
    assert [slow.reserve(1000) for _ in range(2)] == [0, 2]


async def test_workers_wait_for_the_rate_limit() -> None:
    source, pipe = Source(10), Pipe()
    async with runner(source, pipe, workers=10, max_rate=0.001).opened():
        await until(lambda: source.jobs[0].end)
    assert source.ends() == ["done"] + [""] * 9


async def test_one_agent_that_ends_does_not_touch_another() -> None:
    first, second = Source(5), Source(5)
    async with create_task_group():
        async with runner(first, Pipe()).opened():
            await until(lambda: first.ends() == ["done"] * 5)
        async with runner(second, Pipe()).opened():
            await until(lambda: second.ends() == ["done"] * 5)


async def test_a_line_about_a_failed_try_has_the_ids_of_its_message_and_its_request(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Identified(Job):
        async def request(self) -> Request:
            request = Request("GET", "/1", {}, [(b"x-request-id", b"r-1")])
            request.origin = SimpleNamespace(shown_id="m-1")
            return request

    class Failing(Pipe):
        async def __call__(self, request: Request) -> Response:
            self.called.append(1)
            if len(self.called) == 1:
                return Response({}, PARTS_FAILED)
            if len(self.called) == 2:
                raise ZeroDivisionError
            return Response()

    source = Source(1, pause=0)
    source.jobs[0].__class__ = Identified
    async with runner(source, Failing(), has_ids=True).opened():
        await until(lambda: source.ends() == ["done"])
    assert caplog.messages == [
        "agent a: a backend failed (message m-1) [r-1]",
        "agent a: an unexpected error (message m-1) [r-1]",
    ]
    for record in caplog.records:
        fields = vars(record)["fields"]
        assert (fields["endpoint"], fields["message_id"]) == ("agent a", "m-1")
