"""The HTTP client of all backends: the only way to the network.

Requests come from the app side and are sent on the asyncio side. The response or the failure comes
back by a callback. No request has a task.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Container, Coroutine
from contextlib import asynccontextmanager
from contextvars import Context, copy_context
from typing import Protocol, TypeAlias

from anyio import Event, sleep, sleep_forever
from anyio.abc import TaskGroup

from ..core.bridge import AsyncioSide, TimedEvent
from ..core.tasks import open_tasks
from ..errors import BackendFailure
from .connection import BackendConnection, HttpResponse
from .pool import Pool, PoolSettings
from .request_head import BackendRequest
from .stream import BodyStream
from .targets import Origin

REPLAYABLE_METHODS = ("GET", "HEAD", "OPTIONS", "TRACE")
"""Sent again if a used connection proves to be closed (Go, net/http, isReplayable)."""

Arrive: TypeAlias = Callable[[HttpResponse | BackendFailure], None]


class Sender(Protocol):
    """Sends requests to backends: the client, or what observes it."""

    def send(
        self,
        outgoing: BackendRequest,
        head: bytes,
        arrive: Arrive,
        streams: Container[int] = (),
    ) -> Callable[[], None]:
        """App side: send a request (``head`` with its empty line). Returns what withdraws it.

        ``streams``: with these statuses ``arrive`` is called when the headers have come.
        """
        ...


class HttpClient:
    """``max_idle``: idle connections over all origins; 0: no limit."""

    def __init__(self, side: AsyncioSide, settings: PoolSettings, max_idle: int = 0) -> None:
        self._side = side
        self._settings = settings
        self._max_idle = max_idle
        self._pools: dict[Origin, Pool] = {}
        self._dials: TaskGroup | None = None
        self._context = Context()

    def send(
        self,
        outgoing: BackendRequest,
        head: bytes,
        arrive: Arrive,
        streams: Container[int] = (),
    ) -> Callable[[], None]:
        """App side: see :class:`Sender`."""
        method, host, _, _, body, _, _ = outgoing
        request = ClientRequest(self, host.origin, method, head, body, arrive, streams)
        self._side.tell(self.begin, request)
        return request.withdraw

    def start(self, request: ClientRequest) -> Callable[[], None]:
        """App side: as :meth:`send`, a request that was made elsewhere."""
        self._side.tell(self.begin, request)
        return request.withdraw

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[None]:
        """Keep connections open while the block runs."""
        started = Event()
        async with open_tasks() as service:
            service.start_soon(self._side.run, self._keep_open, started)
            await started.wait()
            yield
            service.cancel_scope.cancel()

    def readiness(self) -> dict[str, object]:
        """Always ready: whether a backend responds is known when it is called."""
        return {"ready": True, "role": "http"}

    def withdraw(self, request: ClientRequest) -> None:
        """App side: have the asyncio side end a request."""
        self._side.tell(self._end, request)

    def deliver(self, request: ClientRequest, part: HttpResponse | BackendFailure) -> None:
        """Asyncio side: hand over the response or the failure."""
        self._side.post(request.arrived, part)

    def taken(self, request: ClientRequest, size: int) -> None:
        """App side: ``size`` bytes of the body were read."""
        self._side.tell(self._taken, request, size)

    def new_event(self) -> TimedEvent:
        """App side: make an event for one wait."""
        return self._side.new_event()

    # Asyncio side.

    def post(self, func: Callable[..., object], *args: object) -> None:
        self._side.post(func, *args)

    def _taken(self, request: ClientRequest, size: int) -> None:
        if request.connection is not None:
            request.connection.taken(size)

    def begin(self, request: ClientRequest) -> None:
        if self._dials is None:
            self.deliver(request, BackendFailure("the gateway is closing"))
            return
        pool = self._pools.get(request.origin)
        if pool is None:
            pool = Pool(request.origin, self._settings, self._start_dial, self._may_keep)
            self._pools[request.origin] = pool
        pool.send(request)

    def _start_dial(self, dial: Callable[[], Coroutine[object, object, None]]) -> None:
        """Start a dial in the context of the client's own task.

        A redirect or a retry begins in a callback. On uvloop its context is empty, and AnyIO does
        not know there which async library runs."""
        if self._dials is not None:
            self._context.copy().run(self._dials.start_soon, dial)

    def _end(self, request: ClientRequest) -> None:
        if request.connection is not None:
            request.connection.drop()
        elif request.origin in self._pools:
            self._pools[request.origin].forget(request)

    def _may_keep(self) -> bool:
        idle = sum(len(pool.idle) for pool in self._pools.values()) if self._max_idle else -1
        return idle < self._max_idle

    async def _keep_open(self, started: Event) -> None:
        async with open_tasks() as dials:
            self._dials = dials
            self._context = copy_context()
            self._side.post(started.set)
            try:
                await self._close_idle_connections()
            finally:
                self._dials = None
                for pool in self._pools.values():
                    pool.close()

    async def _close_idle_connections(self) -> None:
        idle_time = self._settings.idle_time
        while idle_time:
            await sleep(idle_time / 2)
            for pool in self._pools.values():
                pool.drop_older(idle_time)
        await sleep_forever()


class ClientRequest:
    """One request, until its response is complete.

    ``connection``: the one that the request was sent on; only for the asyncio side.
    """

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
        """App side: the response is not wanted any more."""
        if self._arrive is not None:
            self._arrive = None
            self._client.withdraw(self)

    def arrived(self, part: HttpResponse | BackendFailure) -> None:
        """App side."""
        arrive, self._arrive = self._arrive, None  # it refers to us: leave no reference cycle
        if arrive is not None:
            arrive(part)

    # The body, on the app side.

    def taken(self, size: int) -> None:
        self._client.taken(self, size)

    def withdraw_body(self) -> None:
        self._client.withdraw(self)

    def new_event(self) -> TimedEvent:
        return self._client.new_event()

    # Asyncio side.

    def completed(self, response: HttpResponse) -> None:
        self._stream = None  # it refers to us: leave no reference cycle
        self._client.deliver(self, response)

    def began(self, response: HttpResponse) -> None:
        self._client.deliver(self, response._replace(stream=self._stream))

    def more(self, piece: bytes) -> None:
        if self._stream is not None:
            self._client.post(self._stream.feed, piece)

    def ended(self, failure: BackendFailure | None) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            self._client.post(stream.finish, failure)

    def failed(self, error: BackendFailure, is_retriable: bool) -> None:
        if is_retriable and self.method in REPLAYABLE_METHODS:
            self._client.begin(self)
        else:
            self._client.deliver(self, error)
