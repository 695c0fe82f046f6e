"""How much processor time a call may take: what grows faster than its input is noticed.

Time of the thread, not of the clock: a loaded machine changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

MOST = 2.0
"""Seconds of processor time; each input of a test that uses it takes less than a tenth of it. The
faults that are looked for take minutes."""


@contextmanager
def watched(most: float = MOST) -> Iterator[None]:
    """Fail when what is inside takes more processor time than ``most`` seconds."""
    begun = time.thread_time()
    yield
    assert time.thread_time() - begun < most


def outcome(func: Callable[..., Any], *args: object) -> Any:
    """What a call returns, or the error it raises, within the bound."""
    with watched():
        try:
            return func(*args)
        except Exception as error:
            return error
