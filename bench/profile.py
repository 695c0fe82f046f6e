"""A flame graph of a running process, made by py-spy from outside."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from .load.own import LoadError

SAMPLES = 500
"""Samples a second."""


@contextmanager
def recorded(pid: int, seconds: float, path: Path) -> Generator[None]:
    """Sample the process and its children for ``seconds``, from the beginning of the block.

    Raises :class:`LoadError` when it is not permitted: ptrace needs root or a child process.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen(
        [
            *(_find(), "record", "--pid", str(pid), "--duration", str(max(1, round(seconds)))),
            *("--rate", str(SAMPLES), "--subprocesses", "--output", str(path)),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    yield
    output, _ = process.communicate(timeout=seconds + 60)
    if process.returncode:
        raise LoadError(f"py-spy: {output}")


def _find() -> str:
    in_venv = Path(sys.executable).parent / "py-spy"
    found = str(in_venv) if in_venv.exists() else shutil.which("py-spy")
    if found is None:
        raise LoadError("py-spy is not installed: pip install py-spy")
    return found
