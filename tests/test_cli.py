"""The command line, as a process where it matters and in place where it does not."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import main

pytestmark = pytest.mark.usefixtures("_own_signals")

EXAMPLE = Path(__file__).parent.parent / "configs" / "krakend-v2.2-example.json"


@pytest.fixture
def _own_signals() -> Generator[None]:
    """What ``run`` does to the signals of its process ends with the test."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    numbers = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
    handlers = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


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
    port, version = capsys.readouterr().out.splitlines()
    assert port == f'error: {path}: $.port: expected a whole number, found the string "x"'
    assert version.startswith(f"error: {path}: $.version: expected 3, found the number 2: ")


def consumer(path: str, **settings: Any) -> dict[str, Any]:
    known = {"name": "q", "exchange": "x", "durable": True, "prefetch_count": 500, **settings}
    backend = {
        "host": ["amqp://127.0.0.1:1"],
        "disable_host_sanitize": True,
        "extra_config": {"backend/amqp/consumer": known},
    }
    return {"endpoint": path, "backend": [backend]}


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    def written(*endpoints: dict[str, Any], **root: Any) -> str:
        path = tmp_path / "shop.json"
        document = {"version": 3, "listen_ip": "127.0.0.1", "endpoints": endpoints, **root}
        path.write_text(json.dumps(document))
        return str(path)

    return written


def test_check_prints_no_finding_for_a_good_file(
    write: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", "-c", write(consumer("/a"))]) == 0
    assert capsys.readouterr() == ("Syntax OK!\n", "")


def test_check_prints_hints_and_run_does_not(
    write: Callable[..., str],
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    file = write(consumer("/a", prefetch_count=10, wait="1s", auto_ack=True))
    assert main(["check", "-c", file]) == 0
    *found, last = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in found] == ["warning", "hint", "hint"]
    assert last == "Syntax OK!"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["run", "-c", file, "-p", str(taken.getsockname()[1])]) == 1
    logged = [record for record in caplog.records if record.name == "gateway.config"]
    assert [record.levelname for record in logged] == ["WARNING"]
    assert "auto_ack" in logged[0].getMessage()


def test_a_finding_names_the_file_the_path_and_the_endpoint(
    write: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    left_out = {"endpoint": "/p", "method": "PURGE", "backend": [{}]}
    file = write(left_out, {"endpoint": "/b", "method": "POST", "backend": []})
    assert main(["check", "-c", file]) == 1
    assert (
        f"error: {file}: POST /b: $.endpoints[1].backend: expected at least one backend"
        in capsys.readouterr().out.splitlines()
    )


def test_equal_findings_are_one_line(
    write: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(*(consumer(f"/{number}", wait="1s") for number in range(84)))
    assert main(["check", "-c", file]) == 0
    found, _ = capsys.readouterr().out.splitlines()
    assert found == (
        f'hint: {file}: GET /0: $.endpoints[0].backend[0].extra_config["backend/amqp/consumer"]: '
        "only this gateway knows: wait (and 83 more)"
    )


def test_errors_and_warnings_of_several_endpoints_are_printed_together(
    write: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(
        consumer("/a", auto_ack="perhaps"), consumer("/b", auto_ack=True), tls={"keys": [{}]}
    )
    assert main(["check", "-c", file]) == 1
    where = '.backend[0].extra_config["backend/amqp/consumer"]'
    truth = 'expected true or false, found the string "perhaps"'
    once = "auto_ack: at most once: when a client disconnects early, its message is lost"
    found = [line.replace(f"{file}: ", "") for line in capsys.readouterr().out.splitlines()]
    assert found == [
        "error: $.tls.keys[0].public_key: expected the path of a PEM file",
        "error: $.tls.keys[0].private_key: expected the path of a PEM file",
        f"error: GET /a: $.endpoints[0]{where}.auto_ack: {truth}",
        f"warning: GET /b: $.endpoints[1]{where}: {once}",
    ]


def test_an_error_at_the_root_hides_no_error_of_an_endpoint(
    write: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    broken = consumer("/a", auto_ack=True)
    broken["backend"][0]["host"] = ["amqp://broker:99999"]
    file = write(broken, extra_config={"auth/nosuch": {}})
    assert main(["check", "-c", file]) == 1
    severities = [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()]
    assert severities == ["error", "error"]


def test_lint_says_how_many_warnings_there_are(
    write: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(consumer("/a", auto_ack=True), nosuch=1)
    assert main(["check", "-l", "-c", file]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "Lint failed: 1 warning."


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


def test_http1_does_not_run_on_trio(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "empty.json"
    path.write_text('{"version": 3}')
    flags = ["--server", "http1", "--async-library", "trio"]
    assert main(["run", "-c", str(path), *flags]) == 1
    assert "only runs on asyncio" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("run -c x --workers 0", '--workers: expected a whole number from 1, found "0"'),
        ("run -c x --workers -1", '--workers: expected a whole number from 1, found "-1"'),
        ("run -c x --workers two", '--workers: expected a whole number from 1, found "two"'),
        ("run -c x -p 65536", '-p/--port: expected a whole number from 0 to 65535, found "65536"'),
        ("run -c x -p -1", '-p/--port: expected a whole number from 0 to 65535, found "-1"'),
        ("run -c x --server nginx", "--server: invalid choice: 'nginx'"),
        ("run -c x --async-library curio", "--async-library: invalid choice: 'curio'"),
        ("run", "the following arguments are required: -c/--config"),
        ("demo -p http", '-p/--port: expected a whole number from 0 to 65535, found "http"'),
        ("demo --url localhost", "--url: expected a URL that begins with amqp:// or amqps://"),
        ("start -c x", "argument COMMAND: invalid choice: 'start'"),
    ],
)
def test_a_flag_with_a_wrong_value_is_an_error_of_the_command_line(
    command: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(command.split())
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("command", ["run", "check", "audit"])
@pytest.mark.parametrize(
    ("name", "reason"), [("", "Is a directory"), ("missing.json", "No such file or directory")]
)
def test_a_configuration_that_is_not_a_file_is_an_error(
    tmp_path: Path, command: str, name: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "-c", str(tmp_path / name)]) == 1
    output = capsys.readouterr()
    assert f"cannot read {tmp_path / name}: {reason}" in output.out + output.err


def test_rules_to_ignore_come_from_a_text_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "binary").write_bytes(b"\xff")
    assert main(["audit", "-c", str(EXAMPLE), "-I", str(tmp_path / "binary")]) == 1
    assert "it is not UTF-8" in capsys.readouterr().err


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_server_that_does_not_fit_the_configuration_is_an_error_before_workers_start(
    tmp_path: Path, workers: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "http2.json"
    path.write_text('{"version": 3, "use_h2c": true}')
    flags = ["--server", "http1", "--workers", workers]
    assert main(["run", "-c", str(path), *flags, "--async-library", "trio"]) == 1
    assert "only runs on asyncio" in capsys.readouterr().err
    assert main(["run", "-c", str(path), *flags]) == 1
    assert "the server http1 has no HTTP/2" in capsys.readouterr().err
