"""Async agents: take messages without a client, send them to their backends, and settle them."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from math import inf

from anyio import CancelScope, current_time, sleep

from ..config.json_types import JsonObject
from ..config.structs import Agent
from ..core.component import Job, JobSource
from ..core.failures import FailureLog
from ..core.pipe import coroutine_of
from ..core.proxy import Pipe
from ..core.tasks import must_pass, open_tasks
from ..errors import GatewayError
from ..telemetry.logs import get_logger
from ..telemetry.metrics import Reading

log = get_logger("gateway.agent")

STOPPING = 2
"""The state of an agent, as a number of metrics; 0 and 1: whether it is attached."""


class RateLimit:
    """At most ``rate`` messages a second on average, in bursts of up to ``rate``. 0: no limit."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._capacity = max(1.0, float(int(rate)))
        self._tokens = self._capacity
        self._counted_at = 0.0

    def reserve(self, now: float) -> float:
        """Reserve one message; the seconds to wait for it. ``now``: seconds of any clock."""
        if not self._rate:
            return 0.0
        gained = (now - self._counted_at) * self._rate
        self._tokens = min(self._capacity, self._tokens + gained) - 1
        self._counted_at = now
        return max(0.0, -self._tokens / self._rate)


class AgentRunner:
    """The workers of one agent. A message is acknowledged when every backend has succeeded.

    After ``stop()`` the workers take no further messages. Running ones have ``grace`` seconds from
    then; leaving :meth:`opened` waits for them. Messages that are not settled then go back.
    ``has_ids``: lines of the log have the ids of requests.
    """

    def __init__(
        self,
        agent: Agent,
        source: JobSource,
        pipe: Pipe,
        grace: float,
        *,
        has_ids: bool = False,
    ) -> None:
        self.name = agent.name
        self._log = FailureLog(f"agent {agent.name}", has_ids=has_ids)
        self._workers = max(1, agent.consumer.workers)
        self._rate = RateLimit(agent.consumer.max_rate)
        self._source = source
        self._pipe = coroutine_of(pipe)
        self._timeout = agent.consumer.timeout
        self._grace = grace
        self._is_stopping = False
        self._ends_at = inf
        self._taking: set[CancelScope] = set()
        self._in_flight = 0
        self._failures = self._successes = 0
        self._last_message_at = 0.0
        self._last_seen = ""

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[None]:
        async with open_tasks() as workers:
            for _ in range(self._workers):
                workers.start_soon(self._work)
            try:
                yield
            finally:
                self.stop()
                with CancelScope(deadline=self._ends_at, shield=True):
                    while self._in_flight:
                        await sleep(0.02)
                workers.cancel_scope.cancel()

    def stop(self) -> None:
        self._ends_at = min(self._ends_at, current_time() + self._grace)
        self._is_stopping = True
        for taking in self._taking:
            taking.cancel()

    def last_seen(self) -> str:
        """The last time at which the agent was connected (KrakenD's ping). Empty: never."""
        if self._source.is_attached:
            self._last_seen = _text(time.time())
        return self._last_seen

    def readiness(self) -> JsonObject:
        return {
            "ready": self._source.is_attached,
            "agent": self.name,
            "in_flight": self._in_flight,
            "failures": self._failures,
            "last_message": _text(self._last_message_at) if self._last_message_at else "",
            "problem": self._source.problem,
        }

    def readings(self) -> Iterator[Reading]:
        labels = {"agent": self.name}
        yield Reading(
            "agent.state", labels, STOPPING if self._is_stopping else self._source.is_attached
        )
        yield Reading("agent.in_flight", labels, self._in_flight)
        yield Reading("agent.messages", {**labels, "outcome": "success"}, self._successes)
        yield Reading("agent.messages", {**labels, "outcome": "failure"}, self._failures)
        if self._last_message_at:
            yield Reading("agent.last_message_timestamp", labels, self._last_message_at)

    async def _work(self) -> None:
        while (job := await self._take()) is not None:
            self._in_flight += 1
            try:
                await self._run(job)
            except Exception:  # it concerns this message only: the worker takes the next one
                log.exception("agent %r: an unexpected error", self.name)
                job.park()
            finally:
                self._in_flight -= 1
                job.give_back()

    async def _take(self) -> Job | None:
        """The next message. None when the agent stops."""
        with CancelScope() as taking:
            self._taking.add(taking)
            try:
                if not self._is_stopping:
                    if seconds := self._rate.reserve(current_time()):
                        await sleep(seconds)
                    return await self._source.take()
            finally:
                self._taking.discard(taking)
        return None

    async def _run(self, job: Job) -> None:
        """Try until the message is done, rejected, or lost with its channel."""
        self._last_message_at = time.time()
        while not await self._try(job):
            self._failures += 1
            seconds = await job.failed()
            if seconds is None or self._is_stopping:
                return
            with CancelScope() as pause:
                self._taking.add(pause)
                try:
                    await sleep(seconds)
                finally:
                    self._taking.discard(pause)
            if self._is_stopping or job.is_over:
                return
        job.done()
        self._successes += 1

    async def _try(self, job: Job) -> bool:
        request = None
        try:
            request = await job.request()
            request.deadline = current_time() + self._timeout
            response = await self._pipe(request)
            if response.has_failures:
                raise GatewayError("a backend failed")
        except GatewayError as error:
            self._log.record_try(error, request)
            return False
        except BaseException as error:  # it concerns this message only
            if must_pass(error):
                raise
            shown, own = self._log.ids_of(request)
            extra = {"fields": {"endpoint": f"agent {self.name}", **own}}
            log.exception("agent %s: an unexpected error%s", self.name, shown, extra=extra)
            return False
        finally:
            if request is not None:
                request.give_back()
        return True


def _text(moment: float) -> str:
    """``moment``: Unix time."""
    return time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(moment))
