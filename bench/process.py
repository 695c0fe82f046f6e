"""The gateway as users run it: a process on a free port; and small configurations for it."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from gateway.demo.broker import free_port

TLS = ssl.create_default_context()
"""One TLS context for all httpx clients of the tests. Making one blocks the event loop for 30 ms,
and with it the proxies and services that run there."""


EXPORTER_PORT = "{exporter port}"
"""In a configuration: a free port on which metrics are read."""


class GatewayProcess:
    """``url``: of the gateway. ``log``: its output so far.

    ``config``: ``EXPORTER_PORT`` in it becomes a free port. ``port``: 0 chooses a free one.
    ``cwd``: the working directory of the gateway.
    """

    def __init__(
        self,
        config: dict[str, Any],
        folder: Path,
        flags: Sequence[str] = (),
        *,
        port: int = 0,
        cwd: Path | None = None,
    ) -> None:
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._config = folder / f"gateway-{self.port}.json"
        text = json.dumps({**config, "port": self.port, "listen_ip": "127.0.0.1"})
        self._config.write_text(text.replace(f'"{EXPORTER_PORT}"', str(free_port())))
        self._log = folder / f"gateway-{self.port}.log"
        self._flags = flags
        self._cwd = cwd
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def start(self, is_awaited: bool = True, *, has_own_group: bool = False) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "gateway", "run", "-c", self._config, *self._flags],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd=self._cwd,
                env={**os.environ, "PYTHONDEVMODE": ""},
                process_group=0 if has_own_group else None,
            )
        if is_awaited:
            self.wait_for("/__health")

    def wait_for(self, path: str, status: int = 200, seconds: float = 50) -> None:
        """Wait until the response of ``path`` has ``status``."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                if httpx.get(self.url + path, timeout=2, verify=TLS).status_code == status:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.02)
        raise AssertionError(f"{path} did not respond with {status}:\n{self.log}")

    def stop(self, number: signal.Signals = signal.SIGTERM, seconds: float = 20) -> int:
        """Send the signal and wait for the exit. Returns the exit status."""
        if self._process is None:
            return 0
        self._process.send_signal(number)
        return self.wait(seconds)

    def wait(self, seconds: float = 20) -> int:
        """Wait for the exit. Returns the exit status."""
        process, self._process = self._process, None
        assert process is not None
        try:
            return process.wait(seconds)
        finally:
            process.kill()
            process.wait()

    def kill(self) -> None:
        """Send SIGKILL: the gateway cannot close anything."""
        self.stop(signal.SIGKILL)


@contextmanager
def running(
    config: dict[str, Any],
    folder: Path,
    *flags: str,
    is_awaited: bool = True,
    port: int = 0,
    cwd: Path | None = None,
) -> Generator[GatewayProcess]:
    gateway = GatewayProcess(config, folder, flags, port=port, cwd=cwd)
    try:
        gateway.start(is_awaited)
        yield gateway
    finally:
        gateway.stop()


def consumer(url: str, queue: str, **changes: Any) -> dict[str, Any]:
    """A backend that consumes from ``queue``; ``changes`` go to its settings."""
    settings = {
        "name": queue,
        "exchange": "ex",
        "routing_key": [queue],
        "durable": True,
        "prefetch_count": 100,
    }
    return {
        "host": [url],
        "disable_host_sanitize": True,
        "url_pattern": "/",
        "extra_config": {"backend/amqp/consumer": {**settings, **changes}},
    }


def producer(url: str, exchange: str, **changes: Any) -> dict[str, Any]:
    """A backend that publishes to ``exchange``; ``changes`` go to its settings."""
    settings = {
        "name": "q",
        "exchange": exchange,
        "routing_key": "key",
        "static_routing_key": True,
        "durable": True,
    }
    return {
        "host": [url],
        "disable_host_sanitize": True,
        "url_pattern": "/",
        "extra_config": {"backend/amqp/producer": {**settings, **changes}},
    }


def agent(
    url: str, queue: str, *backends: dict[str, Any], workers: int = 1, **changes: Any
) -> dict[str, Any]:
    """An agent that consumes from ``queue``; ``changes`` go to its settings."""
    settings = {"host": url, "name": queue, "exchange": "ex", "durable": True}
    return {
        "name": f"agent-{queue}",
        "consumer": {"topic": queue, "workers": workers, "timeout": "5s"},
        "backend": list(backends),
        "extra_config": {"async/amqp": {**settings, **changes}},
    }


def endpoint(path: str, *backends: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"endpoint": path, "timeout": "5s", "backend": list(backends), **changes}


def configuration(*endpoints: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"version": 3, "endpoints": list(endpoints), **changes}
