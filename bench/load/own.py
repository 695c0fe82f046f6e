"""Our own generator, on the harness's side: one process runs many plans, one at a time."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager

from msgspec import json

from .plan import Failure, LoadResult, Plan, Progress

COMMAND = (sys.executable, "-m", "bench.load.generator")

OnProgress = Callable[[Progress], object]


class LoadError(Exception):
    """A generator failed."""


def ignore(progress: Progress) -> None:
    """Progress is not reported."""


def do_nothing() -> None:
    """Nothing else begins with the load."""


class OwnGenerator:
    """See ``generator.py``."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def run(
        self,
        plan: Plan,
        on_progress: OnProgress = ignore,
        on_begin: Callable[[], object] = do_nothing,
    ) -> LoadResult:
        """Run the plan. ``on_begin`` is called when the load begins. Raises :class:`LoadError`."""
        has_begun = False
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.encode(plan) + b"\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            message = json.decode(line, type=Progress | LoadResult | Failure)
            if isinstance(message, LoadResult):
                return message
            if isinstance(message, Failure):
                raise LoadError(message.problem)
            if not has_begun:
                has_begun = True
                on_begin()
            on_progress(message)
        raise LoadError(f"the generator exited with {self._process.wait()}")


Start = Callable[..., subprocess.Popen[bytes]]


@contextmanager
def open_generator(start: Start = subprocess.Popen) -> Generator[OwnGenerator]:
    """``start``: called like subprocess.Popen; the process may belong to another machine."""
    process = start(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    try:
        yield OwnGenerator(process)
    finally:
        process.kill()
        process.communicate()
