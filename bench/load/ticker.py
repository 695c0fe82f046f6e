"""A timer of Linux (timerfd) for an event loop, whose own timers are rounded to milliseconds.

From Python 3.13 the standard library has os.timerfd_create and os.timerfd_settime_ns. They replace
the calls by ctypes when the project no longer supports Python 3.11 and 3.12.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import time
from collections.abc import Callable

CLOCK_MONOTONIC = 1
ABSOLUTE = 1
_libc = ctypes.CDLL(None, use_errno=True)


class _Time(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Timer(ctypes.Structure):
    _fields_ = (("interval", _Time), ("value", _Time))


class Ticker:
    """Calls ``fire`` at a moment of ``time.monotonic``. It has one moment at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, fire: Callable[[], None]) -> None:
        self._fd = _libc.timerfd_create(CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._fire = fire
        self._timer = _Timer()
        self._reference = ctypes.byref(self._timer)
        self._loop = loop
        loop.add_reader(self._fd, self._read)

    def set(self, moment: float) -> None:
        """Call ``fire`` at ``moment``, or at once when that is in the past."""
        moment = max(moment, time.monotonic() + 1e-6)
        value = self._timer.value
        value.seconds = int(moment)
        value.nanoseconds = int((moment - value.seconds) * 1e9)
        _libc.timerfd_settime(self._fd, ABSOLUTE, self._reference, None)

    def close(self) -> None:
        self._loop.remove_reader(self._fd)
        os.close(self._fd)

    def _read(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:
            return
        self._fire()
