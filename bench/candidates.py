"""Candidates, as processes: gateways, and what they are compared with."""

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

from .document import GATEWAY, LIMIT
from .messages import PUBLISHED, message, numbers_in
from .scenario import Call, Kind, Scenario

START_TIME = 40.0
STOP_TIME = 15.0


class Candidate(Struct, frozen=True):
    """What is measured. ``command`` and the values of ``environ`` may contain {python}, {config},
    {port} and {bytes}.

    ``baseline``: the candidate that this one is compared with. A baseline itself has "", and
    takes part in scenarios of its ``kind``. ``scenarios``: names of the only scenarios that it
    takes part in, if there are such.
    """

    name: str
    title: str
    command: str
    baseline: str = ""
    environ: dict[str, str] = {}
    kind: Kind = "requests"
    scenarios: tuple[str, ...] = ()

    @property
    def is_gateway(self) -> bool:
        """Neither a baseline nor the limit, which use no queues."""
        return bool(self.baseline) and self.name != LIMIT

    def takes_part(self, scenario: Scenario) -> bool:
        if self.scenarios:
            return scenario.name in self.scenarios
        return bool(self.baseline) or self.kind == scenario.kind


_HYPERCORN = "{python} -m hypercorn bench.baseline:app --bind 127.0.0.1:{port} --log-level warning"
_GRANIAN = (
    "{python} -m granian --interface asgi --loop uvloop --host 127.0.0.1 --port {port} "
    "--log-level warning"
)

SERVERS: dict[str, tuple[Candidate, Candidate]] = {
    "http1": (
        Candidate(
            GATEWAY, "gateway", "{python} -m gateway run -c {config} --server http1", "baseline"
        ),
        Candidate(
            "baseline",
            "baseline: uvicorn",
            "{python} -m uvicorn bench.baseline:app --http httptools --loop uvloop --no-access-log "
            "--log-level warning --host 127.0.0.1 --port {port}",
        ),
    ),
    "hypercorn": (
        Candidate(
            "gateway-hypercorn",
            "gateway on hypercorn",
            "{python} -m gateway run -c {config} --server hypercorn",
            "baseline-hypercorn",
        ),
        Candidate(
            "baseline-hypercorn",
            "baseline: hypercorn",
            _HYPERCORN + " --worker-class uvloop",
        ),
    ),
    "trio": (
        Candidate(
            "gateway-trio",
            "gateway on hypercorn, Trio",
            "{python} -m gateway run -c {config} --async-library trio",
            "baseline-trio",
        ),
        Candidate(
            "baseline-trio",
            "baseline: hypercorn, Trio",
            _HYPERCORN + " --worker-class trio",
        ),
    ),
    "granian": (
        Candidate(
            "gateway-granian",
            "gateway on granian",
            _GRANIAN + " examples.asgi:app",
            "baseline-granian",
            {"GATEWAY_CONFIG": "{config}"},
        ),
        Candidate("baseline-granian", "baseline: granian", _GRANIAN + " bench.baseline:app"),
    ),
}
"""By server: the gateway, and its baseline."""

BARE_PROTOCOL = Candidate(
    LIMIT,
    "limit: bare protocol",
    "{python} -m bench.limit {port}",
    "baseline",
    scenarios=("static", "consume-1"),
)

HAND_WRITTEN = Candidate(
    "hand-written",
    "hand-written on aiormq",
    "{python} -m bench.hand_written {config}",
    kind="agents",
)


def available_servers() -> list[str]:
    return [name for name in SERVERS if name != "granian" or find_spec("granian") is not None]


def peer(name: str, path: str) -> Candidate:
    """Another gateway, which must have KrakenD's command line."""
    command = f"{shlex.quote(path)} run -c {{config}}"
    return Candidate(name, name, command, "baseline", {"USAGE_DISABLE": "1"})


class Running(Struct, frozen=True):
    """``start``: seconds from the command to the first good response. ``received``: numbers in that
    response. ``confirmed``: numbers that its request published. ``attempts``: requests that were
    sent until then. ``response_bytes``: of the body of that response; 0 when it was no response of
    the scenario."""

    pid: int
    port: int
    start: float
    received: list[int]
    confirmed: list[int]
    attempts: int
    response_bytes: int = 0


@contextmanager
def running(
    candidate: Candidate,
    scenario: Scenario,
    broker_url: str,
    http_url: str,
    folder: Path,
    *,
    host: str = "127.0.0.1",
) -> Generator[Running]:
    """Start the candidate and wait for its first good response to a request of the scenario.

    Raises RuntimeError, with the candidate's output, when there is none in time.
    """
    port = free_port()
    config = folder / f"{scenario.name}-{candidate.name}-{port}.json"
    config.write_text(json.dumps(scenario.config(broker_url, http_url, port, host)))
    values = {
        "python": sys.executable,
        "config": str(config),
        "port": str(port),
        "bytes": str(scenario.response_bytes),
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
            env={**os.environ, "BASELINE_BYTES": values["bytes"], **environ},
        )
    try:
        yield _first_response(scenario, process, (host, port), began, log)
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIME)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _first_response(
    scenario: Scenario,
    process: subprocess.Popen[bytes],
    address: tuple[str, int],
    began: float,
    log: Path,
) -> Running:
    is_of_scenario = scenario.kind in ("requests", "recovery")
    call = scenario.calls[0] if is_of_scenario else HEALTH
    attempts = 0
    while time.monotonic() - began < START_TIME and process.poll() is None:
        number = PUBLISHED + attempts
        body = _ask(address, call, number)
        attempts += 1
        if body is not None:
            return Running(
                process.pid,
                address[1],
                time.monotonic() - began,
                numbers_in([body]),
                [number] if call.body_bytes else [],
                attempts,
                len(body) if is_of_scenario else 0,
            )
        time.sleep(0.01)
    raise RuntimeError(f"{process.args!r} did not respond:\n{log.read_text()[-3000:]}")


HEALTH = Call(path="/__health")


def _ask(address: tuple[str, int], call: Call, number: int) -> bytes | None:
    """The body of a response with status 200; None for any other outcome."""
    connection = HTTPConnection(*address, timeout=10)
    document = message(0, number, call.body_bytes) if call.body_bytes else None
    headers = {"Content-Type": "application/json", **call.headers}
    try:
        connection.request(call.method, call.path, document, headers)
        response = connection.getresponse()
        body = response.read()
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()
    return body if response.status == 200 else None


def chosen(
    servers: Sequence[str], peers: Sequence[Candidate], *, has_limit: bool = False
) -> list[Candidate]:
    """Baselines and gateways of the servers, the peers, and the limit."""
    own = [candidate for name in servers for candidate in SERVERS[name][::-1]]
    return [*own, *peers, *[BARE_PROTOCOL] * (has_limit and "http1" in servers)]
