"""What one process says of itself, once a second. The page shows those of all workers together."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct, msgpack

from ...amqp.connection.link import Link
from ...core.component import Assembly
from ...telemetry.metrics import Reading
from ...telemetry.parts import Described, MessageCounts, StatePart
from .counting import ResponseCounts
from .failures import Failure, FailureNotes


class OtherResource(Struct, frozen=True, array_like=True):
    """A resource that is neither a link nor an agent. ``details``: what readiness tells of it."""

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

    def __init__(self, assembly: Assembly, counts: ResponseCounts, failures: FailureNotes) -> None:
        self._assembly = assembly
        self._failures = failures
        self._life = time.monotonic_ns()
        self._started = time.time()
        self._recent: deque[list[tuple[int, Failure]]] = deque(maxlen=KEPT_REPORTS)
        # They grow, and no list takes their place.
        self._outcomes = [each.outcomes for each in counts.all]
        self._buckets = [each.buckets for each in counts.all]
        self._links: list[Link] = []

    def opened(self) -> None:
        """All resources are there."""
        self._links = [each for each in self._assembly.resources.values() if isinstance(each, Link)]

    def report(self, second: int, lag: float, *, with_details: bool) -> WorkerReport:
        """``lag``: how late the event loop was, in seconds."""
        assembly = self._assembly
        messages = MessageCounts()
        for link in self._links:
            messages = messages.plus(link.message_counts)
        return WorkerReport(
            assembly.worker,
            os.getpid(),
            self._life,
            second,
            self._started,
            assembly.is_stopping,
            assembly.count_running(),
            lag,
            messages,
            self._outcomes,
            self._buckets,
            self._failures_until(second),
            self.details() if with_details else None,
        )

    def details(self) -> WorkerDetails:
        parts: list[StatePart] = []
        others: list[OtherResource] = []
        is_ready = not self._assembly.is_stopping
        for resource in self._assembly.resources.values():
            readiness = resource.readiness()
            is_ready = is_ready and bool(readiness["ready"])
            if isinstance(resource, Described):
                parts += resource.parts()
            elif "kind" in readiness:
                others.append(_other(readiness))
        denied, breakers = self._readings()
        return WorkerDetails(is_ready, parts, denied, breakers, others)

    def _failures_until(self, second: int) -> list[tuple[int, Failure]]:
        self._recent.append([(second, each) for each in self._failures.take()])
        return [failure for each in self._recent for failure in each]

    def _readings(self) -> tuple[dict[str, int], list[tuple[str, str, int]]]:
        """Refused requests, and states of breakers: of what is no resource."""
        denied, breakers = dict[str, int](), list[tuple[str, str, int]]()
        for name, labels, value in self._all_readings():
            if name == "ratelimit.denied":
                endpoint = labels["endpoint"]
                denied[endpoint] = denied.get(endpoint, 0) + int(value)
            elif name == "breaker.state":
                breakers.append((labels["endpoint"], labels["backend"], int(value)))
        return denied, breakers

    def _all_readings(self) -> Iterable[Reading]:
        registry = self._assembly.metrics
        assert registry is not None  # the page uses metrics
        for read in registry.readers:
            with registry.kept_apart(read):
                yield from [*read()]


HIDDEN = ("kind", "ready", "problem")
"""Keys of readiness that the page has in another place."""


def _other(readiness: Mapping[str, Any]) -> OtherResource:
    return OtherResource(
        str(readiness["kind"]),
        bool(readiness["ready"]),
        str(readiness.get("problem", "")),
        {key: value for key, value in readiness.items() if key not in HIDDEN},
    )
