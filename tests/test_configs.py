"""Every configuration in ``configs/`` passes the check, and the demo runs on one of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from anyio import to_thread

from bench.process import running
from gateway.app.service import open_gateway
from gateway.cli import main
from gateway.demo.broker import Broker, free_port

FOLDER = Path(__file__).parent.parent / "configs"
CONFIGS = sorted(path for path in FOLDER.iterdir() if not path.is_dir())
FLEXIBLE = FOLDER / "flexible"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_check_passes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEMO_AMQP_URL", "amqp://guest:guest@localhost")
    assert main(["check", "-c", str(path)]) == 0


@pytest.mark.anyio
@pytest.mark.parametrize(("environment", "status"), [("dev", 200), ("production", 404)])
async def test_the_flexible_configuration_runs_with_the_settings_of_each_environment(
    environment: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "FC_ENABLE": "1",
        "FC_SETTINGS": str(FLEXIBLE / "settings" / environment),
        "FC_TEMPLATES": str(FLEXIBLE / "templates"),
        "FC_PARTIALS": str(FLEXIBLE / "partials"),
        "RABBITMQ_PASSWORD": "s3cret",
    }.items():
        monkeypatch.setenv(name, value)
    command = ["check", "-c", str(FLEXIBLE / "gateway.tmpl")]
    assert await to_thread.run_sync(main, command) == 0
    async with open_gateway(FLEXIBLE / "gateway.tmpl") as gateway:
        assert gateway.service.name == f"orders ({environment})"
        routes = [(each.method, each.endpoint) for each in gateway.service.endpoints]
        assert routes == [("GET", "/orders"), ("GET", "/returns"), ("POST", "/orders")]
        transport = httpx.ASGITransport(gateway.asgi)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            assert (await client.get("/__debug/x")).status_code == status


def test_the_documentation_example_runs_unmodified_but_for_the_broker(
    broker: Broker, vhost_url: str, tmp_path: Path
) -> None:
    text = (FOLDER / "krakend-v2.2-example.json").read_text()
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
