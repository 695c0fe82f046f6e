"""The example programs do what they say."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from bench.process import configuration, consumer, endpoint, running
from gateway.demo.broker import free_port
from tests.http.service import answering, message, serving

from .rabbitmq.amqp import publish

ROOT = Path(__file__).parent.parent


@contextmanager
def program(*words: str, config: Path) -> Generator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, *words],
        cwd=ROOT,
        env={**os.environ, "GATEWAY_CONFIG": str(config)},
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(20) in (0, -signal.SIGINT)


def wait_for_message(url: str) -> object:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            answer = httpx.get(url, timeout=10)
            if answer.status_code == 200:
                return answer.json()
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError("no message")


@pytest.fixture
def config(vhost_url: str, tmp_path: Path) -> tuple[Path, int]:
    port = free_port()
    path = tmp_path / "gateway.json"
    document = configuration(
        endpoint("/a", consumer(vhost_url, "a")), port=port, listen_ip="127.0.0.1"
    )
    path.write_text(json.dumps(document))
    return path, port


@pytest.mark.parametrize("library", ["asyncio", "trio"])
def test_embedded(library: str, config: tuple[Path, int], vhost_url: str) -> None:
    path, port = config
    with program("examples/embedded.py", str(path), library, config=path):
        httpx_until_up(f"http://127.0.0.1:{port}/__ready")
        asyncio.run(publish(vhost_url, "a", [b'{"n":1}']))
        assert wait_for_message(f"http://127.0.0.1:{port}/a") == {"n": 1}


@pytest.mark.parametrize(
    ("app", "path"), [("examples.asgi:app", "/a"), ("examples.mounted:app", "/queues/a")]
)
def test_under_a_foreign_server(
    app: str, path: str, config: tuple[Path, int], vhost_url: str
) -> None:
    file, port = config
    flags = ["--port", str(port), "--log-level", "warning"]
    with program("-m", "uvicorn", app, *flags, config=file):
        httpx_until_up(f"http://127.0.0.1:{port}{path.removesuffix('a')}__ready")
        asyncio.run(publish(vhost_url, "a", [b'{"n":1}']))
        assert wait_for_message(f"http://127.0.0.1:{port}{path}") == {"n": 1}


def test_hooks(tmp_path: Path) -> None:
    """A field less, a header more; refused, answered, signed."""
    with serving(answering(message(b'{"customer":{"name":"Ann","iban":"X1"}}'))) as service:
        document = json.loads((ROOT / "examples/hooks.json").read_text())
        document["endpoints"][0]["backend"][0]["host"] = [service.url]
        with running(document, tmp_path) as gateway:
            url = f"{gateway.url}/customers/"
            assert httpx.get(url + "7").status_code == 403
            headers = {"X-Tenant": "acme"}
            answer = httpx.get(url + "7", headers=headers)
            assert answer.json() == {"customer": {"name": "Ann"}}
            assert answer.headers["x-redacted"] == "iban"
            assert httpx.get(url + "nobody", headers=headers).headers["x-answered-by"] == "a hook"
    [request] = service.requests
    assert b"\r\nX-Signature: " in request


def httpx_until_up(url: str) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            if httpx.get(url, timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"{url} is not ready")
