"""Files without a name. Processes share one if they inherit its descriptor."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Generator
from contextlib import ExitStack, contextmanager


@contextmanager
def open_anonymous_file(name: str, size: int = 0) -> Generator[int]:
    """The descriptor of a file of ``size`` zeros, which other processes can inherit.

    It is memory on Linux, otherwise a temporary file. ``name``: for people who look at the
    descriptors of the process.
    """
    with ExitStack() as stack:
        if sys.platform == "linux":
            file = stack.enter_context(os.fdopen(os.memfd_create(name), "r+b"))
        else:
            file = stack.enter_context(tempfile.TemporaryFile())
        file.truncate(size)
        yield file.fileno()
