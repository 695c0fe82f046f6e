"""Messages about files that cannot be read, with the place where the gateway looked for them."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def cannot_read(path: str | os.PathLike[str], error: OSError | ValueError) -> str:
    """``error``: from opening the file, or from decoding it as UTF-8."""
    if isinstance(error, UnicodeDecodeError):
        return f"cannot read {os.fspath(path)}: not UTF-8"
    if isinstance(error, ValueError):  # a null byte
        return "cannot read a file: its name is not valid"
    text = f"cannot read {os.fspath(path)}: {error.strerror or 'unknown error'}"
    return text if Path(path).is_absolute() else f"{text} (relative to {Path.cwd()})"


def exposed(path: str) -> str:
    """A warning about a file of secrets that every user of the machine can read; else empty."""
    try:
        mode = Path(path).stat().st_mode
    except (OSError, ValueError):  # cannot_read() reports it
        return ""
    return f"every user can read {path}: chmod o-r" if mode & stat.S_IROTH else ""


def unreadable(path: str) -> str:
    """Why a file cannot be read. Empty when it can."""
    try:
        Path(path).open("rb").close()
    except (OSError, ValueError) as error:
        return cannot_read(path, error)
    return ""
