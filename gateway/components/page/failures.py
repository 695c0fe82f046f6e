"""The last failed requests of each endpoint, for the page. Their bodies are not kept."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable
from time import time

from msgspec import Struct

from ...core.proxy import Request
from ...core.request_ids import REQUEST_ID
from .config_view import without_secrets

MAX_REASON_LENGTH = 300
"""Characters of a reason that are kept."""

TRACEPARENT = b"traceparent"
_TRACE = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}.*")
"""``traceparent`` of W3C Trace Context: the client's trace, if this gateway has none."""


class Failure(Struct, frozen=True, array_like=True):
    """``id``: of the process, and a number that grows. ``endpoint``: or "agent NAME".
    ``time``: Unix time. ``request_id``, ``trace_id``: "" if there is none."""

    id: str
    endpoint: str
    time: float
    status: int
    reason: str
    request_id: str = ""
    trace_id: str = ""


class FailureNotes:
    """The failures of this process since the last report, ``samples`` of each endpoint: an endpoint
    with many failures hides no other one. ``worker``: its number."""

    def __init__(self, worker: int, samples: int, clock: Callable[[], float] = time) -> None:
        self._worker = worker
        self._samples = samples
        self._clock = clock
        self._number = 0
        self._new: dict[str, deque[Failure]] = {}

    def note(self, name: str, status: int, reason: str, request: Request | None) -> None:
        """A :data:`gateway.core.failures.NoteFailure`."""
        self._number += 1
        identity = f"{self._worker}-{self._number}"
        shown = without_secrets(reason)[:MAX_REASON_LENGTH]
        failure = Failure(identity, name, self._clock(), status, shown, *_ids_of(request))
        kept = self._new.get(name)
        if kept is None:
            kept = self._new[name] = deque(maxlen=self._samples)
        kept.append(failure)

    def take(self) -> list[Failure]:
        """Those since the last call, the oldest of each endpoint first."""
        if not self._new:
            return []
        taken, self._new = self._new, {}
        return [failure for kept in taken.values() for failure in kept]


class LastFailures:
    """The last ``samples`` failures of each endpoint, of all workers, and the second in which this
    process has learnt of each."""

    def __init__(self, samples: int) -> None:
        self._samples = samples
        self._by_name: dict[str, deque[tuple[int, Failure]]] = {}
        self._last_second = 0

    def add(self, second: int, failures: Iterable[Failure]) -> None:
        for failure in failures:
            self._last_second = second
            kept = self._by_name.get(failure.endpoint)
            if kept is None:
                kept = self._by_name[failure.endpoint] = deque(maxlen=self._samples)
            kept.append((second, failure))

    def after(self, second: int) -> list[tuple[int, Failure]]:
        """Those after ``second``, the oldest first."""
        if self._last_second <= second:
            return []
        found = [each for kept in self._by_name.values() for each in kept if each[0] > second]
        return sorted(found, key=lambda each: each[1].time)


def _ids_of(request: Request | None) -> tuple[str, str]:
    """The ids of the request and of its trace."""
    if request is None:
        return "", ""
    request_id = (request.header(REQUEST_ID) or b"")[:128].decode("latin-1")
    if request.trace is not None:
        return request_id, request.trace.trace_id
    trace = _TRACE.fullmatch(request.header(TRACEPARENT) or b"")
    return request_id, trace[1].decode() if trace else ""
