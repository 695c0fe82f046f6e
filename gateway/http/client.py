"""The HTTP client of all backends: the one seam to the network.

Requests are asked for where the gateway runs ("app side") and sent on the asyncio side; an
answer, or why there is none, comes back by a callback. No request has a task.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Container, Coroutine
from contextlib import asynccontextmanager
from contextvars import Context, copy_context
from typing import Any, TypeAlias

from anyio import Event, sleep, sleep_forever
from anyio.abc import TaskGroup

from ..core.bridge import AsyncioSide, TimedEvent
from ..core.tasks import open_tasks
from ..errors import BackendFailure
from .connection import BackendConnection, HttpResponse
from .pool import Pool, PoolSettings
from .stream import BodyStream
from .targets import Origin

RETRIED = ("GET", "HEAD", "OPTIONS", "TRACE")
"""Sent again when a used connection turns out to be closed (Go, net/http, isReplayable)."""

Arrive: TypeAlias = Callable[[HttpResponse | BackendFailure], None]


class HttpClient:
    """``max_idle``: connections over all origins; 0: no limit."""

    def __init__(self, side: AsyncioSide, settings: PoolSettings, max_idle: int = 0) -> None:
        self._side = side
        self._settings = settings
        self._max_idle = max_idle
        self._pools: dict[Origin, Pool] = {}
        self._dials: TaskGroup | None = None
        self._context = Context()

    def send(
        self,
        origin: Origin,
        method: str,
        head: bytes,
        body: bytes,
        arrive: Arrive,
        streams: Container[int] = (),
    ) -> Callable[[], None]:
        """App side: send a request, ``head`` with its empty line. Returns what withdraws it.

        ``streams``: with these statuses ``arrive`` is called when the headers have come.
        """
        sending = Sending(self, origin, method, head, body, arrive, streams)
        self._side.tell(self.begin, sending)
        return sending.withdraw

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[None]:
        """Keep connections while the block runs."""
        started = Event()
        async with open_tasks() as service:
            service.start_soon(self._side.run, self._live, started)
            await started.wait()
            yield
            service.cancel_scope.cancel()

    def readiness(self) -> dict[str, Any]:
        """Always ready: which backend answers is seen when it is asked."""
        return {"ready": True, "role": "http"}

    def withdraw(self, sending: Sending) -> None:
        """App side: have it ended over there."""
        self._side.tell(self._end, sending)

    def deliver(self, sending: Sending, part: HttpResponse | BackendFailure) -> None:
        """Asyncio side: hand over what came."""
        self._side.post(sending.arrived, part)

    def taken(self, sending: Sending, size: int) -> None:
        """App side: so many bytes of its body were read."""
        self._side.tell(self._read_on, sending, size)

    def event(self) -> TimedEvent:
        """App side."""
        return self._side.event()

    # Asyncio side.

    def post(self, func: Callable[..., object], *args: Any) -> None:
        self._side.post(func, *args)

    def _read_on(self, sending: Sending, size: int) -> None:
        if sending.connection is not None:
            sending.connection.taken(size)

    def begin(self, sending: Sending) -> None:
        if self._dials is None:
            self.deliver(sending, BackendFailure("the gateway is closing"))
            return
        pool = self._pools.get(sending.origin)
        if pool is None:
            pool = Pool(sending.origin, self._settings, self._start_dial, self._may_keep)
            self._pools[sending.origin] = pool
        pool.ask(sending)

    def _start_dial(self, dial: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """A redirect or a second try begins in a callback: on uvloop in an empty context, in which
        AnyIO does not know where it is."""
        if self._dials is not None:
            self._context.copy().run(self._dials.start_soon, dial)

    def _end(self, sending: Sending) -> None:
        if sending.connection is not None:
            sending.connection.drop()
        elif sending.origin in self._pools:
            self._pools[sending.origin].forget(sending)

    def _may_keep(self) -> bool:
        idle = sum(len(pool.idle) for pool in self._pools.values()) if self._max_idle else -1
        return idle < self._max_idle

    async def _live(self, started: Event) -> None:
        async with open_tasks() as dials:
            self._dials = dials
            self._context = copy_context()
            self._side.post(started.set)
            try:
                await self._look_after_idle_ones()
            finally:
                self._dials = None
                for pool in self._pools.values():
                    pool.close()

    async def _look_after_idle_ones(self) -> None:
        idle_time = self._settings.idle_time
        while idle_time:
            await sleep(idle_time / 2)
            for pool in self._pools.values():
                pool.drop_older(idle_time)
        await sleep_forever()


class Sending:
    """One request on its way. ``connection``: while it is on one, seen on the asyncio side only."""

    __slots__ = (
        "_arrive",
        "_client",
        "_stream",
        "body",
        "connection",
        "head",
        "is_head",
        "method",
        "origin",
        "streams",
    )

    def __init__(
        self,
        client: HttpClient,
        origin: Origin,
        method: str,
        head: bytes,
        body: bytes,
        arrive: Arrive,
        streams: Container[int],
    ) -> None:
        self._client = client
        self.origin = origin
        self.method = method
        self.head = head
        self.body = body
        self.is_head = method == "HEAD"
        self.connection: BackendConnection | None = None
        self.streams = streams
        self._stream = BodyStream(self) if streams else None
        self._arrive: Arrive | None = arrive

    def withdraw(self) -> None:
        """App side: nobody waits for the answer any more."""
        if self._arrive is not None:
            self._arrive = None
            self._client.withdraw(self)

    def arrived(self, part: HttpResponse | BackendFailure) -> None:
        """App side."""
        arrive, self._arrive = self._arrive, None  # who knows us: no cycle is left behind
        if arrive is not None:
            arrive(part)

    # Of its body: app side.

    def taken(self, size: int) -> None:
        self._client.taken(self, size)

    def withdraw_body(self) -> None:
        self._client.withdraw(self)

    def event(self) -> TimedEvent:
        return self._client.event()

    # Asyncio side.

    def answered(self, answer: HttpResponse) -> None:
        self._stream = None  # which knows us: no cycle is left behind
        self._client.deliver(self, answer)

    def began(self, answer: HttpResponse) -> None:
        self._client.deliver(self, answer._replace(stream=self._stream))

    def more(self, piece: bytes) -> None:
        if self._stream is not None:
            self._client.post(self._stream.feed, piece)

    def ended(self, failure: BackendFailure | None) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            self._client.post(stream.finish, failure)

    def failed(self, error: BackendFailure, is_retriable: bool) -> None:
        if is_retriable and self.method in RETRIED:
            self._client.begin(self)
        else:
            self._client.deliver(self, error)
