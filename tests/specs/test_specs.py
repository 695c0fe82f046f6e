"""The runner of KrakenD's integration specs, with a small clone of our own."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from .__main__ import main, run
from .compare import Reply, differences, read_spec, without

JSON = ("Content-Type", "application/json")


@pytest.mark.parametrize(
    ("wanted", "reply", "problems"),
    [
        ({}, Reply(200, [], b""), []),
        ({}, Reply(404, [], b""), ["status 404, expected 200"]),
        ({"header": {"content-type": ["application/json"]}}, Reply(200, [JSON], b""), []),
        ({"header": {"X-A": ["1"]}}, Reply(200, [], b""), ["X-A: absent, expected ['1']"]),
        ({"header": {"X-A": [""]}}, Reply(200, [], b""), []),
        ({"header": {"X-A": [""]}}, Reply(200, [("X-A", "1")], b""), ["X-A: ['1'], expected ['']"]),
        ({"header": {"A": ["1", "2"]}}, Reply(200, [("a", "1"), ("A", "2")], b""), []),
        ({"body": "x"}, Reply(200, [], b"x"), []),
        ({"body": ""}, Reply(200, [], b"x"), ["body b'x', expected ''"]),
        ({"body": '{"a":1,"b":2}'}, Reply(200, [], b'{"b":2,"a":1}'), []),
        ({"body": {"a": 1}}, Reply(200, [], b'{"a":1}'), []),
        ({"body": {"a": 1}}, Reply(200, [], b"a"), ["body b'a', expected {'a': 1}"]),
        ({"body": "x"}, Reply(200, [("Content-Encoding", "gzip")], gzip.compress(b"x")), []),
        ({"schema": {"type": "object"}, "body": "y"}, Reply(200, [], b"{}"), []),
        ({"schema": {"type": "object"}}, Reply(200, [], b"1"), ["body b'1': 1 is not of type"]),
        ({"schema": {"type": "object"}}, Reply(200, [], b""), ["body b'': Expecting value"]),
    ],
)
def test_a_reply_is_compared_as_by_krakends_runner(
    wanted: dict[str, Any], reply: Reply, problems: list[str]
) -> None:
    found = list(differences({"status_code": 200, **wanted}, reply))
    assert len(found) == len(problems)
    assert all(map(str.startswith, found, problems))


def test_a_request_without_a_method_is_a_get() -> None:
    spec = read_spec("a", '{"in": {"url": "http://localhost/", "body": {"b": 1}}, "out": {}}')
    assert (spec.method, spec.body) == ("GET", b'{"b":1}')


def test_what_is_decided_otherwise_is_taken_out() -> None:
    reply = Reply(200, [], b'{"headers":{"A":1,"B":2}}')
    assert json.loads(without(reply, ["headers.A"]).body) == {"headers": {"B": 2}}
    with pytest.raises(KeyError):
        without(reply, ["headers.C"])


def test_each_decision_has_its_reason() -> None:
    for decision in json.loads(
        Path(__file__).with_name("decided.json").read_text(encoding="utf-8")
    ).values():
        assert decision.keys() == {"ignored", "contract", "reason"}
        assert all(decision.values())


def test_each_spec_of_a_clone_is_asked_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    specs = tmp_path / "tests" / "fixtures" / "specs"
    specs.mkdir(parents=True)
    backend = {"host": ["http://127.0.0.1:8081"], "url_pattern": "/param_forwarding/x"}
    config = {
        "version": 3,
        "timeout": "60s",
        "port": 8080,
        "endpoints": [{"endpoint": "/echo", "backend": [backend]}],
    }
    (specs.parent / "krakend.json").write_text(json.dumps(config))
    echo = {
        "foo": 42,
        "path": "/param_forwarding/x",
        "query": {},
        "headers": {
            "Accept-Encoding": ["gzip"],
            "User-Agent": ["KrakenD Version 2.13.8"],
            "X-Forwarded-Host": ["localhost:8080"],
        },
    }
    right = {"status_code": 200, "body": echo, "header": {"X-Krakend": ["Version 2.13.8"]}}
    less = {**right, "body": {**echo, "headers": {}}}
    url = "http://localhost:8080/echo"
    for name, out in (("right", right), ("less", less), ("wrong", {"status_code": 404})):
        (specs / f"{name}.json").write_text(json.dumps({"in": {"url": url}, "out": out}))
    members = ["headers.Accept-Encoding", "headers.User-Agent", "headers.X-Forwarded-Host"]
    assert run(tmp_path, {"less": {"ignored": members, "reason": "known"}}) == 1
    assert capsys.readouterr().out.splitlines() == [
        "ok      less (known)",
        "ok      right",
        "FAILED  wrong: status 200, expected 404",
        "2 passed, 1 failed",
    ]


def test_a_folder_that_is_no_clone_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["krakend-specs", str(tmp_path)])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "no clone of krakend-ce" in capsys.readouterr().err
