"""Run the cases of lura's integration test: one line for each, exit status 1 when one fails."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.process import running
from gateway.core.version import USER_AGENT
from gateway.demo.broker import free_port

from ..specs.compare import Reply
from ..specs.runner import Decided, command, run_cases, send
from .services import serving
from .table import Case, read_cases

CASES, CONFIG = "test/integration_test.go", "test/lura.json"
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


def run(clone: Path, decided: Decided) -> int:
    """The gateway runs with lura's configuration, in front of our services."""
    port = free_port()
    source = (clone / CASES).read_text(encoding="utf-8")
    cases = read_cases(source, {"cfg.Port": port, "localhostIP": "127.0.0.1"})
    template = (clone / CONFIG).read_text(encoding="utf-8")

    def ask(case: Case) -> Reply:
        headers = {"Host": f"localhost:{port}", **case.headers}
        return send(f"http://127.0.0.1:{port}{case.url}", case.method, headers, case.content)

    with serving() as urls, tempfile.TemporaryDirectory() as folder:
        values = {**urls, "port": str(port)}
        config = json.loads(_PLACE.sub(lambda place: values[place[1]], template))
        config["extra_config"][ROUTER] = SETTINGS
        with running(config, Path(folder), port=port):
            return run_cases(cases, ask, differences, decided)


def main() -> None:
    command("lura-table", "lura", [CASES, CONFIG], run, Path(__file__).parent)


if __name__ == "__main__":
    main()
