"""Run the cases of lura's integration test: one line for each, exit status 1 when one fails."""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any

from gateway.core.about import USER_AGENT
from gateway.demo.broker import free_port

from ..specs.__main__ import send
from ..specs.compare import Reply, without
from .services import serving
from .table import Case, read_cases

ROOT = Path(__file__).parents[2]
DECIDED = Path(__file__).with_name("decided.json")
"""By the name of a case: what of its answer is decided otherwise here (``ignored``), and why."""
SECONDS = 20
ROUTER = "github_com/luraproject/lura/router/gin"
SETTINGS = {
    "trusted_proxies": ["127.0.0.1/32", "::1"],
    "remote_ip_headers": ["x-forwarded-for"],
    "forwarded_by_client_ip": True,
    "return_error_msg": True,
    "hide_version_header": True,
}
"""What lura's test sets on its router; and the version that it has, which is none."""

_PLACE = re.compile(r"\{\{\s*\.(\w+)\s*\}\}")
_PRODUCT = "KrakenD Version undefined"


@contextmanager
def running(template: str, port: int, urls: Mapping[str, str]) -> Generator[None]:
    """The gateway with lura's configuration, in front of our services."""
    values = {**urls, "port": str(port)}
    config = json.loads(_PLACE.sub(lambda place: values[place[1]], template))
    config |= {"listen_ip": "127.0.0.1"}
    config["extra_config"][ROUTER] = SETTINGS
    with tempfile.TemporaryDirectory() as folder:
        path, log = Path(folder) / "lura.json", Path(folder) / "log"
        path.write_text(json.dumps(config), encoding="utf-8")
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "gateway", "run", "-c", path],
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        try:
            _wait_for(port, process, log)
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(SECONDS)
            finally:
                process.kill()
                process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            if send(f"http://127.0.0.1:{port}/__health", "GET", {}, None).status == 200:
                return
        except OSError:
            time.sleep(0.02)
    raise SystemExit(f"the gateway does not start:\n{log.read_text(errors='replace')}")


def differences(case: Case, reply: Reply) -> Iterator[str]:
    """As lura's test compares; but JSON is equal whatever the order of its keys."""
    if reply.status != case.status:
        yield f"status {reply.status}, expected {case.status}"
    for name, value in case.expected.items():
        found = reply.values(name)
        if value not in (found or [""])[0]:
            yield f"{name}: {found or 'absent'}, expected {value}"
    if case.body:
        wanted = case.body.replace(_PRODUCT, USER_AGENT.decode())
        try:
            is_same = json.loads(reply.content) == json.loads(wanted)
        except ValueError:
            is_same = reply.content.decode(errors="replace") == wanted
        if not is_same:
            yield f"body {reply.content!r}, expected {wanted!r}"


def problems_of(case: Case, port: int, ignored: Sequence[str]) -> list[str]:
    """What differs; ``ignored``: members of the body that may differ."""
    headers = {"Host": f"localhost:{port}", **case.headers}
    try:
        reply = send(f"http://127.0.0.1:{port}{case.url}", case.method, headers, case.content)
        return list(differences(case, without(reply, ignored) if ignored else reply))
    except (OSError, HTTPException) as error:
        return [f"no answer: {error}"]
    except (KeyError, ValueError) as error:
        return [f"no member {error} in the body"]


def run(clone: Path, decided: Mapping[str, Any]) -> int:
    """Print a line for each case; the number of those that fail."""
    port = free_port()
    source = (clone / "test" / "integration_test.go").read_text(encoding="utf-8")
    cases = read_cases(source, {"cfg.Port": port, "localhostIP": "127.0.0.1"})
    template = (clone / "test" / "lura.json").read_text(encoding="utf-8")
    failed = 0
    with serving() as urls, running(template, port, urls):
        for case in cases:
            known = decided.get(case.name)
            problems = problems_of(case, port, known["ignored"] if known else ())
            failed += bool(problems)
            if problems:
                print(f"FAILED  {case.name}: {'; '.join(problems)}")
            else:
                print(f"ok      {case.name}" + (f" ({known['reason']})" if known else ""))
    print(f"{len(cases) - failed} passed, {failed} failed")
    return failed


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/lura-table", description=__doc__)
    parser.add_argument("clone", type=Path, help="the folder of a clone of lura")
    clone: Path = parser.parse_args().clone.resolve()
    for name in ("integration_test.go", "lura.json"):
        if not (clone / "test" / name).is_file():
            parser.error(f"{clone}: no clone of lura: test/{name} is missing")
    sys.exit(1 if run(clone, json.loads(DECIDED.read_text(encoding="utf-8"))) else 0)


if __name__ == "__main__":
    main()
