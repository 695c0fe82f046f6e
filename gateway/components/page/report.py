"""What one process says of itself, once a second. The page shows those of all workers together."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from msgspec import Struct, msgpack

from ...amqp.connection.link import Link
from ...core.component import Assembly, Resource
from ...telemetry.parts import Described, MessageCounts, StatePart
from .config_view import without_secrets
from .counting import SERVER_ERRORS, EndpointCounters
from .failures import Failure, FailureNotes


class OtherResource(Struct, frozen=True, array_like=True):
    """A resource that is neither a link nor an agent. ``details``: more keys of its readiness."""

    kind: str
    is_ready: bool
    problem: str
    details: dict[str, Any]


class WorkerDetails(Struct, frozen=True, array_like=True):
    """What a browser shows and no chart needs. ``denied``: requests that rate limits have refused,
    by the endpoint. ``breakers``: states, as numbers, by endpoint and backend."""

    is_ready: bool
    parts: list[StatePart]
    denied: dict[str, int]
    breakers: list[tuple[str, str, int]]
    others: list[OtherResource]


class WorkerReport(Struct, frozen=True, array_like=True):
    """``worker``: its number. ``life``: differs between two lives of one worker. ``second``: of the
    monotonic clock of the machine, which all its processes share. ``started``: Unix time.

    ``outcomes``, ``buckets``: of the endpoints, as :class:`.counting.EndpointCounts`. ``failures``:
    those of the last reports, each with the ``second`` of the report that had it first: a reader
    may miss a report or two. ``details``: None: no browser asks.
    """

    worker: int
    pid: int
    life: int
    second: int
    started: float
    is_stopping: bool
    in_flight: int
    lag: float
    messages: MessageCounts
    outcomes: list[list[int]]
    buckets: list[list[int]]
    failures: list[tuple[int, Failure]]
    details: WorkerDetails | None = None


KEPT_REPORTS = 5
"""Reports in which a failure is."""

encode = msgpack.Encoder().encode
decode = msgpack.Decoder(WorkerReport).decode


class Reporter:
    """Makes the reports of this process."""

    def __init__(
        self, assembly: Assembly, counts: EndpointCounters, failures: FailureNotes
    ) -> None:
        self._assembly = assembly
        self._failures = failures
        self._life = time.monotonic_ns()
        self._started = time.time()
        self._recent: deque[list[tuple[int, Failure]]] = deque(maxlen=KEPT_REPORTS)
        self._counts = counts
        self._refused = 0
        # They grow, and no list takes their place.
        self._outcomes = [each.outcomes for each in counts.all]
        self._buckets = [each.buckets for each in counts.all]
        self._links: list[Link] = []
        self._described: list[Described] = []
        self._others: list[Resource] = []

    def opened(self) -> None:
        """All resources are there."""
        for each in self._assembly.resources.values():
            if isinstance(each, Link):
                self._links.append(each)
            if isinstance(each, Described):  # it is slow
                self._described.append(each)
            else:
                self._others.append(each)

    def report(self, second: int, lag: float, *, with_details: bool) -> WorkerReport:
        """``lag``: how late the event loop was, in seconds."""
        assembly = self._assembly
        messages = MessageCounts()
        running, refused = assembly.count_load()
        self._counts.unmatched.outcomes[SERVER_ERRORS] += refused - self._refused
        self._refused = refused
        for link in self._links:
            messages = messages.plus(link.message_counts)
        return WorkerReport(
            assembly.worker,
            os.getpid(),
            self._life,
            second,
            self._started,
            assembly.is_stopping,
            running,
            lag,
            messages,
            self._outcomes,
            self._buckets,
            self._failures_until(second),
            self.details() if with_details else None,
        )

    def details(self) -> WorkerDetails:
        parts = [part for each in self._described for part in each.parts()]
        others = [_other(each.readiness()) for each in self._others]
        is_ready = not self._assembly.is_stopping
        is_ready = is_ready and all(each.is_ready for each in (*parts, *others))
        denied, breakers = self._readings()
        return WorkerDetails(is_ready, parts, denied, breakers, others)

    def _failures_until(self, second: int) -> list[tuple[int, Failure]]:
        self._recent.append([(second, each) for each in self._failures.take()])
        return [failure for each in self._recent for failure in each]

    def _readings(self) -> tuple[dict[str, int], list[tuple[str, str, int]]]:
        """Refused requests, and states of breakers: of what is no resource."""
        denied, breakers = dict[str, int](), list[tuple[str, str, int]]()
        registry = self._assembly.metrics
        assert registry is not None  # the page uses metrics
        with registry.kept_apart(self._readings):
            for read in registry.readers:
                for name, labels, value in read():
                    if name == "ratelimit.denied":
                        endpoint = labels["endpoint"]
                        denied[endpoint] = denied.get(endpoint, 0) + int(value)
                    elif name == "breaker.state":
                        breakers.append((labels["endpoint"], labels["backend"], int(value)))
        return denied, breakers


HIDDEN = ("kind", "ready", "problem")
"""Keys of readiness that the page has in another place."""


def _other(readiness: Mapping[str, Any]) -> OtherResource:
    return OtherResource(
        str(readiness.get("kind", "")),
        bool(readiness["ready"]),
        without_secrets(str(readiness.get("problem", ""))),
        {key: value for key, value in readiness.items() if key not in HIDDEN},
    )
