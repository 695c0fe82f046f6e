"""Where libraries run that need asyncio: on this loop, or, under Trio, in their own thread.

This is the only module that finds out which async library runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, MutableMapping
from contextlib import asynccontextmanager
from contextvars import Context, copy_context
from typing import Protocol, TypeAlias, TypeVar, TypeVarTuple

import outcome
from anyio import CancelScope, Event, to_thread
from anyio.from_thread import start_blocking_portal
from sniffio import current_async_library
from trio import current_time
from trio.lowlevel import (
    Abort,
    TrioToken,
    checkpoint_if_cancelled,
    current_task,
    current_trio_token,
    reschedule,
    wait_task_rescheduled,
)

from ..telemetry.logs import get_logger

log = get_logger("gateway.core")

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

Connect: TypeAlias = Callable[..., Awaitable[tuple[asyncio.BaseTransport, asyncio.BaseProtocol]]]
"""Opens a connection, as :meth:`asyncio.loop.create_connection`."""


class AsyncioSide(Protocol):
    """The side on which aiormq and the HTTP client run, for code of the app side (the gateway).

    Under asyncio both sides are one event loop (``is_here``), and every hand-over is a plain call.
    ``connect``: asyncio side: opens the connections to brokers. None: a socket of the loop.
    ``timers``: app side: deadlines without tasks; None under Trio.
    """

    is_here: bool
    connect: Connect | None
    timers: Timers | None

    def time(self) -> float:
        """App side: the clock of deadlines, as :func:`anyio.current_time`, and cheaper."""
        ...

    async def run(self, func: Callable[[*Ts], Coroutine[object, object, T]], *args: *Ts) -> T:
        """App side: run ``func(*args)`` on the asyncio side and wait; a cancellation waits for its
        clean-up."""
        ...

    def tell(self, func: Callable[[*Ts], object], *args: *Ts) -> None:
        """App side: have ``func(*args)`` called on the asyncio side soon. Never waits."""

    def post(self, func: Callable[[*Ts], object], *args: *Ts) -> None:
        """Asyncio side: have ``func(*args)`` called on the app side soon. Never waits."""

    def new_event(self) -> TimedEvent:
        """App side: make an event for one wait."""
        ...


class TimedEvent(Protocol):
    """An event with a value, for one task that waits once and until a deadline. The first value
    counts."""

    def set(self, value: object = None) -> None: ...

    async def wait(self, deadline: float) -> object:
        """What it is set to; None as well at the ``deadline``, a time of the app side's clock."""


class AnyioTimedEvent:
    """On any async library."""

    def __init__(self) -> None:
        self._event = Event()
        self._value: object = None

    def set(self, value: object = None) -> None:
        if not self._event.is_set():
            self._value = value
            self._event.set()

    async def wait(self, deadline: float) -> object:
        with CancelScope(deadline=deadline):
            await self._event.wait()
        return self._value


TICKS = 200
"""Ticks in a second: the precision of deadlines on asyncio is 5 ms."""


def next_tick(time: float) -> float:
    """A tick half a tick to one and a half ticks after ``time``, a time of the event loop. Timers
    that need not be exact fire at ticks, so that they wake up the loop together: one wake-up costs
    about 20 us here."""
    return (int(time * TICKS + 0.5) + 1) / TICKS


class Expiring(Protocol):
    """Something with a deadline."""

    def expire(self) -> None:
        """The deadline has come. Must not raise."""


class Timers(Protocol):
    """Deadlines without tasks: never early, at most 10 ms late."""

    def add(self, expiring: Expiring, deadline: float) -> MutableMapping[Expiring, None]:
        """Call ``expiring.expire()`` at the ``deadline``, a time of the event loop, unless it is
        taken out of what is returned."""
        ...


class Wheel:
    """Many deadlines with few timers of the loop: one for each tick that has a deadline."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._due: dict[int, dict[Expiring, None]] = {}

    def add(self, expiring: Expiring, deadline: float) -> dict[Expiring, None]:
        tick = int(deadline * TICKS) + 1
        due = self._due.get(tick)
        if due is None:
            due = self._due[tick] = {}
            self._loop.call_at(tick / TICKS, self._expire, tick)
        due[expiring] = None
        return due

    def _expire(self, tick: int) -> None:
        due = self._due.pop(tick)
        while due:  # one that expires may take out others
            expiring, _ = due.popitem()
            try:
                expiring.expire()
            except Exception:  # the others of this tick go on
                log.exception("an unexpected error at a deadline")


class LoopTimedEvent:
    """On asyncio: a future, without a cancel scope and a timer of its own."""

    __slots__ = ("_future", "_wheel")

    def __init__(self, loop: asyncio.AbstractEventLoop, wheel: Wheel) -> None:
        self._wheel = wheel
        self._future = loop.create_future()

    def set(self, value: object = None) -> None:
        if not self._future.done():
            self._future.set_result(value)

    def expire(self) -> None:
        self.set()

    async def wait(self, deadline: float) -> object:
        due = self._wheel.add(self, deadline)
        try:
            return await self._future
        finally:
            due.pop(self, None)


@asynccontextmanager
async def open_asyncio_side(connect: Connect | None = None) -> AsyncGenerator[AsyncioSide]:
    """Yield the asyncio side. Under Trio it is a thread with an event loop, which ends with the
    context. ``connect``: as in :class:`AsyncioSide`; tests give that of a broker in memory."""
    if current_async_library() == "asyncio":
        yield SameLoop(asyncio.get_running_loop(), connect)
        return
    opener = start_blocking_portal("asyncio", {"use_uvloop": True})
    portal = await to_thread.run_sync(opener.__enter__)
    try:
        yield await to_thread.run_sync(portal.call, _enter_thread, current_trio_token(), connect)
    finally:
        with CancelScope(shield=True):
            await to_thread.run_sync(opener.__exit__, None, None, None)


async def _enter_thread(token: TrioToken, connect: Connect | None) -> OtherThread:
    return OtherThread(asyncio.get_running_loop(), copy_context(), token, connect)


class SameLoop:
    """Under asyncio: both sides are one event loop."""

    is_here = True

    def __init__(self, loop: asyncio.AbstractEventLoop, connect: Connect | None = None) -> None:
        self.time = loop.time
        self.connect = connect
        self._loop = loop
        self._wheel = Wheel(loop)
        self.timers: Timers | None = self._wheel

    def new_event(self) -> TimedEvent:
        return LoopTimedEvent(self._loop, self._wheel)

    async def run(self, func: Callable[[*Ts], Coroutine[object, object, T]], *args: *Ts) -> T:
        return await func(*args)

    def tell(self, func: Callable[[*Ts], object], *args: *Ts) -> None:
        func(*args)

    def post(self, func: Callable[[*Ts], object], *args: *Ts) -> None:
        func(*args)


class OtherThread:
    """Under Trio: the asyncio side is an event loop in a thread.

    ``context``: of the thread with the asyncio loop. Functions that are called there must not find
    Trio's context: AnyIO would take that loop for Trio.
    """

    is_here = False
    timers: Timers | None = None
    time = staticmethod(current_time)

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        context: Context,
        token: TrioToken,
        connect: Connect | None = None,
    ) -> None:
        self.connect = connect
        self._loop = loop
        self._context = context
        self._token = token

    def new_event(self) -> TimedEvent:
        return AnyioTimedEvent()

    def tell(self, func: Callable[[*Ts], object], *args: *Ts) -> None:
        self._loop.call_soon_threadsafe(func, *args, context=self._context)

    def post(self, func: Callable[[*Ts], object], *args: *Ts) -> None:
        self._token.run_sync_soon(func, *args)

    async def run(self, func: Callable[[*Ts], Coroutine[object, object, T]], *args: *Ts) -> T:
        here = current_task()
        asyncio_task: asyncio.Task[T] | None = None
        raise_cancelled: Callable[[], object] | None = None

        def start() -> None:
            nonlocal asyncio_task
            asyncio_task = self._loop.create_task(func(*args))
            asyncio_task.add_done_callback(lambda task: self._token.run_sync_soon(finish, task))

        def finish(task: asyncio.Task[T]) -> None:
            if task.cancelled() and raise_cancelled is not None:
                reschedule(here, outcome.capture(raise_cancelled))
            else:
                reschedule(here, outcome.capture(task.result))

        def abort(raise_cancel: Callable[[], object]) -> Abort:
            nonlocal raise_cancelled
            raise_cancelled = raise_cancel
            self.tell(lambda: asyncio_task is not None and asyncio_task.cancel())
            return Abort.FAILED

        await checkpoint_if_cancelled()
        self.tell(start)
        value: T = await wait_task_rescheduled(abort)
        return value
