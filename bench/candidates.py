"""What is measured, as processes: the gateway on its servers, the floor on each of them, peers."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from importlib.util import find_spec
from pathlib import Path

from msgspec import Struct

from gateway.demo.broker import free_port

from .document import GATEWAY
from .messages import PUBLISHED, message, numbers_in
from .scenario import Call, Kind, Scenario

START_TIME = 40.0
STOP_TIME = 15.0


class Candidate(Struct, frozen=True):
    """``command`` and the values of ``environ`` may name {python}, {config}, {port} and {bytes}.

    ``floor``: the candidate that it is compared with; "" for a floor itself, which takes part in
    scenarios of its ``kind``.
    """

    name: str
    title: str
    command: str
    floor: str = ""
    environ: dict[str, str] = {}
    kind: Kind = "requests"

    @property
    def is_floor(self) -> bool:
        return not self.floor

    def takes_part(self, scenario: Scenario) -> bool:
        return not self.is_floor or self.kind == scenario.kind


_HYPERCORN = "{python} -m hypercorn bench.floor:app --bind 127.0.0.1:{port} --log-level warning"
_GRANIAN = (
    "{python} -m granian --interface asgi --loop uvloop --host 127.0.0.1 --port {port} "
    "--log-level warning"
)

SERVERS: dict[str, tuple[Candidate, Candidate]] = {
    "uvicorn": (
        Candidate(
            GATEWAY, "gateway", "{python} -m gateway run -c {config} --server uvicorn", "floor"
        ),
        Candidate(
            "floor",
            "floor: uvicorn",
            "{python} -m uvicorn bench.floor:app --http httptools --loop uvloop --no-access-log "
            "--log-level warning --host 127.0.0.1 --port {port}",
        ),
    ),
    "hypercorn": (
        Candidate(
            "gateway-hypercorn",
            "gateway on hypercorn",
            "{python} -m gateway run -c {config} --server hypercorn",
            "floor-hypercorn",
        ),
        Candidate(
            "floor-hypercorn",
            "floor: hypercorn",
            _HYPERCORN + " --worker-class uvloop",
        ),
    ),
    "trio": (
        Candidate(
            "gateway-trio",
            "gateway on hypercorn, Trio",
            "{python} -m gateway run -c {config} --async-library trio",
            "floor-trio",
        ),
        Candidate(
            "floor-trio",
            "floor: hypercorn, Trio",
            _HYPERCORN + " --worker-class trio",
        ),
    ),
    "granian": (
        Candidate(
            "gateway-granian",
            "gateway on granian",
            _GRANIAN + " examples.asgi:app",
            "floor-granian",
            {"GATEWAY_CONFIG": "{config}"},
        ),
        Candidate("floor-granian", "floor: granian", _GRANIAN + " bench.floor:app"),
    ),
}
"""The gateway and its floor on each server."""

BY_HAND = Candidate(
    "by-hand", "by hand on aiormq", "{python} -m bench.by_hand {config}", kind="agents"
)


def available_servers() -> list[str]:
    return [name for name in SERVERS if name != "granian" or find_spec("granian") is not None]


def peer(name: str, path: str) -> Candidate:
    """A gateway with KrakenD's command line."""
    command = f"{shlex.quote(path)} run -c {{config}}"
    return Candidate(name, name, command, "floor", {"USAGE_DISABLE": "1"})


class Running(Struct, frozen=True):
    """``start``: seconds from the command to the first good answer. ``received``: numbers in that
    answer; ``confirmed``: the number that was published by it; ``attempts`` took so many."""

    pid: int
    port: int
    start: float
    received: list[int]
    confirmed: list[int]
    attempts: int


@contextmanager
def running(
    candidate: Candidate, scenario: Scenario, broker_url: str, http_url: str, folder: Path
) -> Generator[Running]:
    """Start it and wait for its first good answer to the scenario's own request.

    Raises RuntimeError, with what it wrote, when it gives none.
    """
    port = free_port()
    config = folder / f"{scenario.name}-{candidate.name}-{port}.json"
    config.write_text(json.dumps(scenario.config(broker_url, http_url, port)))
    values = {
        "python": sys.executable,
        "config": str(config),
        "port": str(port),
        "bytes": str(scenario.answer_bytes),
    }
    words = [word.format(**values) for word in shlex.split(candidate.command)]
    environ = {name: value.format(**values) for name, value in candidate.environ.items()}
    log = config.with_suffix(".log")
    with log.open("wb") as output:
        began = time.monotonic()
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, "FLOOR_BYTES": values["bytes"], **environ},
        )
    try:
        yield _first_answer(scenario, process, port, began, log)
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIME)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _first_answer(
    scenario: Scenario, process: subprocess.Popen[bytes], port: int, began: float, log: Path
) -> Running:
    call = scenario.calls[0] if scenario.kind in ("requests", "recovery") else HEALTH
    attempts = 0
    while time.monotonic() - began < START_TIME and process.poll() is None:
        number = PUBLISHED + attempts
        body = _ask(port, call, number)
        attempts += 1
        if body is not None:
            return Running(
                process.pid,
                port,
                time.monotonic() - began,
                numbers_in([body]),
                [number] if call.body_bytes else [],
                attempts,
            )
        time.sleep(0.01)
    raise RuntimeError(f"{process.args!r} gave no answer:\n{log.read_text()[-3000:]}")


HEALTH = Call(path="/__health")


def _ask(port: int, call: Call, number: int) -> bytes | None:
    """The answer's body; None when there is no good answer."""
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    document = message(0, number, call.body_bytes) if call.body_bytes else None
    headers = {"Content-Type": "application/json", **call.headers}
    try:
        connection.request(call.method, call.path, document, headers)
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()
    return body if answer.status == 200 else None


def chosen(servers: Sequence[str], peers: Sequence[Candidate]) -> list[Candidate]:
    """Floors and gateways of the servers, then the peers."""
    return [candidate for name in servers for candidate in SERVERS[name][::-1]] + list(peers)
