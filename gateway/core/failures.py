"""Failures as lines in the log: where, with which status, and why. Bounded, whatever clients do.

It is called for failures only: a request that succeeds costs nothing here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from http import HTTPStatus
from time import monotonic

from ..config.structs import AgentPipe, Endpoint
from ..errors import GatewayError, QueueEmpty
from ..telemetry.logs import get_logger

log = get_logger("gateway.requests")

PAUSE = 1.0
"""Seconds between two lines with the same status and reason."""
MAX_REASONS = 20
"""So many reasons are remembered; more of them in one second are only counted."""


def name_of(endpoint: Endpoint) -> str:
    """As lines of the log call an endpoint, or the agent that one is made of."""
    if isinstance(endpoint, AgentPipe):
        return f"agent {endpoint.endpoint.removeprefix('/')}"
    return f"{endpoint.method} {endpoint.endpoint}"


class _Told:
    """When a reason was logged, and how often it came since."""

    def __init__(self, when: float) -> None:
        self.when = when
        self.others = 0


class FailureLog:
    """The failures of one endpoint, ``name``: a 5xx at WARNING, a 4xx at INFO, an empty queue not.

    Of failures with the same status and reason one a second is a line; the next line has the
    number of those between.
    """

    def __init__(self, name: str, clock: Callable[[], float] = monotonic) -> None:
        self._name = name
        self._clock = clock
        self._told: dict[tuple[int, str], _Told] = {}
        self._uncounted = 0

    def record(self, error: GatewayError, status: int | None = None) -> None:
        """``status``: what the client gets, if not that of the error."""
        status = error.status if status is None else status
        if status < 400 or (status < 500 and isinstance(error, QueueEmpty)):
            return
        reason = str(error) or _phrase(status)
        if error.backend:
            reason = f"{error.backend}: {reason}"
        others = self._count(status, reason)
        if others is not None:
            level = logging.WARNING if status >= 500 else logging.INFO
            more = f" (and {others} more since the last such line)" if others else ""
            log.log(level, "%s: %d: %s%s", self._name, status, reason, more)

    def _count(self, status: int, reason: str) -> int | None:
        """How many came since the last line of the kind; None: this one is no line."""
        now = self._clock()
        key = (status, reason)
        told = self._told.get(key)
        if told is not None and now - told.when < PAUSE:
            told.others += 1
            return None
        if told is None and len(self._told) >= MAX_REASONS:
            recent = {key: each for key, each in self._told.items() if now - each.when < PAUSE}
            self._told = recent
            if len(recent) >= MAX_REASONS:
                self._uncounted += 1
                return None
        others = self._uncounted + (0 if told is None else told.others)
        self._uncounted = 0
        self._told[key] = _Told(now)
        return others


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "no reason given"
