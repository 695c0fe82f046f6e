"""A file of lines that several processes append to and read on, and that is written anew now and
then: what is not needed any more goes.

Who writes it anew writes it aside and renames it, so that at every moment there is a whole one.
Those who have the old one open see that it has no name any more, and open the new one.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

Keep = Callable[[Sequence[bytes]], Sequence[bytes]]
"""Of all lines those that are still needed. Both without line ends."""


class LineFile:
    """``lines``: how many it has, of those that were read. Every method may raise OSError."""

    def __init__(self, path: str) -> None:
        self._path = Path(path).resolve()
        self._file = -1
        self._read_to = 0
        self.lines = 0

    @property
    def is_open(self) -> bool:
        return self._file >= 0

    def open(self) -> None:
        self._file = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        self._read_to = self.lines = 0

    def close(self) -> None:
        os.close(self._file)
        self._file = -1

    def read_on(self) -> Sequence[bytes]:
        """The lines that are new; all, when it was written anew. One that is not whole waits."""
        status = os.fstat(self._file)
        if not status.st_nlink:
            self._reopen()
            status = os.fstat(self._file)
        if status.st_size <= self._read_to:
            return ()
        whole = _whole_lines(self._file, self._read_to)
        self._read_to += len(whole)
        lines = whole.splitlines()
        self.lines += len(lines)
        return lines

    def append(self, lines: Sequence[bytes]) -> None:
        """At the end, in one piece, whoever else does so."""
        with _locked(self._file):
            is_gone = not os.fstat(self._file).st_nlink
            if not is_gone:
                _write(self._file, _mended(self._file) + b"".join(line + b"\n" for line in lines))
        if is_gone:
            self._reopen()
            self.append(lines)

    def rewrite(self, keep: Keep) -> bool:
        """Write it anew. False: somebody else does. May run in a thread beside all others.

        What is appended meanwhile is kept as it is.
        """
        aside = self._path.with_name(f"{self._path.name}.new")
        with _opened(self._path) as old, _opened(aside) as new:
            if not _is_ours(new, aside):
                return False
            os.ftruncate(new, 0)
            os.fchmod(new, os.fstat(old).st_mode & 0o777)
            whole = _whole_lines(old, 0)
            _write(new, b"".join(line + b"\n" for line in keep(whole.splitlines())))
            os.fsync(new)
            with _locked(old):
                if not os.fstat(old).st_nlink:
                    return False
                _write(new, _read_from(old, len(whole)))
                os.fsync(new)
                aside.replace(self._path)
        with _opened(self._path.parent, os.O_RDONLY) as folder:
            os.fsync(folder)
        return True

    def _reopen(self) -> None:
        self.close()
        self.open()


@contextmanager
def _opened(path: Path, flags: int = os.O_RDWR | os.O_APPEND | os.O_CREAT) -> Generator[int]:
    file = os.open(path, flags, 0o600)
    try:
        yield file
    finally:
        os.close(file)


@contextmanager
def _locked(file: int) -> Generator[None]:
    fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)


def _is_ours(file: int, path: Path) -> bool:
    """Whether nobody else has the file locked, or has renamed it since it was opened."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(file), path.stat())
    return False


def _mended(file: int) -> bytes:
    """A line end, where somebody was stopped in the middle of a line."""
    size = os.fstat(file).st_size
    return b"\n" if size and os.pread(file, 1, size - 1) != b"\n" else b""


def _whole_lines(file: int, start: int) -> bytes:
    whole, newline, _ = _read_from(file, start).rpartition(b"\n")
    return whole + newline


def _read_from(file: int, start: int) -> bytes:
    return os.pread(file, os.fstat(file).st_size - start, start)


def _write(file: int, data: bytes) -> None:
    if os.write(file, data) < len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
