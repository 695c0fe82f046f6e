"""The document ``/__state.json``: everything that the page shows. Pure.

Version 1. A later version of this gateway may add keys; a key that is removed, or that gets another
meaning, is a new version. Times are Unix times in seconds, durations are seconds, rates are of one
second. null: not known, or there is none. All strings are data, whatever is in them: names of
queues and texts of brokers come from outside.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from msgspec import Raw, Struct

VERSION_OF_STATE = 1

Level: TypeAlias = Literal["green", "amber", "red"]

RECENT_SECONDS = 60
"""Seconds that ``recent`` of an endpoint has at most, and of which its percentiles are."""

RATE_SECONDS = 5
"""Seconds of which the rates of queues, producers, agents and limits are the mean."""


class Sentence(Struct, frozen=True):
    """The state in one sentence.

    ``level``: green: all is well. amber: something does not work as configured, or the gateway
    stops. red: no connection to a broker has been up for 15 seconds. ``word``: "Starting",
    "Serving" or "Draining". ``text``: the sentence, with the word. ``reasons``: why it is not
    green; one line each.
    """

    level: Level
    word: str
    text: str
    reasons: tuple[str, ...] = ()


class Instance(Struct, frozen=True):
    """The gateway itself. ``name``: of the configuration. ``instance``: host and process; of
    several workers, that of their parent.

    ``config``: a hash of the configuration without its secrets. ``started``: when this process has
    read it. ``is_ready``: as ``/__ready``. ``is_draining``: it stops.
    """

    name: str
    version: str
    instance: str
    python: str
    async_library: str
    config: str
    config_file: str
    started: float
    uptime: float
    is_ready: bool
    is_draining: bool


class WorkerState(Struct, frozen=True):
    """One process. ``is_up``: it has reported in the last seconds. ``age``: of its report.
    ``lag``: how late its event loop was in the last second. ``in_flight``: requests that run."""

    id: str
    number: int
    pid: int
    started: float
    is_up: bool
    is_ready: bool
    age: float
    lag: float
    in_flight: int


class Outcomes(Struct):
    """Numbers of responses. ``ok``: 2xx and 3xx, except for 204. ``empty``: 204, such as of an
    empty queue. ``gone``: the client has disconnected before the response."""

    ok: float = 0
    empty: float = 0
    client_errors: float = 0
    server_errors: float = 0
    gone: float = 0


class ChartSeries(Struct, frozen=True):
    """One number for each second. All lists have the length of ``times``. A second for which the
    gateway had no time has null in place of what is not known.

    ``ok`` to ``gone``: as :class:`Outcomes`, of all workers. ``p50``, ``p99``, ``max``: of the
    seconds of the responses, null in a second without one; from the buckets of
    ``bounds``, so ``max`` is the upper bound of the highest one. ``taken``: messages that
    were acknowledged or rejected. ``requeued``: messages that went back to their queue.
    ``published``: messages that were confirmed. ``in_flight``: requests that run. ``lag``: how late
    the event loop was; of several workers the latest.
    """

    ok: list[float]
    empty: list[float]
    client_errors: list[float]
    server_errors: list[float]
    gone: list[float]
    p50: list[float | None]
    p99: list[float | None]
    max: list[float | None]
    taken: list[float]
    requeued: list[float]
    published: list[float]
    in_flight: list[float | None]
    lag: list[float | None]


class History(Struct, frozen=True):
    """The points after ``since``, the oldest first.

    ``last``: the number of the last second; ask with ``since=`` this number for the next points.
    ``is_complete``: these are all points that there are: drop those that you have. ``step``:
    seconds between two points. ``length``: points that the gateway keeps.
    """

    last: int
    is_complete: bool
    step: float
    length: int
    times: list[float]
    series: ChartSeries


class EndpointState(Struct):
    """A row of an endpoint. ``id``: method and path.

    ``rate``: requests in the last second. ``recent``: requests of each second after ``since``,
    :data:`RECENT_SECONDS` at most, the oldest first. ``total``: responses since the start.
    ``minute``: those of the last minute. ``p50``, ``p99``, ``max``: of the last minute. ``counts``:
    of the buckets with the upper ``bounds``, over the history; one more than ``bounds``, for what
    is above; empty: no request. ``failures``: since the start, 4xx and 5xx. ``pipe``: as
    :class:`PipeState`.
    """

    id: str
    method: str
    path: str
    rate: float
    recent: list[float]
    total: Outcomes
    minute: Outcomes
    p50: float | None
    p99: float | None
    max: float | None
    counts: list[int]
    pipe: Raw


class Box(Struct, frozen=True):
    """A part of a pipe. ``kind``: "guard", "queue", "exchange", "http", "stage", "other".
    ``name``: of the queue, the exchange, the host, or the namespace."""

    kind: str
    name: str


class PipeState(Struct, frozen=True):
    """What a request passes: ``guards``, then all ``branches``, of which each begins with its
    source, then ``merge``, then ``stages``.

    ``merge``: "single", "merge" (at the same time) or "sequential".
    """

    guards: tuple[Box, ...]
    branches: tuple[tuple[Box, ...], ...]
    merge: str
    stages: tuple[Box, ...]


class FailureState(Struct, frozen=True):
    """A request that has failed. ``endpoint``: the ``id`` of the row, or "agent NAME". ``second``:
    the number of its second. ``request_id``, ``trace_id``: "" if there is none."""

    id: str
    endpoint: str
    second: int
    time: float
    status: int
    reason: str
    request_id: str
    trace_id: str


class LinkState(Struct, frozen=True):
    """A row of a link: :class:`gateway.telemetry.parts.LinkPart`. Of several workers: the worst
    ``status``, and ``up`` of ``of`` are up. ``certificate_days``: until the certificate of the
    broker expires."""

    id: str
    broker: str
    role: str
    status: str
    problem: str
    host: str
    node: str
    up: int
    of: int
    reconnects: int
    since: float | None
    silence: float | None
    blocked_since: float | None
    heartbeat: int
    certificate_days: float | None


class QueueState(Struct, frozen=True):
    """A row of a queue: :class:`gateway.telemetry.parts.QueuePart`, of all workers together."""

    id: str
    broker: str
    queue: str
    status: str
    problem: str
    consumers: int
    prefetch: int
    buffered: int
    buffered_bytes: int
    waiting: int
    unacked: int
    parked: int
    acked: int
    requeued: int
    rejected: int
    ack_rate: float
    requeue_rate: float


class ProducerState(Struct, frozen=True):
    """A row of an exchange: :class:`gateway.telemetry.parts.ProducerPart`, of all workers."""

    id: str
    broker: str
    exchange: str
    status: str
    problem: str
    unconfirmed: int
    waiting: int
    confirmed: int
    returned: int
    nacked: int
    confirm_rate: float


class AgentState(Struct, frozen=True):
    """A row of an agent: :class:`gateway.telemetry.parts.AgentPart`."""

    id: str
    agent: str
    status: str
    problem: str
    workers: int
    in_flight: int
    succeeded: int
    failed: int
    parked: int
    dead_lettered: int
    success_rate: float
    failure_rate: float
    last_message: float | None
    last_error: str


class LimitState(Struct, frozen=True):
    """Rate limits of an endpoint, or of the service. ``denied``: requests until now."""

    id: str
    endpoint: str
    denied: int
    denied_rate: float


class BreakerState(Struct, frozen=True):
    """A circuit breaker. ``status``: "closed", "half-open" or "open"; of several workers the
    worst."""

    id: str
    endpoint: str
    backend: str
    status: str


class CertificateState(Struct, frozen=True):
    """A certificate in a file. ``use``: "server", "client" (shown to HTTP backends) or "broker"
    (shown to brokers). ``path``: in the configuration. ``days``: until it expires, below 0: it has
    expired. ``problem``: why it cannot be read."""

    id: str
    use: str
    path: str
    file: str
    names: tuple[str, ...]
    expires: float | None
    days: float | None
    problem: str


class ResourceState(Struct, frozen=True):
    """Another resource of ``/__ready``, such as key sources. ``details``: its other keys there."""

    id: str
    kind: str
    is_ready: bool
    problem: str
    details: dict[str, Any]


class FindingCounts(Struct, frozen=True):
    """How many findings ``/__findings.json`` has. ``is_known``: False: they are being computed."""

    is_known: bool
    warnings: int = 0
    hints: int = 0
    critical: int = 0
    high: int = 0
    medium: int = 0
    low: int = 0


class PageState(Struct, frozen=True):
    """``/__state.json``. ``v``: the version. ``boot``: changes with each start of the gateway: then
    forget everything. ``time``: of this document. ``bounds``: upper bounds of the buckets of all
    histograms, in seconds. ``unmatched``: requests that no endpoint gets (404, 405, and 503 beyond
    ``max_requests``); its ``id`` is "", and it has no times. ``failures``: those after
    ``since``, the oldest first."""

    v: int
    boot: str
    time: float
    state: Sentence
    gateway: Instance
    workers: list[WorkerState]
    history: History
    bounds: tuple[float, ...]
    endpoints: list[EndpointState]
    unmatched: EndpointState
    failures: list[FailureState]
    queues: list[QueueState]
    producers: list[ProducerState]
    links: list[LinkState]
    agents: list[AgentState]
    limits: list[LimitState]
    breakers: list[BreakerState]
    certificates: list[CertificateState]
    resources: list[ResourceState]
    findings: FindingCounts


# ``/__findings.json``.


class FindingState(Struct, frozen=True):
    """``source``: "check" or "audit". ``severity``: "warning", "hint"; of audit "CRITICAL", "HIGH",
    "MEDIUM", "LOW". ``rule``: of audit. ``path``: the JSON path. ``name``: of the endpoint or
    agent."""

    id: str
    source: str
    severity: str
    rule: str
    path: str
    name: str
    text: str


class FindingsDocument(Struct, frozen=True):
    """``/__findings.json``. ``is_known``: False: they are being computed; ask again."""

    v: int
    is_known: bool
    findings: list[FindingState]


# ``/__config.json``.


class ConfigDocument(Struct, frozen=True):
    """``/__config.json``. ``config``: as understood, defaults included, secrets replaced by "***".
    ``extensions``: JSON paths of the keys that only this gateway knows, and that are set."""

    v: int
    hash: str
    file: str
    extensions: list[str]
    config: dict[str, Any]
