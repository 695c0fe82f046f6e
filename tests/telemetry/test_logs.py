"""What reaches a log, however it is written."""

from __future__ import annotations

import io
import logging
import subprocess
import sys
from collections.abc import Callable, Generator

import pytest

from gateway.telemetry.logs import get_logger

FORGED = "x\n2026-01-01 INFO gateway: forged\r\x1b[2K\u2028\x85\u202e\udc80"
ESCAPED = r"x\u000a2026-01-01 INFO gateway: forged\u000d\u001b[2K\u2028\u0085\u202e\udc80"

log = get_logger("gateway.test")


@pytest.fixture
def written() -> Generator[Callable[[], str]]:
    """What a handler of an embedding program has written, without anything of ours."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logging.getLogger().addHandler(handler)
    yield stream.getvalue
    logging.getLogger().removeHandler(handler)


def test_control_characters_of_every_argument_are_escaped(written: Callable[[], str]) -> None:
    log.error("%s and %s", FORGED, ValueError(FORGED))
    assert written() == f"ERROR {ESCAPED} and {ESCAPED}\n"


def test_a_message_without_them_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    log.error("%s: %d \u00e4", "a", 1)
    assert caplog.records[0].args == ("a", 1)


@pytest.mark.parametrize("error", [ValueError(FORGED), OSError(5, FORGED)])
def test_each_message_of_a_traceback_is_on_one_line(
    error: Exception, written: Callable[[], str]
) -> None:
    try:
        try:
            raise LookupError(FORGED)
        except LookupError as cause:
            raise error from cause
    except type(error):
        log.exception("%s", FORGED)
    lines = written().split("\n")
    assert lines[:2] == [f"ERROR {ESCAPED}", "Traceback (most recent call last):"]
    assert f"LookupError: {ESCAPED}" in lines
    assert f"{type(error).__name__}: {str(error).replace(FORGED, ESCAPED)}" in lines
    assert "    raise LookupError(FORGED)" in lines


def test_messages_of_a_group_are_on_one_line_each(written: Callable[[], str]) -> None:
    log.error("a group", exc_info=ExceptionGroup(FORGED, [ValueError(FORGED), KeyError("k")]))
    lines = [line.strip(" |+") for line in written().split("\n")]
    assert lines[1].startswith(r"ExceptionGroup: x\u000a")
    assert "KeyError: 'k'" in lines
    assert not [line for line in lines if line.startswith("2026")]


def test_arguments_that_do_not_fit_raise_nothing(
    monkeypatch: pytest.MonkeyPatch, written: Callable[[], str]
) -> None:
    class Bad:
        def __str__(self) -> str:
            raise ValueError

    monkeypatch.setattr(logging, "raiseExceptions", False)
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", root.handlers[-1:])
    log.error("%s", Bad())
    assert written() == ""


def test_a_process_escapes_what_libraries_log_too() -> None:
    program = (
        "import logging; from gateway.components.log.outputs import open_log\n"
        r"with open_log(): logging.getLogger('aiormq').critical('a\nb')"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert ended.stderr.endswith(rb"CRITICAL aiormq: a\u000ab" + b"\n")
