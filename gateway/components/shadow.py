"""``proxy.shadow``: backends that get a copy of each request, and whose responses are dropped."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from anyio.abc import TaskGroup

from ..config.json_types import JsonObject
from ..core.pipe import coroutine_of
from ..core.proxy import Ask, NoClient, Pipe, Request, Response
from ..core.tasks import open_tasks
from ..errors import GatewayError
from ..telemetry.logs import get_logger

log = get_logger("gateway.shadow")

MAX_CONCURRENT_SHADOWS = 1000
"""Copies that run at the same time. Further requests are not copied: the copies for a backend that
does not respond must not pile up."""


class Shadows:
    """Runs the copies while the gateway is open. When it is full, the copy is left out."""

    def __init__(self) -> None:
        self._tasks: TaskGroup | None = None
        self._running = 0
        self._left_out = 0

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[None]:
        async with open_tasks() as self._tasks:
            yield
            self._tasks.cancel_scope.cancel()
        self._tasks = None

    def readiness(self) -> JsonObject:
        return {
            "kind": "shadows",
            "ready": True,
            "running": self._running,
            "left_out": self._left_out,
        }

    def start(self, ask: Ask, request: Request, deadline: float) -> None:
        """Never waits."""
        if self._tasks is None or self._running >= MAX_CONCURRENT_SHADOWS:
            self._left_out += 1
            return
        self._running += 1
        self._tasks.start_soon(self._run, ask, _copy(request, deadline))

    async def _run(self, ask: Ask, request: Request) -> None:
        try:
            await ask(request)
        except GatewayError as error:
            log.debug("%s: %s", request.path, error)
        except Exception:
            log.exception("%s: an unexpected error", request.path)
            request.park()
        finally:
            self._running -= 1
            request.give_back()


def _copy(request: Request, deadline: float) -> Request:
    """A request without a client. Messages that are taken for it go back to their queue."""
    copy = request.copy()
    copy.deadline = deadline
    copy.client = NoClient()
    copy.taken = []
    return copy


def shadowed(pipe: Pipe, shadow: Pipe, shadows: Shadows, deadline: Callable[[], float]) -> Pipe:
    """The pipe, which also sends a copy of each of its requests to ``shadow``.

    ``deadline``: the deadline of a copy that starts now.
    """
    inner, ask_shadow = coroutine_of(pipe), coroutine_of(shadow)

    async def ask(request: Request) -> Response:
        shadows.start(ask_shadow, request, deadline())
        return await inner(request)

    return Pipe(ask, reads_body=pipe.reads_body or shadow.reads_body)
