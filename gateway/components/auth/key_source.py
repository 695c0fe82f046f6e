"""The source of a key set: a file, read once, or a URL, fetched in the background."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

from anyio import Event, current_time, fail_after, move_on_after

from ...config.json_types import JsonObject
from ...core.backoff import exponential
from ...core.tasks import open_tasks
from ...errors import GatewayError
from ...telemetry.logs import get_logger
from .keys import Jwk, read_key_set

log = get_logger("gateway.auth")

FETCH_TIMEOUT = 10.0
"""Seconds for a response of the key server."""
MIN_REFRESH_PAUSE = 10.0
"""Seconds between two fetches that requests with unknown keys may cause."""
MIN_REFRESH_PAUSE_WITHOUT_KEYS = 1.0

Fetch = Callable[[], Awaitable[bytes]]


class KeySource(Protocol):
    """``version`` changes with ``jwks``."""

    jwks: Sequence[Jwk]
    version: int

    def request_refresh(self) -> Event | None:
        """For a token with an unknown key. The event to wait for; None: there is no fetch."""
        ...


class FileKeys:
    """The keys of a file, read at the start. Raises OSError and ValueError."""

    def __init__(self, path: str) -> None:
        self.jwks: Sequence[Jwk] = read_key_set(Path(path).read_bytes())
        self.version = 0

    def request_refresh(self) -> None:
        """None: a file is not read again."""


class RemoteKeys:
    """The keys of a URL. They are fetched every ``duration`` seconds, and also for a token with an
    unknown key, but at most every ``cooldown`` seconds.

    If the fetch fails, the old keys stay valid for another ``duration``; then there are none.
    ``time``: a monotonic clock, in seconds.
    """

    def __init__(
        self,
        name: str,
        fetch: Fetch,
        duration: float,
        cooldown: float,
        time: Callable[[], float] = current_time,
    ) -> None:
        self._name = name
        self._time = time
        self._fetch = fetch
        self.duration = duration
        self.cooldown = cooldown
        self.jwks: Sequence[Jwk] = ()
        self.version = 0
        self._is_fetching = True  # from the start
        self._refresh_requested = Event()
        self._fetched = Event()
        self._last = self._last_good = 0.0
        self._problem = "not fetched yet"

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[None]:
        self._refresh_requested, self._fetched = Event(), Event()
        async with open_tasks() as service:
            service.start_soon(self._keep_fresh)
            yield
            service.cancel_scope.cancel()

    def readiness(self) -> JsonObject:
        """Always ready: without keys the endpoints that need them respond with 401, others work."""
        return {
            "kind": "keys",
            "url": self._name,
            "ready": True,
            "keys": len(self.jwks),
            "problem": self._problem,
        }

    def request_refresh(self) -> Event | None:
        if not self._is_fetching:
            pause = self.cooldown if self.jwks else MIN_REFRESH_PAUSE_WITHOUT_KEYS
            if self._time() - self._last < pause:
                return None
            self._is_fetching = True
            self._refresh_requested.set()
        return self._fetched

    async def _keep_fresh(self) -> None:
        pauses = exponential()
        while True:
            if await self._refresh():
                pauses, pause = exponential(), self.duration
            else:
                pause = min(next(pauses), self.duration)
            with move_on_after(pause):
                await self._refresh_requested.wait()

    async def _refresh(self) -> bool:
        """Fetch once, and replace the keys. False: it failed."""
        self._is_fetching = True
        try:
            with fail_after(FETCH_TIMEOUT):
                self._take(read_key_set(await self._fetch()))
            self._problem = ""
            self._last_good = self._time()
        except (GatewayError, TimeoutError, ValueError) as error:
            problem = str(error) or "timed out"
            is_news = problem != self._problem
            log.log(logging.WARNING if is_news else logging.DEBUG, "%s: %s", self._name, problem)
            self._problem = problem
            if self._time() - self._last_good > self.duration:
                self._take(())
        finally:
            self._last = self._time()
            self._is_fetching = False
            self._refresh_requested = Event()
            self._fetched.set()
            self._fetched = Event()
        return not self._problem

    def _take(self, jwks: Sequence[Jwk]) -> None:
        if jwks != self.jwks:
            self.jwks = jwks
            self.version += 1
