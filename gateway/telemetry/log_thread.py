"""A thread that writes the log, so that a slow or blocked output never blocks the event loop.

The standard library's ``QueueListener`` waits for ever for a blocked output when it ends.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from queue import SimpleQueue

MAX_WAITING = 10_000
"""Lines that wait to be written. Further ones are dropped, and counted."""
CLOSE_TIMEOUT = 2.0
"""Seconds that the last lines may take to be written when the process ends."""


class LogThread(logging.Handler):
    """Passes records to ``handlers`` in a thread of its own.

    When lines had to be dropped, a line says how many, as soon as there is room again.
    """

    def __init__(self, handlers: Sequence[logging.Handler], max_waiting: int = MAX_WAITING) -> None:
        super().__init__()
        self._handlers = handlers
        for handler in handlers:
            # Only the thread uses them. ``logging.shutdown()`` would wait for a blocked one.
            handler.lock = None
        self._max_waiting = max_waiting
        self._waiting: SimpleQueue[logging.LogRecord | None] = SimpleQueue()
        self._dropped = 0
        # A daemon: an output that is blocked for ever must not keep the process alive.
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Called in the thread that logs. The message is made here: its arguments may change."""
        if self._waiting.qsize() >= self._max_waiting:
            self._dropped += 1
            return
        try:
            record.msg, record.args = record.getMessage(), None
        except Exception:
            self.handleError(record)
            return
        self._waiting.put(record)

    def close(self) -> None:
        """Write what waits, for :data:`CLOSE_TIMEOUT` at most."""
        if self._thread.is_alive():
            self._waiting.put(None)
            self._thread.join(CLOSE_TIMEOUT)
        super().close()

    def _run(self) -> None:
        while (record := self._waiting.get()) is not None:
            self._write(record)
            if self._dropped and self._waiting.empty():
                self._write(self._report())
        if self._dropped:
            self._write(self._report())
        for handler in self._handlers:
            handler.close()

    def _report(self) -> logging.LogRecord:
        dropped, self._dropped = self._dropped, 0
        text = "%d lines of the log were dropped: its output is too slow"
        return logging.LogRecord(
            "gateway.log", logging.WARNING, __file__, 0, text, (dropped,), None
        )

    def _write(self, record: logging.LogRecord) -> None:
        for handler in self._handlers:
            if record.levelno >= handler.level:
                handler.handle(record)
