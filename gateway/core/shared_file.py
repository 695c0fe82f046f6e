"""A file that one process writes and others read: what a worker hands to the other workers.

All workers inherit its descriptor. It stays when its worker ends, and the next life of that worker
goes on with it.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from struct import Struct

from .anonymous_file import open_anonymous_file

HEADER = Struct("=QQ")
"""Where in the file the content begins, and its length in bytes. Zeros: there is none."""

CONTENT_LOCK, OWNER_LOCK = 0, 1
"""Bytes of the file that are locked: while its content is read or written; as long as its worker
lives. The kernel releases the locks of a process that ends."""


@contextmanager
def open_shared_files(name: str, number: int) -> Generator[list[int]]:
    """The descriptors of so many empty files. ``name``: for people."""
    with ExitStack() as stack:
        files = [open_anonymous_file(f"{name} {each}") for each in range(number)]
        yield [stack.enter_context(each) for each in files]


class SharedFile:
    """``descriptor``: of a file that the workers have inherited. No process may close it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def own(self) -> None:
        """From now on until this process ends the file has an owner."""
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX, 1, OWNER_LOCK)

    def has_owner(self) -> bool:
        """Not for the owner: it would lose the lock."""
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB, 1, OWNER_LOCK)
        except (BlockingIOError, PermissionError):  # it depends on the system which
            return True
        fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, OWNER_LOCK)
        return False

    def write(self, content: bytes) -> None:
        """Raises OSError; then the file has its old content. It also has that if the process is
        killed meanwhile: new content is written beside the old, and the header is written last."""
        with self._locked(fcntl.LOCK_EX):
            start, length = self._header()
            fits_before = HEADER.size + len(content) <= start
            place = HEADER.size if fits_before or not length else start + length
            if os.pwrite(self._descriptor, content, place) < len(content):
                raise OSError(0, "there is no more space")
            os.pwrite(self._descriptor, HEADER.pack(place, len(content)), 0)

    def read(self) -> bytes:
        """What was written last; empty: nothing yet."""
        with self._locked(fcntl.LOCK_SH):
            start, length = self._header()
            return os.pread(self._descriptor, length, start)

    def _header(self) -> tuple[int, int]:
        start, length = HEADER.unpack(
            os.pread(self._descriptor, HEADER.size, 0) or bytes(HEADER.size)
        )
        return start, length

    @contextmanager
    def _locked(self, mode: int) -> Generator[None]:
        fcntl.lockf(self._descriptor, mode, 1, CONTENT_LOCK)
        try:
            yield
        finally:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, CONTENT_LOCK)
