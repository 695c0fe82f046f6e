"""Programs that check what is in ``deploy/``."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"

BIN = Path(sys.executable).parent
"""Of the virtual environment, which has some of the programs."""


def find(name: str) -> str | None:
    return shutil.which(name, path=f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}")


def needs(name: str, where: str, *, can_be_missing: bool = False) -> pytest.MarkDecorator:
    """Skip a test where the program is missing. In CI it then fails, unless it ``can_be_missing``.

    ``where``: what has the program.
    """
    may_skip = can_be_missing or os.environ.get("SKIPPED_RUNS") != "fail"
    return pytest.mark.skipif(
        may_skip and find(name) is None, reason=f"there is no {name} ({where})"
    )


def run(name: str, *arguments: str | Path, **environ: str) -> str:
    """The output of a program that is expected to succeed."""
    done = attempt(name, *arguments, **environ)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def attempt(name: str, *arguments: str | Path, **environ: str) -> subprocess.CompletedProcess[str]:
    program = find(name)
    assert program is not None, f"there is no {name}"
    return subprocess.run(
        [program, *arguments],
        capture_output=True,
        text=True,
        timeout=50,
        env={**os.environ, **environ},
    )
