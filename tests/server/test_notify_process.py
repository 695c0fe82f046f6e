"""Gateways as systemd starts them: with NOTIFY_SOCKET and a watchdog."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from bench.process import GatewayProcess, configuration, endpoint

from .test_signals import PAIRS, children, has_ended, until

pytestmark = pytest.mark.timeout(180)  # several processes start, on a machine that may be busy

HOOKS = """
import pathlib, time

def hang(request):
    pathlib.Path("hangs").touch()
    time.sleep(3600)
"""

NEVER, FAR, NEAR = 0, 3600, 2
"""Periods of a watchdog in seconds. NEAR: a worker on a busy machine does not miss it."""


class Notified(NamedTuple):
    """A gateway with a socket for its notifications."""

    gateway: GatewayProcess
    socket: socket.socket

    def next(self) -> list[str]:
        """The lines of the next notification."""
        try:
            return self.socket.recv(4096).decode().split("\n")
        except TimeoutError:
            raise AssertionError(self.gateway.log) from None

    def until(self, line: str) -> list[str]:
        """The lines of the first notification that has ``line``."""
        while line not in (found := self.next()):
            assert found == ["WATCHDOG=1"]
        return found

    def drain(self) -> None:
        """Forget what has arrived."""
        self.socket.setblocking(False)
        try:
            while self.socket.recv(4096):
                pass
        except BlockingIOError:
            self.socket.settimeout(60)


@contextmanager
def notified(
    folder: Path, monkeypatch: pytest.MonkeyPatch, watchdog: int, *flags: str
) -> Generator[Notified]:
    (folder / "blocking.py").write_text(HOOKS)
    hook = {"gateway/python": {"request": "blocking:hang"}}
    config = configuration(
        endpoint("/hang", {"host": ["http://127.0.0.1:80"]}, extra_config=hook),
        max_shutdown_wait_time="7s",
    )
    address = str(folder / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    if watchdog:
        monkeypatch.setenv("WATCHDOG_USEC", str(watchdog * 1_000_000))
    gateway = GatewayProcess(config, folder, flags, cwd=folder)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as own:
        own.bind(address)
        own.settimeout(60)
        try:
            gateway.start(is_awaited=False)
            yield Notified(gateway, own)
        finally:
            gateway.kill()


@contextmanager
def hanging(gateway: GatewayProcess, folder: Path) -> Generator[None]:
    """One request blocks an event loop for ever. In the end it has failed."""

    def ask() -> None:
        with pytest.raises(httpx.TransportError):
            httpx.get(gateway.url + "/hang", timeout=120)

    with ThreadPoolExecutor() as threads:
        asked = threads.submit(ask)
        until((folder / "hangs").exists, gateway)
        yield
        asked.result()


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_a_service_manager_knows_when_the_gateway_serves_and_when_it_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pair: tuple[str, str]
) -> None:
    flags = ["--async-library", pair[0], "--server", pair[1]]
    with notified(tmp_path, monkeypatch, NEVER, *flags) as it:
        ready, status = it.next()
        assert ready == "READY=1"
        assert status.startswith("STATUS=gateway 0.")
        assert it.gateway.url in status
        assert httpx.get(it.gateway.url + "/__health").status_code == 200
        os.kill(it.gateway.pid, signal.SIGTERM)
        assert it.next() == ["STOPPING=1", "STATUS=stopping", "EXTEND_TIMEOUT_USEC=12000000"]
        assert it.gateway.wait(60) == 0, it.gateway.log


def test_with_workers_the_parent_is_ready_when_all_of_them_serve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with notified(tmp_path, monkeypatch, FAR, "--workers", "3") as it:
        assert it.until("READY=1") == ["READY=1", "STATUS=3 workers"]
        workers = children(it.gateway.pid)
        assert len(workers) == 3
        for pid in (it.gateway.pid, *workers):
            environ = Path(f"/proc/{pid}/environ").read_bytes()
            assert (b"NOTIFY_SOCKET" in environ) == (pid == it.gateway.pid)
        os.kill(it.gateway.pid, signal.SIGTERM)
        assert "EXTEND_TIMEOUT_USEC=13000000" in it.until("STOPPING=1")
        assert it.gateway.wait(60) == 0, it.gateway.log


@pytest.mark.parametrize("library", ["asyncio", "trio"])
def test_signs_of_life_end_when_the_event_loop_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    """Then systemd sends SIGABRT. The log says where the event loop hangs."""
    with notified(tmp_path, monkeypatch, NEAR, "--async-library", library) as it:
        it.until("READY=1")
        for _ in range(3):
            it.until("WATCHDOG=1")
        with hanging(it.gateway, tmp_path):
            it.drain()
            it.socket.settimeout(2 * NEAR)
            with pytest.raises(TimeoutError):
                it.socket.recv(4096)
            os.kill(it.gateway.pid, signal.SIGABRT)
            assert it.gateway.wait(60) == -signal.SIGABRT
        assert 'blocking.py", line 6 in hang' in it.gateway.log


def test_a_worker_that_hangs_is_aborted_and_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with notified(tmp_path, monkeypatch, NEAR, "--workers", "2") as it:
        it.until("READY=1")
        before = set(children(it.gateway.pid))
        with hanging(it.gateway, tmp_path):
            until(lambda: len(set(children(it.gateway.pid)) - before) == 1, it.gateway)
        [ended] = before - set(children(it.gateway.pid))
        assert has_ended(ended)
        assert "does not respond: it is aborted" in it.gateway.log
        assert 'blocking.py", line 6 in hang' in it.gateway.log
        it.drain()
        it.until("WATCHDOG=1")
        assert it.gateway.stop(seconds=60) == 0, it.gateway.log


def test_a_worker_that_cannot_be_aborted_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with notified(tmp_path, monkeypatch, NEAR, "--workers", "2") as it:
        it.until("READY=1")
        first = children(it.gateway.pid)[0]
        os.kill(first, signal.SIGSTOP)
        until(lambda: has_ended(first), it.gateway)
        until(lambda: len(set(children(it.gateway.pid)) - {first}) == 2, it.gateway)
        assert it.gateway.stop(seconds=60) == 0, it.gateway.log


def test_workers_are_not_aborted_after_a_pause_of_all_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with notified(tmp_path, monkeypatch, NEAR, "--workers", "2") as it:
        it.until("READY=1")
        workers = children(it.gateway.pid)
        processes = [it.gateway.pid, *workers]
        for pid in processes:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(2 * NEAR)  # the pause itself: longer than the period of the watchdog
        it.drain()
        for pid in processes:
            os.kill(pid, signal.SIGCONT)
        for _ in range(6):
            it.until("WATCHDOG=1")
        assert children(it.gateway.pid) == workers, it.gateway.log
