"""SIGTERM and SIGINT: the first asks for a stop, the second insists. SIGHUP: read again."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable

from anyio import Event, open_signal_receiver, to_thread

from ..logs import get_logger

log = get_logger("gateway.server")

AFTER_GRACE = 5.0
"""Seconds beyond the grace period for links and clean-up; then the process ends regardless."""


async def stop_on_signals(
    stop: Event, grace: float, about_to_stop: Callable[[], object] = lambda: None
) -> None:
    """Set ``stop`` on the first signal. Never returns; cancel it when the server has ended."""
    with open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            if stop.is_set():
                log.warning("second signal: stopping now")
                _end_process()
            log.info("%s: stopping", signal.Signals(number).name)
            about_to_stop()
            stop.set()
            _end_process_after(grace + AFTER_GRACE)


async def call_on_hangup(call: Callable[[], object]) -> None:
    """In a thread, on each SIGHUP. Never returns."""
    with open_signal_receiver(signal.SIGHUP) as signals:
        async for _ in signals:
            await to_thread.run_sync(call)


def _end_process_after(seconds: float) -> None:
    """A thread of its own: it works when the event loop hangs."""
    timer = threading.Timer(seconds, _end_late)
    timer.daemon = True
    timer.start()


def _end_late() -> None:
    sys.stderr.write("gateway: did not stop in time, ended\n")
    _end_process()


def _end_process() -> None:

    os._exit(1)
