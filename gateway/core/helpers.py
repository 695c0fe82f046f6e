"""Helper processes: work on large documents is done in them, and holds no event loop.

Decoders and validators hold Python's lock from beginning to end, so a thread would not help. A
helper is started when the first large document comes; it ends when a document takes too long, or
when its request is cancelled.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Any

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

log = get_logger("gateway.helpers")

MAX_HELPERS = 2
"""At the same time; further documents wait."""
MAX_WORK = 10.0
"""Seconds of processor time for one document. What waits for it has deadlines of its own."""
MAX_START = 60.0
"""Seconds for a helper to start."""
MAX_END = 5.0
"""Seconds for a helper to end after it has closed its pipes."""
READY = b"ready"
PIECE = 256 * 1024
"""Bytes that are written to a helper, and read from it, at once."""
LENGTH = 8
"""Bytes of the length before each message to and from a helper."""

# A helper runs decoders on what strangers wrote: what comes from it is data, and never pickled.
encode_answer = msgpack.Encoder().encode
decode_answer = msgpack.Decoder(tuple[bool, Any]).decode
"""Whether the call returned, and what; else why it failed."""


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

    async def run(self, func: Callable[..., Any], *args: Any) -> Any:
        """What ``func(*args)`` returns: None, a number, text, bytes, or a list of such.

        ``func`` is a function of a module; it and its arguments can be pickled. Raises
        :class:`HelperFailure` when it raises, takes too long, or needs too much memory.
        """
        assert self._slots is not None, "the gateway is not open"
        request = pickle.dumps((func, args), pickle.HIGHEST_PROTOCOL)
        async with self._slots:
            is_done, result = await self._ask(request)
        if not is_done:
            raise HelperFailure(result)
        return result

    def start(
        self, arrive: Callable[[Any], object], func: Callable[..., Any], *args: Any
    ) -> Callable[[], None]:
        """As :meth:`run` without waiting: calls ``arrive`` once with what is returned or raised.

        Returns what ends it: then ``arrive`` is not called any more.
        """
        assert self._tasks is not None, "the gateway is not open"
        scope = CancelScope()
        self._tasks.start_soon(self._answer, scope, arrive, func, args)
        return scope.cancel

    async def _answer(
        self,
        scope: CancelScope,
        arrive: Callable[[Any], object],
        func: Callable[..., Any],
        args: tuple[Any, ...],
    ) -> None:
        with scope:
            try:
                result = await self.run(func, *args)
            except Exception as error:
                result = error
            if scope.cancel_called:
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
            raise HelperFailure(helper.last_words(self._seconds)) from error
        except BaseException:
            await helper.kill()
            raise
        self._idle.append(helper)
        return result


class _Helper:
    """One process."""

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
            raise HelperFailure("a helper process ended at its start") from error
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
        """So many bytes; the helper sends no more than that."""
        stdout = self._process.stdout
        assert stdout is not None
        answer = bytearray()
        while len(answer) < size:
            answer += await stdout.receive(min(PIECE, size - len(answer)))
        return answer

    def last_words(self, seconds: float) -> str:
        """Why it has ended."""
        if self._process.returncode == -signal.SIGPROF:
            return f"a large document took more than {seconds:g} s of processor time"
        return f"a helper process ended ({self._process.returncode}) while it had a large document"

    async def end(self) -> None:
        """Wait for its end, and make sure of it. asyncio loses the return code of a process that
        ends by itself at the moment in which it is killed."""
        with move_on_after(MAX_END, shield=True):
            await self._process.wait()
        await self.kill()

    async def kill(self) -> None:
        with CancelScope(shield=True):
            if self._process.returncode is None:
                self._process.kill()
            await self._process.aclose()


def call_built(build: Callable[..., Callable[..., Any]], settings: bytes, *args: Any) -> Any:
    """In a helper: call what ``build`` makes of pickled settings; it is made once."""
    return _built(build, settings)(*args)


@lru_cache(maxsize=256)
def _built(build: Callable[..., Callable[..., Any]], settings: bytes) -> Callable[..., Any]:
    return build(*pickle.loads(settings))  # noqa: S301 (the gateway pickled it)


class Helped:
    """A function that is built from settings, called in helpers. ``build``: of a module, so that it
    can be pickled, as its settings can."""

    def __init__(
        self, helpers: Helpers, build: Callable[..., Callable[..., Any]], *settings: Any
    ) -> None:
        self._helpers = helpers
        self._call = (call_built, build, pickle.dumps(settings))

    async def run(self, *args: Any) -> Any:
        """As :meth:`Helpers.run`."""
        return await self._helpers.run(*self._call, *args)

    def start(self, arrive: Callable[[Any], object], *args: Any) -> Callable[[], None]:
        """As :meth:`Helpers.start`."""
        return self._helpers.start(arrive, *self._call, *args)
