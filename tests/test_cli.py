"""The command line, as a process where it matters and in place where it does not."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from gateway.cli import main

EXAMPLE = Path(__file__).parent.parent / "configs" / "krakend-v2.2-example.json"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version"]) == 0
    assert capsys.readouterr().out.startswith("gateway 0.")


def test_check_accepts_the_documentation_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "-c", str(EXAMPLE)]) == 0
    out = capsys.readouterr().out
    assert out.endswith("Syntax OK!\n")
    assert "prefetch_size is ignored" in out


def test_check_refuses_with_one_line_for_each_problem(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.json"
    path.write_text(json.dumps({"version": 2, "port": "x"}))
    assert main(["check", "-c", str(path)]) == 1
    told = capsys.readouterr()
    assert told.err.splitlines() == [
        'error: $.port: expected a whole number, found the text "x"',
        "error: $.version: expected 3, found the number 2",
    ]
    assert "Syntax OK!" not in told.out


def test_run_refuses_a_bad_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "-c", str(tmp_path / "missing.json")]) == 1
    assert "cannot read" in capsys.readouterr().err


def test_run_says_that_the_port_is_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "empty.json"
    path.write_text('{"version": 3, "listen_ip": "127.0.0.1"}')
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["run", "-c", str(path), "-p", str(port)]) == 1
    assert f"cannot listen on 127.0.0.1:{port}" in capsys.readouterr().err


def test_uvicorn_does_not_run_on_trio(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "empty.json"
    path.write_text('{"version": 3}')
    flags = ["--server", "uvicorn", "--async-library", "trio"]
    assert main(["run", "-c", str(path), *flags]) == 1
    assert "asyncio only" in capsys.readouterr().err
