"""``gateway audit`` and the flags of ``gateway check``, as a person or a pipeline uses them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.app.audit import rules
from gateway.app.catalog import CATALOG
from gateway.cli import main


@pytest.fixture
def config(tmp_path: Path) -> str:
    backend = {
        "host": ["amqp://guest:guest@broker.example"],
        "disable_host_sanitize": True,
        "extra_config": {"backend/amqp/consumer": {"name": "q", "exchange": "x", "durable": True}},
    }
    endpoints = [{"endpoint": f"/{name}", "backend": [backend]} for name in "abcde"]
    path = tmp_path / "gateway.json"
    path.write_text(json.dumps({"version": 3, "name": "it", "endpoints": endpoints}))
    return str(path)


def test_findings_end_with_1_and_a_table(
    config: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["audit", "-c", config, "-s", "CRITICAL"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "8.1.1   CRITICAL  Create a user for the gateway: the password of guest is public",
        "                  knowledge.",
        "                  GET /a: $.endpoints[0].backend[0].host[0]",
        "                  GET /b: $.endpoints[1].backend[0].host[0]",
        "                  GET /c: $.endpoints[2].backend[0].host[0]",
        "                  and 2 more",
        "",
        "1 recommendation: 1 critical",
    ]


def test_no_findings_end_with_0(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ignored = tmp_path / "ignored"
    ignored.write_text("\n".join(rule.number for rule in rules(CATALOG)[1:]))
    arguments = ["audit", "-c", config, "-i", rules(CATALOG)[0].number, "-I", str(ignored)]
    assert main(arguments) == 0
    assert capsys.readouterr().out == "Nothing to recommend.\n"


def test_a_blank_beside_a_comma_means_nothing(
    config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", "-c", config, "-s", "low, critical", "-i", "3.3.1, 8.1.1"]) == 1
    assert "8.1.1" not in capsys.readouterr().out


def test_json_is_krakends_with_the_places(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "-c", config, "-s", "critical", "-f", "json"]) == 1
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert found["stats"] == {}
    only = found["recommendations"][0]
    assert (only["rule"], only["severity"], len(only["paths"])) == ("8.1.1", "CRITICAL", 5)


@pytest.mark.parametrize(
    ("flags", "word"),
    [(["-s", "SOME"], "unknown severity SOME"), (["-I", "/does/not/exist"], "cannot read")],
)
def test_wrong_flags_are_told(
    config: str, flags: list[str], word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", "-c", config, *flags]) == 1
    assert word in capsys.readouterr().err


def test_what_cannot_be_loaded_cannot_be_audited(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.json"
    path.write_text('{"version": 2}')
    assert main(["audit", "-c", str(path)]) == 1
    assert "$.version" in capsys.readouterr().err


def test_check_shows_how_a_configuration_is_understood(
    config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", "-c", config, "-tdi", ".."]) == 0
    out = capsys.readouterr().out
    assert "it, port 8080\n" in out
    assert "..GET /a\n" in out
    assert "......components: backend/amqp/consumer\n" in out
    assert "at amqp://***@broker.example\n" in out


def test_with_lint_what_the_loader_remarks_on_is_an_error(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", "-c", config, "-l"]) == 0
    path = tmp_path / "odd.json"
    path.write_text('{"version": "3", "nosuch": 1}')
    assert main(["check", "-c", str(path)]) == 0
    assert main(["check", "-c", str(path), "-n"]) == 1
    assert "unknown key" in capsys.readouterr().out
