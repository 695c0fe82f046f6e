"""The unit for systemd: systemd's own checks, and what it says about the gateway."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from gateway.cli import _parser
from gateway.config.structs import DEFAULT_GRACE
from gateway.server.workers import KILL_TIMEOUT

from .tools import DEPLOY, needs, run

UNIT = DEPLOY / "systemd/hutch-gateway.service"

USER = DEPLOY / "systemd/hutch-gateway.conf"

MAX_EXPOSURE = 20
"""In tenths: 2.0 on the scale of ``systemd-analyze security``, on which 10 is the worst."""

needs_systemd = needs("systemd-analyze", "Debian package systemd")


def settings() -> dict[str, str]:
    lines = (line for line in UNIT.read_text().splitlines() if not line.startswith("#"))
    return dict(line.split("=", 1) for line in lines if "=" in line)


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The unit with a program that exists: systemd looks for it."""
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/hutch-gateway/bin/gateway", sys.executable))
    return unit


@needs_systemd
def test_systemd_finds_nothing_wrong_in_the_unit(installed: Path) -> None:
    assert run("systemd-analyze", "verify", "--man=no", installed) == ""


@needs_systemd
def test_systemd_would_find_an_unknown_setting(installed: Path) -> None:
    text = installed.read_text().replace("WatchdogSec=", "WatchDogSec=")
    installed.write_text(text)
    assert "WatchDogSec" in run("systemd-analyze", "verify", "--man=no", installed)


@needs_systemd
def test_the_service_is_hardened(installed: Path) -> None:
    flags = ["--offline=true", f"--threshold={MAX_EXPOSURE}", "--no-pager"]
    run("systemd-analyze", "security", *flags, installed)


@needs_systemd
def test_the_user_of_the_unit_is_made_by_sysusers() -> None:
    assert settings()["User"] == settings()["Group"] == "hutch-gateway"
    assert re.search(r"^u hutch-gateway ", USER.read_text(), re.MULTILINE)


def test_the_command_of_the_unit_is_right() -> None:
    program, *arguments = settings()["ExecStart"].split()
    assert program.endswith("/gateway")
    options = _parser().parse_args(arguments)
    assert options.command.__name__ == "run_command"


def test_systemd_waits_until_a_stop_is_over() -> None:
    assert int(settings()["TimeoutStopSec"]) > DEFAULT_GRACE + KILL_TIMEOUT


def test_the_unit_has_what_notifications_need() -> None:
    unit = settings()
    assert unit["Type"] == "notify"
    assert unit["NotifyAccess"] == "main"
    assert int(unit["WatchdogSec"]) >= 10
    assert "AF_UNIX" in unit["RestrictAddressFamilies"].split()
