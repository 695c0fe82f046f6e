"""Threads that write the log, so that a slow or blocked output never blocks the event loop.

The standard library's ``QueueListener`` wakes up for each record, and waits for ever for a blocked
output when it ends.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

MAX_WAITING = 10_000
"""Lines that wait to be written. Further ones are dropped, and counted."""
PAUSE = 0.02
"""Seconds between two writes. A thread that woke up for each line would cost more than the line."""
CLOSE_TIMEOUT = 2.0
"""Seconds that the last lines may take to be written when the process ends."""

DROPPED = "lines of the log were dropped: its output was too slow, or failed"

T = TypeVar("T")


class OutputThread(Generic[T]):
    """A thread that writes items, as many at a time as there are.

    ``write`` may block. It gets the items, and how many were dropped since its last call. If it
    raises, its items count as dropped.
    """

    def __init__(
        self, write: Callable[[list[T], int], object], max_waiting: int = MAX_WAITING
    ) -> None:
        self._write = write
        self._max_waiting = max_waiting
        self._waiting: SimpleQueue[T | None] = SimpleQueue()
        # The first is counted by those who log, the others by the thread: no lock is needed.
        self._dropped = 0
        self._failed = 0
        self._reported = 0
        self._is_closing = threading.Event()
        # A daemon: an output that is blocked for ever must not keep the process alive.
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()
        _open.add(self)

    def put(self, item: T) -> None:
        """Have ``item`` written soon. Never waits."""
        if self._waiting.qsize() < self._max_waiting:
            self._waiting.put(item)
        else:
            self._dropped += 1

    def close(self) -> None:
        """Write what waits, for :data:`CLOSE_TIMEOUT` at most."""
        _open.discard(self)
        if self._thread.is_alive():
            self._is_closing.set()
            self._waiting.put(None)
            self._thread.join(CLOSE_TIMEOUT)

    def _run(self) -> None:
        is_open = True
        while is_open:
            found = [self._waiting.get()]
            try:
                while True:
                    found.append(self._waiting.get_nowait())
            except Empty:
                pass
            is_open = None not in found
            items = [item for item in found if item is not None]
            lost = self._dropped + self._failed
            try:
                self._write(items, lost - self._reported)
                self._reported = lost
            except Exception:  # of any type: the next lines are written all the same
                self._failed += len(items)
            if is_open:
                self._is_closing.wait(PAUSE)


class LogThread(logging.Handler):
    """Passes records to ``handlers`` in a thread of its own. When records had to be dropped, one
    more says how many."""

    def __init__(self, handlers: Sequence[logging.Handler], max_waiting: int = MAX_WAITING) -> None:
        super().__init__()
        self._handlers = handlers
        self._thread = OutputThread(self._handle_all, max_waiting)

    def emit(self, record: logging.LogRecord) -> None:
        """Called in the thread that logs. The message is made here: its arguments may change."""
        try:
            record.msg, record.args = record.getMessage(), None
        except Exception:
            self.handleError(record)
            return
        self._thread.put(record)

    def close(self) -> None:
        self._thread.close()
        for handler in self._handlers:
            handler.close()
        super().close()

    def _handle_all(self, records: list[logging.LogRecord], dropped: int) -> None:
        if dropped:
            text = f"{dropped} {DROPPED}"
            records.append(
                logging.LogRecord("gateway.log", logging.WARNING, __file__, 0, text, None, None)
            )
        failure: Exception | None = None
        for handler in self._handlers:
            try:
                for record in records:
                    # Not ``handle()``: only this thread uses the handler, and with its lock held
                    # ``logging.shutdown()`` would wait for a blocked output.
                    if record.levelno >= handler.level and handler.filter(record):
                        handler.emit(record)
            except Exception as error:  # the other handlers get all records
                failure = error
        if failure is not None:
            raise failure


_open: set[OutputThread[Any]] = set()


def close_log() -> None:
    """Write what waits, before the process ends at once. Each output may take
    :data:`CLOSE_TIMEOUT`."""
    for thread in tuple(_open):
        thread.close()


class LineThread(logging.Handler):
    """Writes lines by ``write``. A handler, so that any logger can use it; :meth:`line` costs less
    than a record. When lines had to be dropped, ``report`` gets a text about it."""

    def __init__(
        self,
        write: Callable[[str], object],
        report: Callable[[str], object],
        max_waiting: int = MAX_WAITING,
    ) -> None:
        super().__init__()
        self._write = write
        self._report = report
        self._thread = OutputThread(self._write_all, max_waiting)
        self.line = self._thread.put
        """Have a text written soon, which has its line break."""

    def emit(self, record: logging.LogRecord) -> None:
        self.line(f"{self.format(record)}\n")

    def close(self) -> None:
        self._thread.close()
        super().close()

    def _write_all(self, lines: list[str], dropped: int) -> None:
        if dropped:
            self._report(f"{dropped} {DROPPED}")
        if lines:
            self._write("".join(lines))
