"""What is measured, as processes: the gateway, or the floor on the same server."""

from __future__ import annotations

import json
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

from msgspec import Struct

from .scenarios import Scenario


class Server(Struct, frozen=True):
    """``run``: flags of ``gateway run``; ``floor``: the command for the minimal application."""

    name: str
    run: str
    floor: str


_UVICORN = "-m uvicorn bench.floor:app --http httptools --loop uvloop --no-access-log"
_HYPERCORN = "-m hypercorn bench.floor:app --bind 127.0.0.1:{port} --log-level warning"

SERVERS: Sequence[Server] = (
    Server("uvicorn", "--server uvicorn", _UVICORN + " --host 127.0.0.1 --port {port}"),
    Server("hypercorn", "--server hypercorn", _HYPERCORN + " --worker-class uvloop"),
    Server("hypercorn-trio", "--async-library trio", _HYPERCORN + " --worker-class trio"),
)


@contextmanager
def started(
    scenario: Scenario, server: Server, url: str, folder: Path, command: str = ""
) -> Generator[tuple[int, str]]:
    """Start it; yield its process id and URL. ``command``: another gateway for the same file."""
    port = _free_port()
    if scenario.queues == 0:
        words = [sys.executable, *server.floor.format(port=port).split()]
    else:
        config = folder / f"{scenario.name}-{port}.json"
        config.write_text(json.dumps(scenario.config(url, port)))
        if command:
            words = [word.format(config=config, port=port) for word in shlex.split(command)]
        else:
            words = [sys.executable, "-m", "gateway", "run", "-c", str(config)]
            words += server.run.split()
    log = folder / f"{scenario.name}-{server.name}-{port}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(words, stdout=output, stderr=output)
    try:
        _wait_for(port, process, log)
        yield process.pid, f"http://127.0.0.1:{port}/"
    finally:
        process.terminate()
        process.wait(20)


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        connection = HTTPConnection("127.0.0.1", port, timeout=2)
        try:
            connection.request("GET", "/")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.05)
    raise RuntimeError(f"{process.args!r} did not come up:\n{log.read_text()}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
