"""Helper processes: they work on large documents, so that the event loop is never blocked.

Decoders and validators hold Python's lock from beginning to end, so a thread would not help. The
first large document starts a helper. A helper ends if a document takes too long, or if its
request is cancelled.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import lru_cache, partial
from typing import Any, Generic, TypeAlias, TypeVar, TypeVarTuple

from anyio import (
    BrokenResourceError,
    CancelScope,
    CapacityLimiter,
    ClosedResourceError,
    EndOfStream,
    fail_after,
    move_on_after,
    open_process,
)
from anyio.abc import Process, TaskGroup
from msgspec import msgpack

from ..errors import HelperFailure
from ..telemetry.logs import get_logger
from .tasks import open_tasks

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
Build: TypeAlias = Callable[..., Callable[..., T]]
"""Settings -> the function that helpers call."""

log = get_logger("gateway.helpers")

MAX_HELPERS = 2
"""Processes at the same time. Further documents wait."""
MAX_WORK = 10.0
"""Seconds of processor time for one document. The request has its own deadline."""
MAX_START = 60.0
"""Seconds for a helper to start."""
MAX_END = 5.0
"""Seconds for a helper to end after it has closed its pipes."""
READY = b"ready"
PIECE = 256 * 1024
"""Bytes that are written to a helper, and read from it, at once."""
LENGTH = 8
"""Bytes of the length before each message to and from a helper."""

# A helper decodes documents of strangers: its results are data, and are never unpickled.
encode_answer = msgpack.Encoder().encode
decode_answer: Callable[[bytearray], tuple[bool, Any]] = msgpack.Decoder(tuple[bool, Any]).decode
"""True and what the call returned, or false and why it failed."""


class _HelperCall:
    """A call that can be cancelled. It is made outside of a task, where AnyIO makes no scope."""

    def __init__(self) -> None:
        self.is_cancelled = False
        self.scope: CancelScope | None = None

    def cancel(self) -> None:
        self.is_cancelled = True
        if self.scope is not None:
            self.scope.cancel()


class Helpers:
    """The helpers of one gateway."""

    def __init__(self, seconds: float = MAX_WORK) -> None:
        self._seconds = seconds
        self._idle: list[_Helper] = []
        self._tasks: TaskGroup | None = None
        self._slots: CapacityLimiter | None = None

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[None]:
        self._slots = CapacityLimiter(MAX_HELPERS)
        try:
            async with open_tasks() as self._tasks:
                yield
                self._tasks.cancel_scope.cancel()
        finally:
            with CancelScope(shield=True):
                for helper in self._idle:
                    await helper.kill()
                self._idle.clear()

    async def run(self, func: Callable[[*Ts], T], *args: *Ts) -> T:
        """What ``func(*args)`` returns: None, a number, a string, bytes, or a list of those.

        ``func`` is a function of a module. It and its arguments can be pickled. Raises
        :class:`HelperFailure` if it raises, takes too long, or needs too much memory.
        """
        assert self._slots is not None, "the gateway is not open"
        request = pickle.dumps((func, args), pickle.HIGHEST_PROTOCOL)
        async with self._slots:
            is_done, result = await self._ask(request)
        if not is_done:
            raise HelperFailure(str(result))
        returned: T = result
        return returned

    def start(
        self, arrive: Callable[[T | Exception], object], func: Callable[[*Ts], T], *args: *Ts
    ) -> Callable[[], None]:
        """As :meth:`run` without waiting: calls ``arrive`` once with the result or the exception.

        Returns a function that cancels the call: then ``arrive`` is not called any more.
        """
        assert self._tasks is not None, "the gateway is not open"
        call = _HelperCall()
        self._tasks.start_soon(self._answer, call, arrive, func, args)
        return call.cancel

    async def _answer(
        self,
        call: _HelperCall,
        arrive: Callable[[T | Exception], object],
        func: Callable[[*Ts], T],
        args: tuple[*Ts],
    ) -> None:
        if call.is_cancelled:
            return
        with CancelScope() as call.scope:
            result: T | Exception
            try:
                result = await self.run(func, *args)
            except Exception as error:
                result = error
            if call.is_cancelled:
                return
            try:
                arrive(result)
            except Exception:  # of this document alone: the others go on
                log.exception("while the result of a helper process was used")

    async def _ask(self, request: bytes) -> tuple[bool, Any]:
        helper = self._idle.pop() if self._idle else await _Helper.begin(self._seconds)
        try:
            result = await helper.ask(request)
        except (EndOfStream, BrokenResourceError, ClosedResourceError) as error:
            await helper.end()
            raise HelperFailure(helper.why_it_ended(self._seconds)) from error
        except BaseException:
            await helper.kill()
            raise
        self._idle.append(helper)
        return result


class _Helper:
    """One helper process."""

    def __init__(self, process: Process) -> None:
        self._process = process

    @classmethod
    async def begin(cls, seconds: float) -> _Helper:
        """``seconds``: of processor time for one call."""
        paths = os.pathsep.join(path for path in sys.path if path)
        process = await open_process(
            [sys.executable, "-m", "gateway.core.helper_process", str(seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None,
            env={**os.environ, "PYTHONPATH": paths},
            start_new_session=True,  # a signal to the group of the gateway does not end it
        )
        helper = cls(process)
        try:
            with fail_after(MAX_START):
                await helper.read(len(READY))
        except EndOfStream as error:
            await helper.end()
            raise HelperFailure("a helper process ended while it started") from error
        except BaseException as error:
            await helper.kill()
            if isinstance(error, TimeoutError):
                raise HelperFailure("a helper process does not start") from error
            raise
        log.debug("helper process %d for large documents", process.pid)
        return helper

    async def ask(self, request: bytes) -> tuple[bool, Any]:
        stdin = self._process.stdin
        assert stdin is not None
        await stdin.send(len(request).to_bytes(LENGTH))
        for begin in range(0, len(request), PIECE):  # a pipe copies what it cannot take at once
            await stdin.send(request[begin : begin + PIECE])
        size = int.from_bytes(await self.read(LENGTH))
        return decode_answer(await self.read(size))

    async def read(self, size: int) -> bytearray:
        """``size`` bytes. The helper has no more to send than that."""
        stdout = self._process.stdout
        assert stdout is not None
        answer = bytearray()
        while len(answer) < size:
            answer += await stdout.receive(min(PIECE, size - len(answer)))
        return answer

    def why_it_ended(self, seconds: float) -> str:
        if self._process.returncode == -signal.SIGPROF:
            return f"a large document took more than {seconds:g} s of processor time"
        return f"a helper process ended ({self._process.returncode}) while it had a large document"

    async def end(self) -> None:
        """Wait until the process ends; kill it if it does not. It is not killed at once, because
        asyncio loses the return code of a process that is killed while it ends by itself."""
        with move_on_after(MAX_END, shield=True):
            await self._process.wait()
        await self.kill()

    async def kill(self) -> None:
        with CancelScope(shield=True):
            if self._process.returncode is None:
                self._process.kill()
            await self._process.aclose()


def call_built(build: Build[T], settings: bytes, *args: object) -> T:
    """In a helper: call the function that ``build`` makes of the pickled settings, once for all."""
    result: T = _built(build, settings)(*args)
    return result


@lru_cache(maxsize=256)
def _built(build: Build[T], settings: bytes) -> Callable[..., T]:
    return build(*pickle.loads(settings))  # noqa: S301 (the gateway pickled it)


class Helped(Generic[T]):
    """A function that helpers call. ``build`` makes it of the settings; it is a function of a
    module, so that it can be pickled, and so can the settings."""

    def __init__(self, helpers: Helpers, build: Build[T], *settings: object) -> None:
        self._helpers = helpers
        self._build = build
        self._settings = pickle.dumps(settings)

    async def run(self, *args: object) -> T:
        """As :meth:`Helpers.run`."""
        call = partial(call_built, self._build, self._settings, *args)
        return await self._helpers.run(call)

    def start(self, arrive: Callable[[T | Exception], object], *args: object) -> Callable[[], None]:
        """As :meth:`Helpers.start`."""
        call = partial(call_built, self._build, self._settings, *args)
        return self._helpers.start(arrive, call)
