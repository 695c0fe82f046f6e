"""Signals as users and service managers send them: real processes, a request in flight."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from bench.process import GatewayProcess
from tests.http.service import Connection, Service, message, serving

pytestmark = pytest.mark.timeout(180)  # several processes start, on a machine that may be busy

PAIRS = [("asyncio", "http1"), ("asyncio", "hypercorn"), ("trio", "hypercorn")]


@pytest.fixture(params=PAIRS, ids="-".join)
def flags(request: pytest.FixtureRequest) -> list[str]:
    library, server = request.param
    return ["--async-library", library, "--server", server]


class Slow(NamedTuple):
    """A gateway with a request in flight, which the backend answers after ``release.set()``."""

    gateway: GatewayProcess
    answer: Future[httpx.Response]
    release: threading.Event

    def signal_group(self, number: signal.Signals) -> None:
        os.killpg(self.gateway.pid, number)

    def workers(self) -> list[int]:
        return children(self.gateway.pid)


def children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def until(is_so: Callable[[], object], gateway: GatewayProcess) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline, gateway.log
        time.sleep(0.02)


def is_listening(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return False
    except ConnectionResetError:
        return True
    return True


def has_ended(pid: int) -> bool:
    """Also one that its parent has not yet waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def configuration(backend: str, **changes: Any) -> dict[str, Any]:
    endpoint = {
        "endpoint": "/slow",
        "timeout": "60s",
        "backend": [{"host": [backend], "url_pattern": "/"}],
    }
    return {"version": 3, "endpoints": [endpoint], **changes}


@contextmanager
def slow(folder: Path, flags: Sequence[str]) -> Generator[Slow]:
    release = threading.Event()

    def answer(service: Service, connection: Connection, request: bytes) -> None:
        assert release.wait(60)
        connection.sendall(message(b'{"n":1}'))

    with serving(answer) as backend, ThreadPoolExecutor() as threads:
        gateway = GatewayProcess(configuration(backend.url), folder, flags)
        try:
            gateway.start(is_awaited=False, has_own_group=True)
            gateway.wait_for("/__health", seconds=60)
            running = threads.submit(httpx.get, gateway.url + "/slow", timeout=60)
            until(lambda: backend.requests, gateway)
            yield Slow(gateway, running, release)
        finally:
            release.set()
            gateway.kill()


def forwarded(slow: Slow) -> None:
    """The terminal signals the group; each process gets further ones from wrappers around it."""
    slow.signal_group(signal.SIGINT)
    for pid in (*slow.workers(), slow.gateway.pid):
        os.kill(pid, signal.SIGTERM)
    slow.signal_group(signal.SIGTERM)


def to_the_group(slow: Slow) -> None:
    slow.signal_group(signal.SIGTERM)


def to_the_parent(slow: Slow) -> None:
    os.kill(slow.gateway.pid, signal.SIGTERM)


@pytest.mark.parametrize(
    ("workers", "send"),
    [("1", forwarded), ("2", forwarded), ("2", to_the_group), ("2", to_the_parent)],
)
def test_running_requests_finish_before_a_stop(
    tmp_path: Path, flags: list[str], workers: str, send: Callable[[Slow], None]
) -> None:
    with slow(tmp_path, [*flags, "--workers", workers]) as it:
        send(it)
        until(lambda: not is_listening(it.gateway.port), it.gateway)
        it.release.set()
        assert it.answer.result().json() == {"n": 1}
        assert it.gateway.wait(60) == 0, it.gateway.log
        assert "second signal" not in it.gateway.log


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_second_signal_more_than_a_second_later_ends_at_once(
    tmp_path: Path, workers: str
) -> None:
    with slow(tmp_path, ["--workers", workers]) as it:
        pids = it.workers()
        begin = time.monotonic()
        while "second signal" not in it.gateway.log:
            os.kill(it.gateway.pid, signal.SIGTERM)
            time.sleep(0.02)
            assert time.monotonic() < begin + 60
        assert time.monotonic() > begin + 1
        assert it.gateway.wait(60) == 1
        with pytest.raises(httpx.TransportError):
            it.answer.result()
        until(lambda: all(map(has_ended, pids)), it.gateway)


def test_a_hangup_without_certificates_and_user_signals_do_nothing(
    tmp_path: Path, flags: list[str]
) -> None:
    with slow(tmp_path, [*flags, "--workers", "2"]) as it:
        pids = it.workers()
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
            it.signal_group(number)
            os.kill(it.gateway.pid, number)
        until(lambda: "no certificates to reload" in it.gateway.log, it.gateway)
        it.release.set()
        assert it.answer.result().json() == {"n": 1}
        assert it.workers() == pids
        assert it.gateway.stop(seconds=60) == 0, it.gateway.log


def test_workers_stop_when_their_parent_is_killed(tmp_path: Path, flags: list[str]) -> None:
    with slow(tmp_path, [*flags, "--workers", "2"]) as it:
        pids = it.workers()
        it.gateway.kill()
        until(lambda: not is_listening(it.gateway.port), it.gateway)
        it.release.set()
        assert it.answer.result().json() == {"n": 1}
        until(lambda: all(map(has_ended, pids)), it.gateway)


def test_a_worker_that_is_killed_is_started_again(tmp_path: Path) -> None:
    with slow(tmp_path, ["--workers", "2"]) as it:
        pids = it.workers()
        os.kill(pids[0], signal.SIGKILL)
        until(lambda: len(set(it.workers()) - set(pids)) == 1, it.gateway)
        assert it.gateway.stop(seconds=60) == 0, it.gateway.log


def test_a_hangup_and_user_signals_do_not_end_a_process_that_starts(tmp_path: Path) -> None:
    gateway = GatewayProcess(configuration("http://127.0.0.1:80"), tmp_path)
    file = tmp_path / f"gateway-{gateway.port}.json"
    content = file.read_text()
    file.unlink()
    os.mkfifo(file)
    try:
        gateway.start(is_awaited=False)
        with file.open("w") as pipe:  # waits until the process reads its configuration
            for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
                os.kill(gateway.pid, number)
            pipe.write(content)
        gateway.wait_for("/__health", seconds=60)
        until(lambda: "no certificates to reload" in gateway.log, gateway)
        assert gateway.stop(seconds=60) == 0, gateway.log
    finally:
        gateway.kill()


def test_workers_that_start_stop_as_others_do(tmp_path: Path) -> None:
    config = configuration("http://127.0.0.1:80")
    gateway = GatewayProcess(config, tmp_path, ["--workers", "2"])
    try:
        gateway.start(is_awaited=False, has_own_group=True)
        until(lambda: len(children(gateway.pid)) == 2, gateway)
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            os.killpg(gateway.pid, number)
        assert gateway.wait(60) == 0, gateway.log
        assert "ended with status" not in gateway.log
    finally:
        gateway.kill()
