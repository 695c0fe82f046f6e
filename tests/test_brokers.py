"""``scripts/brokers`` makes a folder once and whole; ``scripts/test`` reports what it skipped."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import psutil
import pytest

from . import brokers

SCRIPTS = Path(__file__).parent.parent / "scripts"

DEBOOTSTRAP = """#!/bin/sh
echo call >>"$CALLS"
for target; do case $target in /*) break; esac; done
mkdir -p "$target/usr/lib/rabbitmq/bin"
touch "$target/usr/lib/rabbitmq/bin/rabbitmq-server"
"""
"""Makes as much of a folder as is checked."""


def executable(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder of the PATH, without debootstrap and apt-get; the user is root."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sh", "mkdir", "touch", "unshare", "true"):
        found = shutil.which(name)
        assert found is not None
        (tools / name).symlink_to(found)
    monkeypatch.setenv("PATH", str(tools))
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    monkeypatch.setenv("GATEWAY_BROKERS", str(tmp_path / "brokers"))
    monkeypatch.setattr("os.geteuid", lambda: 0)
    return tools


@pytest.fixture
def debootstrap(tools: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A debootstrap that only makes files, and a mirror that has everything."""
    monkeypatch.setattr(brokers, "find_mirror", lambda suite: "http://mirror")
    executable(tools / "debootstrap", DEBOOTSTRAP)
    return tools / "debootstrap"


def contents(tmp_path: Path) -> set[str]:
    return {path.name for path in (tmp_path / "brokers").iterdir()}


def calls(tmp_path: Path) -> int:
    return (tmp_path / "calls").read_text().count("call")


def test_a_folder_is_made_once_and_starts_no_service(debootstrap: Path, tmp_path: Path) -> None:
    root = brokers.set_up("4.0")
    assert root == tmp_path / "brokers" / "4.0" == brokers.set_up("4.0") == brokers.root_of("4.0")
    assert calls(tmp_path) == 1
    policy = root / "usr/sbin/policy-rc.d"
    assert subprocess.run([policy], check=False).returncode == 101
    assert contents(tmp_path) == {"4.0", "4.0.lock", "4.0.log"}


def test_calls_at_the_same_time_make_it_once(debootstrap: Path, tmp_path: Path) -> None:
    with ThreadPoolExecutor() as threads:
        roots = set(threads.map(brokers.set_up, ["4.0"] * 3))
    assert roots == {tmp_path / "brokers" / "4.0"}
    assert calls(tmp_path) == 1


def test_what_a_killed_call_left_is_removed(debootstrap: Path, tmp_path: Path) -> None:
    left = tmp_path / "brokers" / "4.0.unfinished" / "old"
    left.mkdir(parents=True)
    assert not (brokers.set_up("4.0") / "old").exists()
    assert contents(tmp_path) == {"4.0", "4.0.lock", "4.0.log"}


def test_a_failed_debootstrap_is_reported_with_its_last_line_and_leaves_no_folder(
    debootstrap: Path, tmp_path: Path
) -> None:
    executable(debootstrap, "#!/bin/sh\necho E: no space left\nexit 1\n")
    with pytest.raises(brokers.NotAvailable, match=r"failed: E: no space left \(more in"):
        brokers.set_up("4.0")
    assert contents(tmp_path) == {"4.0.lock", "4.0.log"}


def test_a_folder_without_rabbitmq_is_not_removed(debootstrap: Path, tmp_path: Path) -> None:
    (tmp_path / "brokers" / "4.0").mkdir(parents=True)
    with pytest.raises(brokers.NotAvailable, match="remove it"):
        brokers.set_up("4.0")


def test_without_root_it_says_so(
    debootstrap: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    assert brokers.main(["4.0"]) == 1
    assert capsys.readouterr().err == "RabbitMQ 4.0: its set-up and its start need root\n"


@pytest.mark.usefixtures("tools")
def test_without_debootstrap_and_apt_it_says_so() -> None:
    with pytest.raises(brokers.NotAvailable, match="no apt-get to install it"):
        brokers.set_up("4.0")


def test_without_a_network_it_says_so(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    executable(tools / "debootstrap", DEBOOTSTRAP)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with pytest.raises(brokers.NotAvailable, match=r"deb\.debian\.org/debian cannot be read: .*"):
        brokers.set_up("4.0")


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[str]:
    """The URL of a mirror with the suite trixie."""
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "dists/trixie").mkdir(parents=True)
    (tmp_path / "dists/trixie/InRelease").touch()
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_the_first_mirror_of_apt_that_has_the_suite_is_used(tools: Path, mirror: str) -> None:
    targets = ("cdrom:[Debian]", "http://127.0.0.1:1/", f"{mirror}/old/", f"{mirror}/")
    lines = "".join(f"echo '{target}'\n" for target in targets)
    executable(tools / "apt-get", f"#!/bin/sh\n{lines}")
    assert brokers.find_mirror("trixie") == mirror


def test_the_proxy_of_apt_is_used_but_the_environment_decides(
    tools: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executable(tools / "apt-config", "#!/bin/sh\necho \"it='http://proxy:3142'\"\n")
    monkeypatch.setenv("http_proxy", "")
    monkeypatch.setenv("https_proxy", "http://other")
    del os.environ["http_proxy"]  # monkeypatch restores it
    brokers.use_proxy_of_apt()
    assert os.environ["http_proxy"] == "http://proxy:3142"
    assert os.environ["https_proxy"] == "http://other"


def test_the_list_names_the_folder_of_each_version(
    debootstrap: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "brokers" / "4.0"
    assert brokers.main(["--list"]) == 0
    assert capsys.readouterr().out == f"4.0\t{root}\tnot set up\n"
    (brokers.set_up("4.0") / "usr/lib/rabbitmq/lib/rabbitmq_server-4.0.5").mkdir(parents=True)
    assert brokers.main(["--list"]) == 0
    assert capsys.readouterr().out == f"4.0\t{root}\tRabbitMQ 4.0.5\n"


@pytest.mark.parametrize(("version", "reason"), [("4.0", "--set-up 4.0"), ("3.9", "known: 4.0")])
@pytest.mark.usefixtures("tools")
def test_tests_do_not_run_on_a_version_that_is_missing(
    version: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(brokers.VARIABLE, version)
    with pytest.raises(brokers.NotAvailable, match=reason):
        brokers.chosen_root()


@pytest.mark.skipif(os.geteuid() != 0, reason="chroot needs root")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_broker_and_leaves_no_process(
    number: signal.Signals, tmp_path: Path
) -> None:
    (tmp_path / "4.0").symlink_to("/")  # the installed RabbitMQ will do
    environ = {**os.environ, "GATEWAY_BROKERS": str(tmp_path)}
    command = [str(SCRIPTS / "brokers"), "4.0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(3)]
        assert re.match(r"RabbitMQ [\d.]+: amqp://guest:guest@127.0.0.1:\d+/\n", lines[0])
        assert lines[2] == "Ctrl-C stops it\n"
        assert {"epmd", "beam.smp"} <= set(processes_of(process.pid, tmp_path))
        process.send_signal(number)
        assert process.wait(30) == 128 + number
        while processes_of(process.pid, tmp_path):  # Erlang's helpers end a moment after the node
            time.sleep(0.01)


def processes_of(pid: int, brokers_folder: Path) -> list[str]:
    """Names of the processes that have the environment of that command, or of its node."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            environ, node = process.environ(), f"gateway-{pid}-"
            is_node = environ.get("RABBITMQ_NODENAME", "").startswith(node)
            if is_node or environ.get("GATEWAY_BROKERS") == str(brokers_folder):
                found.append(process.name())
    return found


PYTEST = """#!/bin/sh
echo "RabbitMQ ${GATEWAY_TEST_RABBITMQ:-3.10.8}: passed" >"$GATEWAY_TEST_SUMMARY"
[ -z "$FAILS" ] || [ "$FAILS" != "${GATEWAY_TEST_RABBITMQ:-3.10.8}" ]
"""
REFUSES = "#!/bin/sh\necho progress >&2\necho RabbitMQ 4.0: a reason >&2\nexit 1\n"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose checks and tests pass at once."""
    for name in ("scripts/setup", "scripts/brokers", ".venv/bin/ruff", ".venv/bin/mypy"):
        executable(tmp_path / name, "#!/bin/sh\n")
    executable(tmp_path / ".venv/bin/pytest", PYTEST)
    shutil.copy(SCRIPTS / "test", tmp_path / "scripts/test")
    return tmp_path


def run_test_script(checkout: Path, *arguments: str, **environ: str) -> tuple[int, list[str]]:
    """Exit status, and the lines on standard output."""
    kept = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
    result = subprocess.run(
        [checkout / "scripts/test", *arguments],
        env={**kept, **environ},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    return result.returncode, result.stdout.splitlines()


BOTH = ["RabbitMQ 3.10.8: passed", "RabbitMQ 4.0: passed"]


def test_tests_run_on_both_versions_and_a_failure_on_one_is_the_exit_status(checkout: Path) -> None:
    assert run_test_script(checkout) == (0, BOTH)
    assert run_test_script(checkout, FAILS="3.10.8") == (1, BOTH)
    assert run_test_script(checkout, FAILS="4.0") == (1, BOTH)


def test_arguments_are_for_one_run_on_the_installed_version(checkout: Path) -> None:
    assert run_test_script(checkout, "tests/amqp") == (0, BOTH[:1])


@pytest.mark.parametrize(("environ", "status"), [({}, 0), ({"SKIPPED_RUNS": "fail"}, 1)])
def test_a_skipped_version_is_in_the_summary_and_fails_if_asked_for(
    checkout: Path, environ: dict[str, str], status: int
) -> None:
    executable(checkout / "scripts/brokers", REFUSES)
    expected = [BOTH[0], "RabbitMQ 4.0: skipped: a reason"]
    assert run_test_script(checkout, **environ) == (status, expected)


def test_a_run_of_pytest_that_is_killed_is_in_the_summary(checkout: Path) -> None:
    executable(checkout / ".venv/bin/pytest", "#!/bin/sh\nexit 3\n")
    assert run_test_script(checkout, "x") == (3, ["a run of pytest ended without a result"])


def test_ctrl_c_ends_the_first_run_and_starts_no_second(checkout: Path) -> None:
    interrupted = "#!/bin/sh\ntrap 'exit 2' INT\necho started\nwhile :; do sleep 0.01; done\n"
    executable(checkout / ".venv/bin/pytest", interrupted)
    with subprocess.Popen(
        [checkout / "scripts/test"], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as script:
        assert script.stdout is not None
        assert script.stdout.readline() == "started\n"
        os.killpg(script.pid, signal.SIGINT)
        assert script.stdout.read() == ""
    assert script.returncode == 130


def test_the_command_needs_no_library() -> None:
    """It runs before there is a .venv."""
    code = "import sys; sys.path[:0] = ['.']; import tests.brokers; sys.exit(tests.brokers.main())"
    subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, "--list"], cwd=SCRIPTS.parent, check=True
    )
