"""Real-time priority for the processes that stand for other machines.

A process that waits for a core of the server's machine measures its own waiting. On another machine
it would not compete with the server.
"""

from __future__ import annotations

import os
from contextlib import suppress

LOWEST = os.sched_param(1)


def raise_priority() -> None:
    """Get real-time priority if permitted (root is), and so a core as soon as it is needed."""
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, LOWEST)


def restore_priority() -> None:
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
