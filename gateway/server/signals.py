"""What a process does on signals.

SIGTERM and SIGINT: the first signal starts a graceful stop. Another one more than a second later
ends the process at once. SIGHUP: reload certificates. SIGUSR1 and SIGUSR2 are ignored.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import contextmanager

from anyio import TASK_STATUS_IGNORED, Event, current_time, open_signal_receiver, to_thread
from anyio.abc import TaskStatus

from ..telemetry.log_thread import close_log
from ..telemetry.logs import get_logger

log = get_logger("gateway.server")

CLEANUP_TIMEOUT = 5.0
"""Seconds after the grace period to close connections to brokers and clean up. Then the process
ends in any case."""

MIN_SECOND_SIGNAL_DELAY = 1.0
"""Seconds after the first signal. A signal that comes sooner is a duplicate: Ctrl-C and service
managers signal every process of a group, and wrappers forward their signals."""

HANDLED = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)


def prepare_signals() -> None:
    """From now on SIGHUP waits until this process handles it; SIGUSR1 and SIGUSR2 are ignored."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def delayed_signals() -> Generator[None]:
    """A process started in this block gets its signals when it is ready to handle them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


async def stop_on_signals(
    stop: Event,
    grace: float,
    before_end: Callable[[], object] = lambda: None,
    *,
    task_status: TaskStatus[None] = TASK_STATUS_IGNORED,
) -> None:
    """Set ``stop`` on the first signal. Never returns; to be cancelled when the server has ended.

    ``before_end`` is called before a second signal ends this process.
    """
    first: float | None = None
    with _received(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for number in signals:
            if first is None:
                first = current_time()
                log.info("%s: stopping", number.name)
                stop.set()
                _end_process_after(grace + CLEANUP_TIMEOUT)
            elif current_time() - first > MIN_SECOND_SIGNAL_DELAY:
                log.warning("%s: second signal: the process ends now", number.name)
                before_end()
                _end_process()


async def call_on_hangup(
    call: Callable[[], object], *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED
) -> None:
    """Call ``call`` in a thread for each SIGHUP. Never returns."""
    with _received(signal.SIGHUP) as signals:
        task_status.started()
        async for _ in signals:
            await to_thread.run_sync(call)


@contextmanager
def _received(*numbers: signal.Signals) -> Generator[AsyncIterator[signal.Signals]]:
    """Signals that have waited, and further ones. After the block they are ignored: the process is
    about to end."""
    try:
        with open_signal_receiver(*numbers) as signals:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
            try:
                yield signals
            finally:
                # Closing the receiver restores the default action, which would end the process.
                signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)


def _end_process_after(seconds: float) -> None:
    """Uses a thread, so that it works when the event loop hangs."""
    timer = threading.Timer(seconds, exit_late)
    timer.daemon = True
    timer.start()


def exit_late() -> None:
    sys.stderr.write("gateway: did not stop in time: the process ends now\n")
    _end_process()


def _end_process() -> None:
    close_log()
    os._exit(1)
