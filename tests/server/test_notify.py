"""What a service manager is sent, on a socket as systemd has it."""

from __future__ import annotations

import os
import socket
from collections.abc import Generator
from itertools import count
from pathlib import Path

import pytest
from anyio import Event, create_task_group, wait_all_tasks_blocked

from gateway.server import notify
from gateway.server.notify import ServiceManager, keep_alive

_numbers = count()


@pytest.fixture(params=["a path", "an abstract name"])
def listening(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Generator[tuple[str, socket.socket]]:
    """The value of NOTIFY_SOCKET, and the socket."""
    address = str(tmp_path / "notify")
    if request.param == "an abstract name":
        address = f"@hutch-gateway-{os.getpid()}-{next(_numbers)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as own:
        own.bind(address.replace("@", "\0"))
        own.settimeout(20)
        yield address, own


def received(own: socket.socket) -> list[str]:
    return own.recv(4096).decode().split("\n")


def test_a_service_manager_gets_one_datagram_for_each_notification(
    listening: tuple[str, socket.socket],
) -> None:
    address, own = listening
    manager = ServiceManager({"NOTIFY_SOCKET": address})
    manager.ready("on http://127.0.0.1:8080")
    manager.alive()
    manager.stopping(35.5)
    assert received(own) == ["READY=1", "STATUS=on http://127.0.0.1:8080"]
    assert received(own) == ["WATCHDOG=1"]
    assert received(own) == ["STOPPING=1", "STATUS=stopping", "EXTEND_TIMEOUT_USEC=35500000"]


def test_child_processes_do_not_inherit_the_variables() -> None:
    environ = {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1", "HOME": "/"}
    ServiceManager(environ)
    assert environ == {"HOME": "/"}


@pytest.mark.parametrize(
    ("environ", "watchdog"),
    [
        ({}, None),
        ({"NOTIFY_SOCKET": "/x"}, None),
        ({"WATCHDOG_USEC": "30000000"}, None),
        ({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "0"}, None),
        ({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "soon"}, None),
        ({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "30000000"}, 30),
        (
            {
                "NOTIFY_SOCKET": "/x",
                "WATCHDOG_USEC": "500000",
                "WATCHDOG_PID": str(os.getpid()),
            },
            0.5,
        ),
    ],
)
def test_a_watchdog_needs_a_socket_a_period_and_this_process(
    environ: dict[str, str], watchdog: float | None
) -> None:
    assert ServiceManager(environ).watchdog == watchdog


def test_nothing_is_sent_without_a_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", None)
    manager = ServiceManager({})
    manager.ready("on http://127.0.0.1:8080")
    manager.alive()
    manager.stopping(1)


@pytest.mark.parametrize("address", ["/nothing/listens/here", "@nothing-listens-here", "vsock:2:9"])
def test_a_notification_that_cannot_be_sent_is_a_warning(
    address: str, caplog: pytest.LogCaptureFixture
) -> None:
    ServiceManager({"NOTIFY_SOCKET": address}).ready("up")
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage().startswith(f"cannot send READY=1 to {address} (NOTIFY_SOCKET): ")


def test_a_full_queue_of_the_service_manager_does_not_block_for_long(
    listening: tuple[str, socket.socket],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(notify, "SEND_TIMEOUT", 0.01)
    manager = ServiceManager({"NOTIFY_SOCKET": listening[0]})
    while not caplog.records:
        manager.alive()
    assert caplog.records[0].getMessage().endswith("timed out")


class Recorded:
    """A watcher that counts signs of life. ``watchdog`` as in :class:`Watcher`."""

    def __init__(self, watchdog: float | None) -> None:
        self.watchdog = watchdog
        self.signs = 0
        self.has_several = Event()

    def alive(self) -> None:
        self.signs += 1
        if self.signs == 3:
            self.has_several.set()

    def ready(self, status: str) -> None:
        raise AssertionError

    def stopping(self, seconds: float) -> None:
        raise AssertionError


@pytest.mark.anyio
async def test_signs_of_life_come_while_the_loops_respond() -> None:
    watcher, go_on = Recorded(0.01), Event()
    async with create_task_group() as tasks:
        tasks.start_soon(keep_alive, watcher, go_on.wait)
        await wait_all_tasks_blocked()
        assert watcher.signs == 0
        go_on.set()
        await watcher.has_several.wait()
        tasks.cancel_scope.cancel()


@pytest.mark.anyio
async def test_without_a_watchdog_there_is_no_sign_of_life() -> None:
    watcher = Recorded(None)
    await keep_alive(watcher, Event().wait)
    assert watcher.signs == 0
