"""The thread that writes the log."""

from __future__ import annotations

import logging
from threading import Event

import pytest

from gateway.telemetry import log_thread
from gateway.telemetry.log_thread import DROPPED, LineThread, LogThread, close_log

WAIT = 10.0
"""Seconds, far more than is needed."""


class Blocked(logging.Handler):
    """An output that blocks until ``go`` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.go = Event()
        self.is_writing = Event()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.is_writing.set()
        self.go.wait(WAIT)
        self.lines.append(record.getMessage())


def log(thread: LogThread, *texts: str) -> None:
    for text in texts:
        thread.handle(logging.LogRecord("x", logging.INFO, "", 0, text, (), None))


def test_lines_are_written_in_order_and_all_at_the_end() -> None:
    output = Blocked()
    output.go.set()
    thread = LogThread([output])
    texts = [str(number) for number in range(1000)]
    log(thread, *texts)
    thread.close()
    assert output.lines == texts


def test_a_blocked_output_blocks_nobody_and_dropped_lines_are_counted() -> None:
    output = Blocked()
    thread = LogThread([output], max_waiting=3)
    log(thread, "first")
    assert output.is_writing.wait(WAIT)
    log(thread, "1", "2", "3", "4", "5")
    output.go.set()
    thread.close()
    report = f"2 {DROPPED}"
    assert output.lines == ["first", "1", "2", "3", report]


def test_an_output_that_is_blocked_for_ever_does_not_keep_the_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(log_thread, "CLOSE_TIMEOUT", 0.0)
    output = Blocked()
    thread = LogThread([output])
    log(thread, "first")
    assert output.is_writing.wait(WAIT)
    thread.close()
    assert output.lines == []
    output.go.set()


def test_the_message_is_made_when_it_is_logged() -> None:
    output = Blocked()
    thread = LogThread([output])
    names = ["a"]
    thread.handle(logging.LogRecord("x", logging.INFO, "", 0, "%s", (names,), None))
    names.append("b")
    output.go.set()
    thread.close()
    assert output.lines == ["['a']"]


def test_a_handler_gets_the_levels_that_it_wants() -> None:
    output = Blocked()
    output.go.set()
    output.setLevel(logging.WARNING)
    thread = LogThread([output])
    log(thread, "information")
    thread.close()
    assert output.lines == []


def test_an_output_that_fails_loses_its_lines_and_no_others() -> None:
    written: list[str] = []
    reports: list[str] = []
    is_first = Event()

    def write(text: str) -> None:
        if not is_first.is_set():
            is_first.set()
            raise BrokenPipeError
        written.append(text)

    thread = LineThread(write, reports.append)
    thread.line("lost\n")
    assert is_first.wait(WAIT)
    thread.line("written\n")
    thread.close()
    assert (written, reports) == (["written\n"], [f"1 {DROPPED}"])


def test_a_handler_that_fails_loses_its_lines_and_no_others() -> None:
    class Fails(Blocked):
        def emit(self, record: logging.LogRecord) -> None:
            super().emit(record)
            if record.getMessage() == "bad":
                raise OSError

    output = Fails()
    thread = LogThread([output])
    log(thread, "bad")
    assert output.is_writing.wait(WAIT)
    log(thread, "good")
    output.go.set()
    thread.close()
    assert output.lines[:2] == ["bad", "good"]


def test_a_logger_writes_lines_too() -> None:
    written: list[str] = []
    thread = LineThread(written.append, written.append)
    thread.handle(logging.LogRecord("x", logging.INFO, "", 0, "a %d", (1,), None))
    thread.close()
    assert written == ["a 1\n"]


def test_a_process_that_ends_at_once_writes_what_waits() -> None:
    output = Blocked()
    output.go.set()
    thread = LogThread([output])
    log(thread, "last")
    close_log()
    assert output.lines == ["last"]
    thread.close()


def test_a_handler_that_fails_takes_no_lines_from_the_others() -> None:
    class Fails(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise OSError

    output = Blocked()
    output.go.set()
    thread = LogThread([Fails(), output])
    log(thread, "first", "second")
    thread.close()
    assert output.lines[:2] == ["first", "second"]
