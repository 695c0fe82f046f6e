"""A flame graph of a process while it works, by py-spy: it needs no change of the process."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from .load.own import LoadError

SAMPLES = 500
"""A second."""


@contextmanager
def recorded(pid: int, seconds: float, path: Path) -> Generator[None]:
    """Look at the process and its children for ``seconds``, from the beginning of the block.

    Raises :class:`LoadError` when that is not allowed (ptrace needs root, or a parent).
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
    beside = Path(sys.executable).parent / "py-spy"
    found = str(beside) if beside.exists() else shutil.which("py-spy")
    if found is None:
        raise LoadError("py-spy is not installed: pip install py-spy")
    return found
