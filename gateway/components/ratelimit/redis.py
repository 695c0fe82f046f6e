"""Buckets in a Redis that several gateways share: the connection, and the requests that wait.

One task calls Redis for all requests that wait. So a cancelled request cannot break the connection,
and a burst costs one round trip.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import chain, repeat
from typing import NamedTuple, TypeAlias, TypeGuard

from anyio import Event, fail_after, sleep
from coredis import Redis
from coredis.connection import TCPLocation
from coredis.retry import NoRetryPolicy

from ...config.json_types import JsonObject
from ...core.bridge import AsyncioSide, TimedEvent
from ...core.tasks import open_tasks
from ...telemetry.logs import get_logger
from ...tls.policy import build_tls
from .redis_script import SCRIPT, LimitCheck, keys_and_arguments
from .settings import RedisPool

log = get_logger("gateway.ratelimit")

RESPONSE_TIMEOUT = 0.5
"""Seconds; a Redis that takes longer counts as disconnected."""
MAX_CHECKS_PER_CALL = 100
"""Requests in one call of the script: other clients of this Redis wait meanwhile."""

RunScript: TypeAlias = Callable[[list[str], list[int]], Awaitable[object]]
"""keys, arguments -> what :data:`.redis_script.SCRIPT` returns."""


class PendingCheck(NamedTuple):
    check: LimitCheck
    result: TimedEvent


class RedisCounters:
    """The buckets in one Redis."""

    def __init__(self, pool: RedisPool, side: AsyncioSide) -> None:
        self._pool = pool
        self._host, self._port = pool.host_and_port
        self._side = side
        self._waiting: list[PendingCheck] = []
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

    def readiness(self) -> JsonObject:
        """Always ready: without Redis each gateway limits for itself or refuses."""
        where = f"{self._host}:{self._port}"
        return {"kind": "redis", "ready": True, "address": where, "connected": self.is_up}

    async def take(self, check: LimitCheck) -> int | None:
        """The number of the limit that refuses, from 1; 0: none does; None: not connected."""
        if not self.is_up:
            return None
        result = self._side.new_event()
        self._waiting.append(PendingCheck(check, result))
        self._wake.set()
        refused = await result.wait(self._side.time() + 2 * RESPONSE_TIMEOUT)
        assert refused is None or isinstance(refused, int)
        return refused

    async def _keep_connected(self) -> None:
        pauses = _pauses()
        while True:
            try:
                await self._serve()
            except Exception as error:  # of the client library, or a response that is not valid
                if self.is_up:
                    pauses = _pauses()
                self._disconnected(error)
            await sleep(next(pauses))

    async def _serve(self) -> None:
        """Connect, and check limits until an error ends it, which is raised."""
        with fail_after(self._pool.dial_timeout):  # the client's own attempt would log a traceback
            if not await TCPLocation(self._host, self._port).check():
                raise ConnectionError("no connection")
        try:
            async with self._client() as client:
                run_script = client.register_script(SCRIPT)
                with fail_after(self._pool.dial_timeout):
                    await run_script(*keys_and_arguments([]))
                self._connected()
                while True:
                    await self._wake.wait()
                    self._wake = Event()
                    while self._waiting:
                        with fail_after(RESPONSE_TIMEOUT):
                            await self._check_batch(run_script)
        except ExceptionGroup as group:  # of the client's own tasks
            raise _first(group) from group

    async def _check_batch(self, run_script: RunScript) -> None:
        batch = self._waiting[:MAX_CHECKS_PER_CALL]
        results = await run_script(*keys_and_arguments([each.check for each in batch]))
        if not _are_results(results, batch):
            raise ConnectionError("the response is not one of the script")
        del self._waiting[: len(batch)]
        for waiting, refused in zip(batch, results, strict=True):
            waiting.result.set(refused)

    def _connected(self) -> None:
        self.is_up = True
        if not self._was_up:
            log.info("redis %s:%d: connected again", self._host, self._port)
        self._was_up = True

    def _disconnected(self, error: Exception) -> None:
        """Log the first failure, and let the requests that wait use the fallback."""
        self.is_up = False
        if self._was_up:
            reason = str(error) or type(error).__name__
            if isinstance(error, TimeoutError):
                reason = "timed out"
            log.warning(
                "redis %s:%d: not connected, each gateway has its own limits: %s",
                self._host,
                self._port,
                reason,
            )
        self._was_up = False
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.result.set(None)

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


def _are_results(results: object, batch: Sequence[PendingCheck]) -> TypeGuard[Sequence[int]]:
    return (
        isinstance(results, list | tuple)
        and len(results) == len(batch)
        and all(
            type(result) is int and 0 <= result <= len(waiting.check)
            for result, waiting in zip(results, batch, strict=True)
        )
    )


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _pauses() -> Iterator[float]:
    """Seconds until each next attempt."""
    return chain((0.05, 0.2, 0.5), repeat(1.0))
