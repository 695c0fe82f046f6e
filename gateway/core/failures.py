"""Failed requests in the log: which endpoint, which status, why. The number of lines is bounded.

A request that succeeds costs nothing here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from http import HTTPStatus
from time import monotonic

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
    """The failures of one endpoint or agent. ``has_ids``: lines have the ids of their requests. A
    5xx is a warning, a 4xx is information, an empty queue is no failure.

    Of failures with the same status and reason, one in a second is logged. The next line says how
    many there were since.
    """

    def __init__(
        self, name: str, clock: Callable[[], float] = monotonic, *, has_ids: bool = False
    ) -> None:
        self._name = name
        self._has_ids = has_ids
        self._clock = clock
        self._logged: dict[tuple[int, str], _Logged] = {}
        self._uncounted = 0

    def record(
        self, error: GatewayError, request: Request | None = None, status: int | None = None
    ) -> None:
        """``request``: that failed. ``status``: of the response, if it is not that of the error."""
        status = error.status if status is None else status
        if status < 400 or (status < 500 and isinstance(error, QueueEmpty)):
            return
        level = logging.WARNING if status >= 500 else logging.INFO
        self._record(level, error, request, status)

    def record_try(self, error: GatewayError, request: Request | None) -> None:
        """A try of an agent to process a message has failed: always a warning, without a status,
        which nothing gets. ``request``: None if no request could be made of the message."""
        self._record(logging.WARNING, error, request, 0)

    def _record(
        self, level: int, error: GatewayError, request: Request | None, status: int
    ) -> None:
        """``status``: 0 for none."""
        reason = str(error) or _phrase(status or error.status)
        if error.backend:
            reason = f"{error.backend}: {reason}"
        others = self._count(status, reason)
        if others is not None:
            more = f" (and {others} more since the last such line)" if others else ""
            with_status, own = (f"{status}: ", {"status": status}) if status else ("", {})
            shown, ids = self.ids_of(request)
            fields = {"endpoint": self._name, **own, "reason": reason, **ids}
            line = f"{self._name}: {with_status}{reason}{shown}{more}"
            log.log(level, "%s", line, extra={"fields": fields})

    def ids_of(self, request: Request | None) -> tuple[str, dict[str, str]]:
        """The ids of a request, of its messages and of its trace, as a line shows them and as
        fields. Without ids both are empty."""
        shown, fields = "", dict[str, str]()
        if request is None:
            return shown, fields
        origin = () if request.origin is None else (request.origin,)
        ids = dict.fromkeys(each.shown_id for each in (*origin, *request.taken))
        ids.pop("", None)
        if ids:
            fields["message_id"] = ", ".join(ids)
            shown += f" (message{'s' if len(ids) > 1 else ''} {fields['message_id']})"
        if self._has_ids:
            fields["request_id"] = (request.header(REQUEST_ID) or b"").decode("latin-1")
            shown += f" [{fields['request_id']}]"
        if request.trace is not None and (trace_id := request.trace.trace_id):
            fields["trace_id"] = trace_id
            shown += f" [trace {trace_id}]"
        return shown, fields

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


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "no reason given"
