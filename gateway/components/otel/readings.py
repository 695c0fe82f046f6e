"""The gateway's own metrics, ``hutch_gateway.*``: numbers that its parts keep anyway.

They are read at a scrape; a request or a message costs nothing in addition.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from anyio import current_time, sleep

from ...config.json_types import JsonObject
from ...core.component import Assembly
from ...core.tasks import open_tasks
from ...core.version import VERSION
from ...telemetry.metrics import Across, Family, Kind, Labels, Measurable, Reading, Registry

PREFIX = "hutch_gateway."

LAG_INTERVAL = 0.5
"""Seconds between two measurements of the event loop's lag."""

LAG_MEMORY = 30
"""Measurements of which the largest is reported: a scrape every 15 seconds misses none."""


class GatewayFamily(NamedTuple):
    """A family: ``kind``, ``unit``, ``help`` and ``across`` as of
    :class:`gateway.telemetry.metrics.Family`."""

    name: str
    kind: Kind
    help: str
    unit: str = ""
    across: Across = "sum"


FAMILIES = (
    GatewayFamily(
        "info", "gauge", "Version and async library of the gateway; always 1.", "", "max"
    ),
    GatewayFamily(
        "config.loaded_timestamp",
        "gauge",
        "When the configuration was loaded, Unix time.",
        "s",
        "max",
    ),
    GatewayFamily("requests.in_flight", "gauge", "Requests of clients that have no response yet."),
    GatewayFamily(
        "loop.lag",
        "gauge",
        "The largest delay of the event loop in the last 15 seconds.",
        "s",
        "max",
    ),
    GatewayFamily(
        "link.up",
        "gauge",
        "Whether the connection to the broker is open; of several workers: of all.",
        "",
        "min",
    ),
    GatewayFamily("link.reconnects", "counter", "Connections to the broker after the first one."),
    GatewayFamily(
        "link.blocked",
        "gauge",
        "Whether the broker blocks publishers (memory or disk alarm).",
        "",
        "max",
    ),
    GatewayFamily(
        "subscription.buffered_messages", "gauge", "Messages in the gateway for coming requests."
    ),
    GatewayFamily(
        "subscription.buffered", "gauge", "Bytes of the bodies of buffered messages.", "By"
    ),
    GatewayFamily(
        "subscription.unacked_messages",
        "gauge",
        "Messages that the broker has delivered and the gateway has not settled.",
    ),
    GatewayFamily(
        "subscription.prefetch",
        "gauge",
        "Unacknowledged messages that the broker may send to the present consumer.",
    ),
    GatewayFamily(
        "subscription.consumers", "gauge", "Consumers of the queue: 0 while it is idle, or 1."
    ),
    GatewayFamily(
        "subscription.parked_messages",
        "gauge",
        "Messages that have failed and wait to be tried again.",
    ),
    GatewayFamily(
        "subscription.waiting_requests",
        "gauge",
        "Requests, and workers of agents, that wait for a message.",
    ),
    GatewayFamily(
        "messages.settled",
        "counter",
        "Messages that were acknowledged (ack), requeued (nack) or rejected (reject).",
    ),
    GatewayFamily(
        "publisher.unconfirmed_messages", "gauge", "Messages that are written and unconfirmed."
    ),
    GatewayFamily("publisher.waiting_messages", "gauge", "Messages that cannot be written yet."),
    GatewayFamily(
        "publisher.returned", "counter", "Mandatory messages that were routed to no queue."
    ),
    GatewayFamily(
        "agent.state", "gauge", "0: not attached to its queue. 1: attached. 2: stopping."
    ),
    GatewayFamily("agent.in_flight", "gauge", "Messages that the agent is processing."),
    GatewayFamily(
        "agent.messages",
        "counter",
        "Messages whose backends have succeeded (success), and failed tries (failure).",
    ),
    GatewayFamily(
        "agent.last_message_timestamp",
        "gauge",
        "When the agent took its last message, Unix time; absent: none yet.",
        "s",
        "max",
    ),
    GatewayFamily(
        "breaker.state", "gauge", "Circuit breaker: 0 closed, 1 half-open, 2 open.", "", "max"
    ),
    GatewayFamily("ratelimit.denied", "counter", "Requests that a rate limit has refused."),
    GatewayFamily("spans.exported", "counter", "Spans that a collector has received."),
    GatewayFamily(
        "spans.dropped", "counter", "Spans that are lost: not sent, or beyond those that may wait."
    ),
)


class Readings:
    """Collects the readings of all parts. A collector of a registry."""

    def __init__(self, assembly: Assembly, registry: Registry) -> None:
        self._assembly = assembly
        self._registry = registry
        self._families = {
            row.name: registry.family(
                Family(PREFIX + row.name, row.kind, unit=row.unit, help=row.help, across=row.across)
            )
            for row in FAMILIES
        }
        library = "asyncio" if assembly.side.is_here else "trio"
        self._info = {"version": VERSION, "async_library": library}
        self._loaded_at = time.time()

    def __call__(self) -> None:
        sums: dict[tuple[str, Labels], float] = defaultdict(float)
        for name, labels, value in self._all():
            sums[name, tuple(labels.items())] += value
        for family in self._families.values():
            if family.kind == "gauge":
                family.clear()
        for (name, pairs), total in sums.items():
            family = self._families[name]
            series = family.value(dict(pairs))
            # The numbers of another thread may be read in the middle of a change.
            series.value = total if family.kind == "gauge" else max(series.value, total)

    def _all(self) -> Iterator[Reading]:
        yield Reading("info", self._info, 1)
        yield Reading("config.loaded_timestamp", {}, self._loaded_at)
        resources = self._assembly.resources.values()
        parts = [each.readings for each in resources if isinstance(each, Measurable)]
        for read in (*parts, *self._registry.readers):
            with self._registry.kept_apart(read):
                yield from [*read()]


class LoopLag:
    """Measures how late the event loop is: the delay of a timer. A resource."""

    def __init__(self) -> None:
        self._lags = deque([0.0], LAG_MEMORY)

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[None]:
        async with open_tasks() as tasks:
            tasks.start_soon(self._measure)
            yield
            tasks.cancel_scope.cancel()

    def readiness(self) -> JsonObject:
        return {"kind": "event loop", "ready": True, "lag": max(self._lags)}

    def readings(self) -> Iterable[Reading]:
        yield Reading("loop.lag", {}, max(self._lags))

    async def _measure(self) -> None:
        while True:
            due = current_time() + LAG_INTERVAL
            await sleep(LAG_INTERVAL)
            self._lags.append(max(0.0, current_time() - due))


def collect_readings(assembly: Assembly, registry: Registry) -> None:
    """Have the readings of the gateway in ``registry`` from now on."""
    assembly.resource("event loop", LoopLag)
    registry.collectors.append(Readings(assembly, registry))
