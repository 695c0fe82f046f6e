"""Every configuration in ``configs/`` passes the check, and the demo runs on one of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from bench.process import free_port, running
from gateway.broker import Broker
from gateway.cli import main

CONFIGS = sorted((Path(__file__).parent.parent / "configs").iterdir())


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_check_passes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEMO_AMQP_URL", "amqp://guest:guest@localhost")
    assert main(["check", "-c", str(path)]) == 0


def test_the_documentation_example_runs_unmodified_but_for_the_broker(
    broker: Broker, vhost_url: str, tmp_path: Path
) -> None:
    text = (CONFIGS[0].parent / "krakend-v2.2-example.json").read_text()
    config = json.loads(text.replace("amqp://guest:guest@localhost:5672", vhost_url))
    with running(config, tmp_path) as gateway:
        gateway.wait_for("/__ready")
        assert httpx.get(gateway.url + "/consume", timeout=10).status_code == 204


def test_the_demo_shows_every_endpoint_and_ends(broker: Broker) -> None:
    command = [sys.executable, "-m", "gateway", "demo", "--once", "-p", str(free_port())]
    done = subprocess.run(
        [*command, "--url", broker.url], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("200 {") == 3
