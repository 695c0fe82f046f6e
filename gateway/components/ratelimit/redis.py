"""One Redis that several gateways count in: its connection, who asks, and what if it is away.

No request talks to Redis itself: one task does, for all that came in the meantime. A request
that is cancelled disturbs nobody, and a burst costs one round trip.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import chain, repeat
from typing import Any, NamedTuple

from anyio import Event, fail_after, sleep
from coredis import Redis
from coredis.connection import TCPLocation
from coredis.retry import NoRetryPolicy

from ...core.bridge import AsyncioSide, TimedEvent
from ...core.tasks import open_tasks
from ...telemetry.logs import get_logger
from ...tls.policy import build_tls
from .script import SCRIPT, Question, keys_and_arguments
from .settings import RedisPool

log = get_logger("gateway.ratelimit")

ANSWER_TIME = 0.5
"""Seconds; a Redis that takes longer counts as away."""
MAX_BATCH = 100
"""Requests in one call of the script: it must not keep others from Redis for long."""


class WaitingQuestion(NamedTuple):
    question: Question
    answer: TimedEvent


class RedisCounters:
    """The buckets in one Redis."""

    def __init__(self, pool: RedisPool, side: AsyncioSide) -> None:
        self._pool = pool
        self._host, self._port = pool.host_and_port
        self._side = side
        self._waiting: list[WaitingQuestion] = []
        self._wake = Event()
        self._was_up = True
        self.is_up = False

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[None]:
        """Keep a connection while the block runs."""
        async with open_tasks() as tasks:
            tasks.start_soon(self._keep_connected)
            yield
            tasks.cancel_scope.cancel()

    def readiness(self) -> dict[str, Any]:
        """Always ready: without Redis limits are kept in another way."""
        where = f"{self._host}:{self._port}"
        return {"kind": "redis", "ready": True, "address": where, "connected": self.is_up}

    async def ask(self, question: Question) -> int | None:
        """The number of the limit that refuses, from 1; 0: none does; None: Redis is away."""
        if not self.is_up:
            return None
        answer = self._side.event()
        self._waiting.append(WaitingQuestion(question, answer))
        self._wake.set()
        refused = await answer.wait(self._side.time() + 2 * ANSWER_TIME)
        assert refused is None or isinstance(refused, int)
        return refused

    async def _keep_connected(self) -> None:
        pauses = _pauses()
        while True:
            try:
                await self._connected()
            except Exception as error:  # of the client, or of what this Redis has answered
                if self.is_up:
                    pauses = _pauses()
                self._lost(error)
            await sleep(next(pauses))

    async def _connected(self) -> None:
        """Answer until something goes wrong; says so by an error."""
        with fail_after(self._pool.dial_timeout):  # the client's own attempt would log a traceback
            if not await TCPLocation(self._host, self._port).check():
                raise ConnectionError("nobody answers")
        try:
            async with self._client() as client:
                count = client.register_script(SCRIPT)
                with fail_after(self._pool.dial_timeout):
                    await count(*keys_and_arguments([]))
                self._found()
                while True:
                    await self._wake.wait()
                    self._wake = Event()
                    while self._waiting:
                        with fail_after(ANSWER_TIME):
                            await self._answer(count)
        except ExceptionGroup as group:  # of the client's own tasks
            raise _first(group) from group

    async def _answer(self, count: Any) -> None:
        batch = self._waiting[:MAX_BATCH]
        answers = await count(*keys_and_arguments([each.question for each in batch]))
        if not _fits(answers, batch):
            raise ConnectionError("an answer that the script does not give")
        del self._waiting[: len(batch)]
        for waiting, refused in zip(batch, answers, strict=True):
            waiting.answer.set(refused)

    def _found(self) -> None:
        self.is_up = True
        if not self._was_up:
            log.info("redis %s:%d is back", self._host, self._port)
        self._was_up = True

    def _lost(self, error: Exception) -> None:
        """Once is enough; who waits goes on without."""
        self.is_up = False
        if self._was_up:
            reason = str(error) or type(error).__name__
            if isinstance(error, TimeoutError):
                reason = "no answer in time"
            log.warning(
                "redis %s:%d is away, each gateway keeps limits for itself: %s",
                self._host,
                self._port,
                reason,
            )
        self._was_up = False
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.answer.set(None)

    def _client(self) -> Redis[bytes]:
        pool, tls = self._pool, self._pool.tls
        return Redis(
            self._host,
            self._port,
            pool.db,
            username=pool.user_name or None,
            password=pool.password or None,
            client_name=pool.client_name or None,
            connect_timeout=pool.dial_timeout,
            ssl_context=build_tls(tls, tls.allow_insecure_connections) if tls else None,
            max_connections=1,
            verify_version=False,
            retry_policy=NoRetryPolicy(),
        )


def _fits(answers: object, batch: Sequence[WaitingQuestion]) -> bool:
    return (
        isinstance(answers, list | tuple)
        and len(answers) == len(batch)
        and all(
            type(answer) is int and 0 <= answer <= len(waiting.question)
            for answer, waiting in zip(answers, batch, strict=True)
        )
    )


def _first(group: BaseExceptionGroup[Any]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _pauses() -> Iterator[float]:
    """Seconds until each next attempt."""
    return chain((0.05, 0.2, 0.5), repeat(1.0))
