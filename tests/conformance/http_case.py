"""The recorded HTTP cases of one file: a gateway as a process, its requests byte for byte."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import anyio
from anyio import Event

from gateway.app.catalog import CATALOG
from gateway.app.service import open_gateway
from gateway.cli import main
from gateway.config.load import load
from gateway.demo.broker import free_port
from gateway.errors import GatewayError
from gateway.server.serve import serve
from gateway.server.settings import serve_settings

from .http_mock import USER_AGENT, MockServer
from .literal import is_same, read_literal

Case = dict[str, Any]

ROOT = Path(__file__).parents[2]

COMPARED = (
    "content-type",
    "content-encoding",
    "x-krakend",
    "x-krakend-completed",
    "cache-control",
    "location",
    "vary",
    "allow",
    "www-authenticate",
    "set-cookie",
    "etag",
    "link",
    "retry-after",
    "access-control-allow-origin",
    "access-control-allow-methods",
    "access-control-allow-headers",
    "access-control-allow-credentials",
    "access-control-expose-headers",
    "access-control-max-age",
    "access-control-allow-private-network",
    "x-frame-options",
    "x-content-type-options",
    "x-xss-protection",
    "strict-transport-security",
    "content-security-policy",
    "referrer-policy",
    "x-mock-one",
    "x-mock-multi",
)
"""Headers that count; one that is not expected must be absent."""

_BASE64 = re.compile(r"@b64\((.*?)\)@", re.DOTALL)
STARTED = 0.02
"""Seconds between looks whether the gateway listens."""


def read_cases(path: Path) -> Case:
    spec: Case = json.loads(path.read_text(encoding="utf-8"))
    return spec


class HttpCases:
    """A gateway that runs the configuration of one file, in front of the mock."""

    def __init__(self, spec: Case, mock: MockServer, folder: Path) -> None:
        self._port = free_port()
        self._values = {
            "port": self._port,
            "dir": str(folder),
            "backend_host": mock.address,
            "gateway_host": f"127.0.0.1:{self._port}",
            "backend": f"http://{mock.address}",
            "dead": f"http://127.0.0.1:{free_port()}",
        }
        for name, content in spec.get("files", {}).items():
            text = content if isinstance(content, str) else json.dumps(content)
            (folder / name).write_text(text, encoding="utf-8")
        self._config = folder / "config.json"
        self._config.write_text(json.dumps(filled(spec["config"], self._values)))
        self._log = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None

    @contextmanager
    def running(self) -> Generator[None]:
        """Yields also when the gateway refuses the configuration: every case says so then."""
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "gateway", "run", "-c", str(self._config)],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd=self._config.parent,
                env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDEVMODE": ""},
            )
        try:
            _wait_until_listening(self._port, self._process)
            yield
        finally:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()

    def run(self, case: Case) -> list[str]:
        """What differs from what is wanted."""
        if self._process is None or self._process.poll() is not None:
            return [f"the gateway did not start: {self._log.read_text()}"]
        problems = []
        for number, step in enumerate(case.get("steps", [case])):
            time.sleep(step.get("wait_ms", 0) / 1000)
            got = self._ask(step["request"])
            problems += [f"step {number}: {text}" for text in _differences({**case, **step}, got)]
        return problems

    def _ask(self, request: Case) -> Case:
        """Send it exactly as it is written."""
        request = filled(request, self._values)
        body = _body(request.get("body"))
        connection = HTTPConnection("127.0.0.1", self._port, timeout=15)
        connection._validate_path = lambda url: None  # type: ignore[attr-defined]
        try:
            connection.putrequest(
                request.get("method", "GET"),
                request["path"],
                skip_host=True,
                skip_accept_encoding=True,
            )
            for name, value in self._headers(request):
                connection.putheader(name, value.encode())
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body or None)
            answer = connection.getresponse()
            return self._observed(answer.status, answer.getheaders(), answer.read())
        except (OSError, HTTPException) as error:
            return {"status": 0, "headers": {}, "body": "", "error": type(error).__name__}
        finally:
            connection.close()

    def _headers(self, request: Case) -> Generator[tuple[str, str]]:
        given = request.get("headers") or {}
        names = {name.lower() for name in given}
        usual = {"Host": self._values["gateway_host"], "User-Agent": USER_AGENT}
        for name, value in usual.items():
            if name.lower() not in names:
                yield name, str(value)
        for name, values in given.items():
            for value in values if isinstance(values, list) else [values]:
                if value is not None:
                    yield name, value

    def _observed(self, status: int, headers: list[tuple[str, str]], body: bytes) -> Case:
        found: dict[str, list[str]] = {}
        for name, value in headers:
            if name.lower() in COMPARED:
                found.setdefault(name.lower(), []).append(self._unfilled(value))
        if "x-krakend" in found and found["x-krakend"] != ["Version undefined"]:
            found["x-krakend"] = ["present"]
        try:
            return {"status": status, "headers": found, "body": self._unfilled(body.decode())}
        except UnicodeDecodeError:
            encoded = base64.b64encode(body).decode()
            return {"status": status, "headers": found, "body_b64": encoded}

    def _unfilled(self, text: str) -> str:
        for name in ("backend_host", "gateway_host"):
            text = text.replace(str(self._values[name]), "{" + name + "}")
        return text


def try_config(case: Case, folder: Path) -> list[str]:
    """What differs in what ``check`` and a start make of a configuration."""
    path = folder / case.get("file", "config.json")
    backend = "http://127.0.0.1:9099"
    values = {"port": free_port(), "backend": backend, "dir": str(folder)}
    if "raw" in case:
        text = case["raw"].replace("{port}", str(values["port"])).replace("{backend}", backend)
    else:
        text = json.dumps(filled(case["config"], values))
    path.write_text(text, encoding="utf-8")
    got = {"check_ok": main(["check", "-c", str(path)]) == 0, "starts": _starts(path)}
    expected = case["expect"]
    return [
        f"{key} is {value}, expected {expected[key]}"
        for key, value in got.items()
        if value != expected[key] and key not in case.get("ignore", ())
    ]


def _starts(path: Path) -> bool:
    async def start() -> None:
        loaded = load(path, CATALOG)
        stop = Event()
        async with open_gateway(loaded) as gateway:
            await serve(gateway.asgi, serve_settings(loaded.service), stop=stop, started=stop.set)

    try:
        anyio.run(start)
    except (GatewayError, OSError):
        return False
    return True


def filled(value: Any, values: dict[str, Any]) -> Any:
    """Every placeholder replaced; ``"{port}"`` as a whole text is a number."""
    if isinstance(value, dict):
        return {filled(key, values): filled(inner, values) for key, inner in value.items()}
    if isinstance(value, list):
        return [filled(inner, values) for inner in value]
    if not isinstance(value, str):
        return value
    if value == "{port}":
        return values["port"]
    value = _BASE64.sub(_encoded, value)
    for name, each in values.items():
        value = value.replace("{" + name + "}", str(each))
    return value


def _encoded(place: re.Match[str]) -> str:
    return base64.urlsafe_b64encode(place[1].encode()).decode().rstrip("=")


def _body(body: Any) -> bytes | None:
    if isinstance(body, dict):
        if "b64" in body:
            return base64.b64decode(body["b64"])
        return str(body["repeat"] * body["times"]).encode()
    return None if body is None else str(body).encode()


def _wait_until_listening(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(STARTED)
        else:
            return


# The comparison.


def _differences(step: Case, got: Case) -> list[str]:
    match = step.get("match", "auto")
    if match == "any":
        return []
    expected = step["expect"]
    problems = []
    if bool(got.get("error")) != bool(expected.get("error")):
        problems.append(f"no answer: {got.get('error')}")
    if got["status"] != expected["status"]:
        problems.append(f"status {got['status']}, expected {expected['status']}")
    for name in COMPARED:
        want, have = expected["headers"].get(name), got["headers"].get(name)
        if want != have and name not in step.get("ignore_headers", ()):
            problems.append(f"{name}: {have}, expected {want}")
    if match == "nonempty":
        problems += [] if got.get("body") else ["no body"]
    elif match != "ignore" and not _is_body_same(step, expected, got):
        problems.append(f"body {got.get('body', '')[:500]!r}, expected {_short(expected)}")
    return problems


def _is_body_same(step: Case, expected: Case, got: Case) -> bool:
    if "body_b64" in expected or "body_b64" in got:
        return bool(expected.get("body_b64") == got.get("body_b64"))
    text = got["body"]
    try:
        if step.get("match") == "literal":
            return is_same(read_literal(text), read_literal(expected["body"]))
        if "json" in expected:
            document = json.loads(text)
            for path in step.get("ignore_keys", ()):
                _remove(document, path.split("."))
            return is_same(document, expected["json"])
    except ValueError:
        return False
    return bool(text == expected["body"])


def _remove(document: Any, path: list[str]) -> None:
    for key in path[:-1]:
        document = document.get(key) if isinstance(document, dict) else None
    if isinstance(document, dict):
        document.pop(path[-1], None)


def _short(expected: Case) -> str:
    return json.dumps(expected.get("json", expected.get("body")), ensure_ascii=False)[:500]
