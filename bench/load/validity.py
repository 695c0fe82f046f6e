"""Was it the server that was measured, or the generator? Pure."""

from __future__ import annotations

from collections.abc import Mapping

from .histogram import percentiles
from .plan import StepResult

BUSY = 0.9
"""Share of a core from which on a generator of one process is the bottleneck."""

LATE = 1.0
"""Milliseconds by which 99 of 100 requests may start too late in any case."""

LATE_PART = 0.25
"""Part of the measured p99 that the generator's own p99 may be beyond that."""


LATE_FOR_GAPS = 50.0
"""The same where gaps of whole tenths of a second are looked for."""

FAILING = 0.01
"""Part of the requests that may fail: an error is answered sooner than what was asked for."""


def failures(statuses: Mapping[int, int]) -> int:
    """How many of the answers by status (0: none) are none that was asked for."""
    return sum(number for status, number in statuses.items() if not 200 <= status < 300)


def failing(statuses: Mapping[int, int]) -> str:
    """Why answers by status say nothing of what was asked for; "" when they do."""
    requests, failed = sum(statuses.values()), failures(statuses)
    return f"{failed} of {requests} requests failed" if failed > FAILING * requests else ""


def refusal(step: StepResult, late: float = LATE) -> str:
    """Why the figures of a step are the generator's and not the server's; "" when they are
    the server's. ``late``: as :data:`LATE`."""
    if step.cpu_share > BUSY:
        return f"the generator used {step.cpu_share:.0%} of a core"
    if not step.offered:
        return ""
    latency, lateness = percentiles(step.latency), percentiles(step.lateness)
    if lateness is None:
        return "nothing was sent"
    if latency is not None and lateness.p99 > max(late, LATE_PART * latency.p99):
        return f"the generator was {lateness.p99:.1f} ms late (p99)"
    return ""
