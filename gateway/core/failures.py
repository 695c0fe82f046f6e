"""Failed requests in the log: which endpoint, which status, why. The number of lines is bounded.

A request that succeeds costs nothing here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from http import HTTPStatus
from time import monotonic
from typing import TypeAlias

from ..config.structs import AgentPipe, Endpoint
from ..errors import GatewayError, QueueEmpty
from ..telemetry.logs import get_logger
from .proxy import Request
from .request_ids import REQUEST_ID

log = get_logger("gateway.requests")

PAUSE = 1.0
"""Seconds between two lines with the same status and reason."""
MAX_REASONS = 20
"""Reasons that are remembered. Further ones within a second are only counted."""


NoteFailure: TypeAlias = Callable[[str, int, str, Request | None], object]
"""Gets every failed request: the name of the endpoint or agent (:func:`name_of`), status, reason,
and the request, if it is known. Must not raise."""


def ignore_failure(name: str, status: int, reason: str, request: Request | None) -> None:
    """A :data:`NoteFailure` where nothing observes failures."""


def name_of(endpoint: Endpoint) -> str:
    """The name of an endpoint, or of an agent, in lines of the log."""
    if isinstance(endpoint, AgentPipe):
        return f"agent {endpoint.endpoint.removeprefix('/')}"
    return f"{endpoint.method} {endpoint.endpoint}"


class _Logged:
    """When a reason was logged, and how often it occurred since."""

    def __init__(self, when: float) -> None:
        self.when = when
        self.others = 0


class FailureLog:
    """The failures of one endpoint. ``name``: of the endpoint. ``has_ids``: lines have the ids of
    their requests. A 5xx is a warning, a 4xx is information, an empty queue is no failure.

    Of failures with the same status and reason, one in a second is logged. The next line says how
    many there were since. ``note``: gets all of them.
    """

    def __init__(
        self,
        name: str,
        clock: Callable[[], float] = monotonic,
        *,
        has_ids: bool = False,
        note: NoteFailure = ignore_failure,
    ) -> None:
        self._name = name
        self._note = note
        self._has_ids = has_ids
        self._clock = clock
        self._logged: dict[tuple[int, str], _Logged] = {}
        self._uncounted = 0

    def record(
        self, error: GatewayError, status: int | None = None, request: Request | None = None
    ) -> None:
        """``status``: of the response, if it is not that of the error. ``request``: that failed."""
        status = error.status if status is None else status
        if status < 400 or (status < 500 and isinstance(error, QueueEmpty)):
            return
        reason = str(error) or phrase_of(status)
        if error.backend:
            reason = f"{error.backend}: {reason}"
        self._note(self._name, status, reason, request)
        others = self._count(status, reason)
        if others is not None:
            level = logging.WARNING if status >= 500 else logging.INFO
            more = f" (and {others} more since the last such line)" if others else ""
            fields = {"endpoint": self._name, "status": status, "reason": reason}
            shown, own = self.id_of(request)
            extra = {"fields": fields | own}
            log.log(level, "%s: %d: %s%s%s", self._name, status, reason, shown, more, extra=extra)

    def id_of(self, request: Request | None) -> tuple[str, dict[str, str]]:
        """The id of a request, as a line shows it and as a field. Without ids both are empty."""
        if not self._has_ids or request is None:
            return "", {}
        request_id = (request.header(REQUEST_ID) or b"").decode("latin-1")
        return f" [{request_id}]", {"request_id": request_id}

    def _count(self, status: int, reason: str) -> int | None:
        """How many there were since the last such line; None: this one is not logged."""
        now = self._clock()
        key = (status, reason)
        logged = self._logged.get(key)
        if logged is not None and now - logged.when < PAUSE:
            logged.others += 1
            return None
        if logged is None and len(self._logged) >= MAX_REASONS:
            recent = {key: each for key, each in self._logged.items() if now - each.when < PAUSE}
            self._logged = recent
            if len(recent) >= MAX_REASONS:
                self._uncounted += 1
                return None
        others = self._uncounted + (0 if logged is None else logged.others)
        self._uncounted = 0
        self._logged[key] = _Logged(now)
        return others


def phrase_of(status: int) -> str:
    """The text of a status, for a failure without a reason."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "no reason given"
