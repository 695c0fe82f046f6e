"""Decides whether a figure is the server's, or the generator distorted it. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping

from .histogram import percentiles
from .plan import StepResult

BUSY = 0.9
"""Share of a core above which the generator, one process, is the bottleneck."""

LATE = 1.0
"""The generator's lateness at p99, in milliseconds, that is always accepted."""

LATE_PART = 0.25
"""A higher lateness at p99 is accepted up to this part of the measured p99."""

LATE_FOR_GAPS = 50.0
"""Like :data:`LATE`, for runs that measure gaps of tenths of a second."""

FAILING = 0.01
"""Part of the requests that may fail. An error needs less work than a successful response."""


def failures(statuses: Mapping[int, int]) -> int:
    """How many requests have no 2xx response; ``statuses``: count by status."""
    return sum(number for status, number in statuses.items() if not 200 <= status < 300)


def failing(statuses: Mapping[int, int]) -> str:
    """Why a run with these statuses does not count; "" when it does."""
    requests, failed = sum(statuses.values()), failures(statuses)
    return f"{failed} of {requests} requests failed" if failed > FAILING * requests else ""


def refusal(step: StepResult, late: float = LATE) -> str:
    """Why the generator distorted the figures of a step; "" when it did not. ``late``: see
    :data:`LATE`."""
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
