"""Notifications for a service manager: the protocol of systemd's ``sd_notify``.

It knows the socket and what is written to it. It does not know when the gateway serves or stops.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Protocol

from anyio import sleep

from ..telemetry.logs import get_logger

log = get_logger("gateway.server")

SEND_TIMEOUT = 1.0
"""Seconds to wait while the queue of the service manager is full. Then the notification is lost."""


class Watcher(Protocol):
    """Is notified of the life of this process: a service manager, or the parent of a worker.

    ``watchdog``: seconds without :meth:`alive` after which the watcher ends this process; None: it
    does not.
    """

    watchdog: float | None

    def ready(self, status: str) -> None:
        """All ports are served. ``status``: one line for people."""

    def alive(self) -> None:
        """The event loops respond."""

    def stopping(self, seconds: float) -> None:
        """The stop begins, and takes so many seconds at most."""


class ServiceManager:
    """systemd, or what started this process with ``NOTIFY_SOCKET``. Without it nothing is sent.

    Takes its variables out of ``environ``, so that child processes do not send notifications. A
    notification that cannot be sent is a warning in the log.
    """

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        self._address = environ.pop("NOTIFY_SOCKET", "")
        period = environ.pop("WATCHDOG_USEC", "")
        process = environ.pop("WATCHDOG_PID", "")
        is_watched = self._address and period.isdecimal() and process in ("", str(os.getpid()))
        self.watchdog = int(period) / 1e6 or None if is_watched else None

    def ready(self, status: str) -> None:
        self._send("READY=1", f"STATUS={status}")

    def alive(self) -> None:
        self._send("WATCHDOG=1")

    def stopping(self, seconds: float) -> None:
        """systemd then also waits so long if ``TimeoutStopSec`` is shorter."""
        time = f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}"
        self._send("STOPPING=1", "STATUS=stopping", time)

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        # A name that begins with "@" is in Linux's abstract namespace.
        address = self._address.replace("@", "\0", 1) if self._address[0] == "@" else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sending:
                sending.settimeout(SEND_TIMEOUT)
                sending.sendto("\n".join(lines).encode(), address)
        except OSError as error:
            log.warning("cannot send %s to %s (NOTIFY_SOCKET): %s", lines[0], self._address, error)


async def keep_alive(watcher: Watcher, respond: Callable[[], Awaitable[object]]) -> None:
    """Call ``watcher.alive`` twice in each period of its watchdog, while ``respond`` returns.

    Never returns if there is a watchdog.
    """
    while watcher.watchdog is not None:
        await respond()
        watcher.alive()
        await sleep(watcher.watchdog / 2)
