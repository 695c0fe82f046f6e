"""The Dockerfile and the example for Compose: linted, and consistent with the gateway."""

from __future__ import annotations

import fnmatch
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.cli import _parser, main
from gateway.config.structs import DEFAULT_GRACE
from gateway.server.workers import KILL_TIMEOUT

from .tools import DEPLOY, ROOT, needs, run

DOCKERFILE = DEPLOY / "docker/Dockerfile"

COMPOSE = DEPLOY / "compose.yaml"

PASSWORDS = {"RABBITMQ_PASSWORD": "x", "GRAFANA_PASSWORD": "y"}


def instructions() -> list[tuple[str, str]]:
    """Of the last stage and the ones before, with continued lines joined."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE).replace("\\\n", "")
    lines = (line.split(maxsplit=1) for line in text.splitlines() if line)
    return [(name, rest) for name, rest in lines]


def last(name: str) -> str:
    return [rest for each, rest in instructions() if each == name][-1]


def test_hadolint_finds_nothing() -> None:
    assert run("hadolint", "--failure-threshold", "style", DOCKERFILE) == ""


def test_the_image_has_the_conventions_of_krakends() -> None:
    assert last("USER") == "1000"
    assert last("WORKDIR") == "/etc/krakend"
    assert "8080" in last("EXPOSE").split()
    assert json.loads(last("ENTRYPOINT")) == ["/usr/bin/gateway"]
    assert json.loads(last("CMD")) == ["run", "-c", "/etc/krakend/krakend.json"]
    assert "ln -s gateway /usr/bin/krakend" in last("RUN")


def test_the_commands_of_the_image_are_right() -> None:
    health = json.loads(last("HEALTHCHECK").partition("CMD")[2])
    for arguments in (json.loads(last("CMD")), health[1:]):
        assert _parser().parse_args(arguments).config == "/etc/krakend/krakend.json"


def test_the_configuration_in_the_image_is_valid(tmp_path: Path) -> None:
    [text] = re.findall(r"echo '([^']*)' >/etc/krakend/krakend.json", last("RUN"))
    path = tmp_path / "krakend.json"
    path.write_text(text)
    assert main(["check", "--lint", "-c", str(path)]) == 0


def test_what_the_image_copies_exists_and_is_in_the_context() -> None:
    patterns = DOCKERFILE.with_name("Dockerfile.dockerignore").read_text().splitlines()
    kept = [each[1:] for each in patterns if each.startswith("!")]
    copies = [rest.split()[:-1] for name, rest in instructions() if name == "COPY"]
    sources = [each for group in copies if not group[0].startswith("--") for each in group]
    assert sources
    for source in sources:
        assert (ROOT / source).exists()
        assert any(fnmatch.fnmatch(source, each) for each in kept), source
    assert {*sources} == {*kept}


@pytest.fixture
def composed() -> dict[str, Any]:
    """The example as Compose reads it, with all paths and variables resolved."""
    flags = ["config", "--format", "json"]
    return dict(json.loads(run("docker-compose", "-f", COMPOSE, *flags, **PASSWORDS)))


def test_compose_accepts_the_example(composed: dict[str, Any]) -> None:
    assert composed["services"].keys() == {"gateway", "rabbitmq", "prometheus", "grafana"}


def test_each_file_of_the_example_exists(composed: dict[str, Any]) -> None:
    volumes = [each for service in composed["services"].values() for each in service["volumes"]]
    files = [Path(each["source"]) for each in volumes if each["type"] == "bind"]
    assert len(files) >= 5
    assert [each for each in files if not each.exists()] == []
    build = composed["services"]["gateway"]["build"]
    assert (Path(build["context"]) / build["dockerfile"]) == DOCKERFILE


def test_compose_waits_until_a_stop_is_over(composed: dict[str, Any]) -> None:
    assert composed["services"]["gateway"]["stop_grace_period"] == "40s"
    assert DEFAULT_GRACE + KILL_TIMEOUT < 40


def test_the_configuration_of_the_example_is_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RABBITMQ_PASSWORD", "x")
    assert main(["check", "--lint", "-c", str(DEPLOY / "compose/krakend.json")]) == 0


def test_prometheus_reads_the_port_of_the_gateway() -> None:
    config = yaml.safe_load((DEPLOY / "compose/prometheus.yml").read_text())
    gateway = json.loads((DEPLOY / "compose/krakend.json").read_text())
    [exporter] = gateway["extra_config"]["telemetry/opentelemetry"]["exporters"]["prometheus"]
    [job] = config["scrape_configs"]
    assert job["static_configs"] == [{"targets": [f"gateway:{exporter['port']}"]}]


@needs("promtool", "Debian package prometheus")
def test_promtool_accepts_the_configuration_of_the_example(tmp_path: Path) -> None:
    for path in (DEPLOY / "compose/prometheus.yml", DEPLOY / "prometheus/alerts.yml"):
        shutil.copy(path, tmp_path)
    run("promtool", "check", "config", tmp_path / "prometheus.yml")


def test_grafana_finds_the_dashboard(composed: dict[str, Any]) -> None:
    providers = yaml.safe_load((DEPLOY / "compose/grafana-dashboards.yaml").read_text())
    [provider] = providers["providers"]
    mounts = {each["target"]: each for each in composed["services"]["grafana"]["volumes"]}
    source = Path(mounts[provider["options"]["path"]]["source"])
    assert [each.name for each in source.glob("*.json")] == ["hutch-gateway.json"]
