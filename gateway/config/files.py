"""Why a file cannot be read, in words that name the place where it was looked for."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def cannot_read(path: str | os.PathLike[str], error: OSError | ValueError) -> str:
    """``error``: of opening, or of reading the file as UTF-8."""
    if isinstance(error, UnicodeDecodeError):
        return f"cannot read {os.fspath(path)}: not UTF-8"
    if isinstance(error, ValueError):  # a null byte
        return "cannot read a file of such a name"
    text = f"cannot read {os.fspath(path)}: {error.strerror or 'an error of the system'}"
    return text if Path(path).is_absolute() else f"{text} (relative to {Path.cwd()})"


def exposed(path: str) -> str:
    """What to do about a file of secrets that every user of the machine can read; else empty."""
    try:
        mode = Path(path).stat().st_mode
    except (OSError, ValueError):  # said elsewhere
        return ""
    return f"every user can read {path}: chmod o-r" if mode & stat.S_IROTH else ""


def unreadable(path: str) -> str:
    """Empty when the file can be read."""
    try:
        Path(path).open("rb").close()
    except (OSError, ValueError) as error:
        return cannot_read(path, error)
    return ""
