"""How a parent treats its workers. These are programs of a few lines."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager

import pytest

from gateway.server import workers

SUPERVISE = """
import sys, anyio
from gateway.server import workers
workers.KILL_TIMEOUT = 0
workers.RESTART_DELAY = 0
command = [sys.executable, "-c", sys.argv[1]]
sys.exit(anyio.run(workers.supervise, command, 2, float(sys.argv[2])))
"""
WORKER = """
import os, signal, sys, time
parent = int(sys.argv[sys.argv.index("--parent") + 1])
def say(text):
    os.write(1, text.encode() + b"\\n")
"""
PATIENT = WORKER + "say('up'); os.read(parent, 1); say('told')"
"""Ends when the parent's end is closed."""
FAILING = PATIENT + "; sys.exit(3)"
DEAF = WORKER + "say('up'); time.sleep(60)"
UNABLE = WORKER + "say('up'); sys.exit(1)"
CRASHING = WORKER + "os.write(parent, b'1'); say('up'); sys.exit(1)"


@contextmanager
def supervised(worker: str, grace: float = 60) -> Generator[subprocess.Popen[str]]:
    """The parent of two such workers; they write a line when they are up."""
    command = [sys.executable, "-c", SUPERVISE, worker, str(grace)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert lines(process, 2) == ["up"] * 2
            yield process
        finally:
            process.kill()


def lines(process: subprocess.Popen[str], number: int) -> list[str]:
    assert process.stdout is not None
    return [process.stdout.readline().strip() for _ in range(number)]


@pytest.mark.parametrize(("worker", "expected"), [(PATIENT, 0), (FAILING, 1)])
def test_a_stop_is_clean_unless_a_worker_fails_at_it(worker: str, expected: int) -> None:
    with supervised(worker) as process:
        process.terminate()
        assert lines(process, 2) == ["told"] * 2
        assert process.wait(50) == expected


def test_a_worker_that_does_not_stop_in_time_is_killed() -> None:
    with supervised(DEAF, grace=0.1) as process:
        process.terminate()
        assert process.wait(50) == 1
        assert lines(process, 1) == [""]  # the last process that could write has ended


def test_workers_that_cannot_start_end_all() -> None:
    with supervised(UNABLE) as process:
        assert process.wait(50) == 1


def test_a_worker_that_has_served_is_started_again_whatever_its_status_was() -> None:
    with supervised(CRASHING) as process:
        assert lines(process, 6) == ["up"] * 6


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGABRT])
def test_workers_are_told_when_the_parent_ends_whatever_ended_it(number: signal.Signals) -> None:
    with supervised(PATIENT) as process:
        process.send_signal(number)
        assert lines(process, 3) == ["told", "told", ""]


def test_signals_wait_until_a_worker_handles_them() -> None:
    mask = "signal.pthread_sigmask(signal.SIG_BLOCK, [])"
    held = "{signal.SIGHUP, signal.SIGINT, signal.SIGTERM}"
    with supervised(WORKER + f"say('up' if {mask} == {held} else 'open'); os.read(parent, 1)"):
        pass


def test_the_end_of_the_parent_is_noticed_although_the_loop_makes_its_descriptor_non_blocking(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended = threading.Event()
    monkeypatch.setattr(workers, "exit_late", ended.set)
    monkeypatch.setattr(workers, "CLEANUP_TIMEOUT", 0)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setblocking(False)
        guard = threading.Thread(target=workers._end_with_parent, args=(theirs.fileno(), 0))
        guard.start()
        assert not ended.is_set()
        ours.close()
        guard.join(30)
        assert ended.is_set()
