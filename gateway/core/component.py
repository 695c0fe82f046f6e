"""Components: the type of a row of the catalogue, and the Assembly from which components are built.

Which rows there are is in ``app/catalog.py``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Generic, Protocol, TypeAlias, TypeVar, cast

from msgspec import Struct

from ..config.extra_config import Level
from ..config.findings import Finding, inner_path
from ..config.structs import Agent, Backend, Endpoint, Service, changed, own_keys
from ..telemetry.metrics import Registry
from ..telemetry.propagation import Propagation, formats_of
from ..telemetry.tracing import Tracer
from .asgi import ASGIApp
from .bridge import AsyncioSide
from .counted import ResponseCounter
from .failures import NoteFailure, ignore_failure
from .helpers import Helpers
from .layers import Layer
from .observed import Observer
from .proxy import Branch, Guard, Pipe, Request
from .review import Review
from .rule import Rule
from .traced import PrepareTraces


class Resource(Protocol):
    """Something that several branches share, and that lives as long as the gateway. It may be
    :class:`gateway.telemetry.metrics.Measurable` and
    :class:`gateway.telemetry.parts.Described`."""

    def opened(self) -> AbstractAsyncContextManager[object]:
        """Entered once, after every pipe is built. Left when the gateway closes."""
        ...

    def readiness(self) -> Mapping[str, object]:
        """``{"ready": bool, ...}``: its part of ``/__ready``. Without credentials."""
        ...


R = TypeVar("R", bound=Resource)
T = TypeVar("T")
"""What several builders of components use."""
B = TypeVar("B")
"""A function that builds something of settings."""


class Assembly:
    """The service and its shared resources, for the functions that build components.

    ``worker``: number of this process among ``workers``, from 0. ``shared_memory``: descriptor of
    the file by which the workers share rate limits; None: each has its own. ``shared_metrics``:
    descriptors of the files by which they share metrics, one for each worker; empty: there is one
    worker. ``shared_reports``: descriptors of the files with what the workers report for the page;
    as ``shared_metrics``. ``helpers``: processes that decode and validate large documents.
    ``metrics``: what the gateway counts; None: nothing reads it, so nothing is counted.
    ``tracer``: starts traces; None: there are none, and no trace context is passed on.
    ``note_failure``: gets every failed request. ``review``: what there is to say about the
    configuration; it may take seconds. ``is_stopping``: readiness says no from now on.
    ``count_load``: how many requests have no response yet, and how many were refused until now
    because of ``max_requests``. ``response_counter``: counts the responses of endpoints; None:
    nothing does.
    """

    def __init__(
        self,
        service: Service,
        catalog: Catalog,
        side: AsyncioSide,
        worker: int = 0,
        workers: int = 1,
        shared_memory: int | None = None,
        shared_metrics: Sequence[int] = (),
        shared_reports: Sequence[int] = (),
        review: Callable[[], Review] = Review,
    ) -> None:
        self.service = service
        self.catalog = catalog
        self.side = side
        self.worker = worker
        self.workers = workers
        self.shared_memory = shared_memory
        self.shared_metrics = shared_metrics
        self.shared_reports = shared_reports
        self.review = review
        self.is_stopping = False
        self.count_load: Callable[[], tuple[int, int]] = lambda: (0, 0)
        self.helpers = Helpers()
        self.metrics = Registry() if uses_metrics(service, catalog) else None
        self.tracer = build_tracer(service, catalog)
        self.resources: dict[Hashable, Resource] = {}
        self._shared: dict[Hashable, object] = {}
        observers = self.at_root(lambda row: row.failure_observer)
        built = [build(settings, service, self) for build, settings in observers]
        counters = self.at_root(lambda row: row.response_counter)
        found = (build(settings, service, self) for build, settings in counters)
        self.response_counter = next((each for each in found if each is not None), None)
        self.note_failure: NoteFailure = _noting([each for each in built if each is not None])

    def resource(self, key: Hashable, make: Callable[[], R]) -> R:
        """The resource of that key, made on first use. It is opened before the first request."""
        if key not in self.resources:
            self.resources[key] = make()
        return cast(R, self.resources[key])

    def shared(self, key: Hashable, make: Callable[[], T]) -> T:
        """What several builders use, made on first use: not a resource, for it needs no opening."""
        if key not in self._shared:
            self._shared[key] = make()
        return cast(T, self._shared[key])

    def at_root(self, builder: Callable[[Component[Any]], B | None]) -> Iterator[tuple[B, Any]]:
        """The builders of one kind whose components have settings at the root, with these."""
        root = self.service.extra_config
        for row in self.catalog:
            if row.namespace in root and (build := builder(row)) is not None:
                yield build, root[row.namespace]

    def token_checks(self, endpoint: Endpoint) -> list[TokenCheck]:
        """The checks of a token by the endpoint's namespaces; they come before roles and scopes."""
        return [
            check
            for row in self.catalog
            if row.token_check is not None
            and (settings := endpoint.extra_config.get(row.namespace)) is not None
            and (check := row.token_check(settings, endpoint, self)) is not None
        ]

    def max_inline_bytes(self, backend: Backend) -> int:
        """The largest response that the namespaces of the backend inspect on the event loop."""
        rows = self.catalog.rows_of(backend)
        return min((row.max_inline_bytes for row in rows), default=sys.maxsize)


def _noting(observers: Sequence[NoteFailure]) -> NoteFailure:
    if len(observers) < 2:
        return observers[0] if observers else ignore_failure

    def note(name: str, status: int, reason: str, request: Request | None) -> None:
        for each in observers:
            each(name, status, reason, request)

    return note


def uses_metrics(service: Service, catalog: Catalog) -> bool:
    """Whether anything reads what the gateway counts."""
    return any(
        row.uses_metrics is not None and row.uses_metrics(settings, service)
        for row in catalog
        if (settings := service.extra_config.get(row.namespace)) is not None
    )


def build_tracer(service: Service, catalog: Catalog) -> Tracer | None:
    """The tracer of a component, or one that only passes contexts on; None: neither is wanted."""
    propagation = Propagation(formats_of(os.environ))
    for row in catalog:
        settings = service.extra_config.get(row.namespace)
        if settings is not None and row.tracer is not None:
            return row.tracer(settings, propagation)
    return Tracer(propagation) if service.gateway.propagate else None


S = TypeVar("S", bound=Struct)
"""The settings of a component."""

BuildBackend: TypeAlias = Callable[[S, Backend, Endpoint, Assembly], Branch]
"""settings, its backend, the endpoint around it, shared resources -> the branch."""
BuildStage: TypeAlias = Callable[[S, Endpoint, Assembly], Callable[[Pipe], Pipe]]
BuildBackendStage: TypeAlias = Callable[
    [S, Backend, Endpoint, Assembly], Callable[[Branch], Branch]
]
BuildTransportStage: TypeAlias = Callable[[S, Backend, Endpoint, Assembly], Callable[[Any], Any]]
"""As above -> what wraps the backend's transport (:mod:`gateway.http.transport`)."""
BuildRequestObserver: TypeAlias = Callable[[S, Backend, Endpoint, Assembly], Any]
"""As above -> a :class:`gateway.http.observed.RequestObserver`; None: it observes nothing."""
BuildRequestSpans: TypeAlias = Callable[[S, Backend, Endpoint, Assembly], Any]
"""As above -> a :class:`gateway.http.traced.RequestSpans`; None: its requests have no spans. Called
if the tracer records."""
BuildGuard: TypeAlias = Callable[[S, Endpoint, Assembly], Guard | None]
"""None: these settings need no guard."""
TokenCheck: TypeAlias = Callable[[dict[str, Any]], None]
"""Checks the claims of a verified token. Raises a GatewayError if the token is not accepted."""
BuildTokenCheck: TypeAlias = Callable[[S, Endpoint, Assembly], TokenCheck | None]
BuildManagement: TypeAlias = Callable[[S, Service, Assembly], Mapping[str, ASGIApp]]
"""Settings of the root -> applications on the management port, by path."""
BuildObserver: TypeAlias = Callable[[S, Service, Assembly], Observer | None]
"""None: these settings observe nothing."""
BuildResponseCounter: TypeAlias = Callable[[S, Service, Assembly], ResponseCounter | None]
"""None: these settings count nothing."""
BuildFailureObserver: TypeAlias = Callable[[S, Service, Assembly], NoteFailure | None]
"""None: these settings observe no failures."""
ReadsRequests: TypeAlias = Callable[[S], bool]
BuildListeners: TypeAlias = Callable[[S, Service, Assembly], Iterable["Listener"]]
AddressesOf: TypeAlias = Callable[[S, Service], Iterable["ListenAddress"]]
"""Settings of the root, which may be wrong -> where their listeners listen."""
UsesMetrics: TypeAlias = Callable[[S, Service], bool]
BuildTracer: TypeAlias = Callable[[S, Propagation], Tracer]
BuildTraces: TypeAlias = Callable[[S, Service, Assembly], PrepareTraces]
"""Called if the tracer records."""
BuildLayer: TypeAlias = Callable[[S, Service, Assembly], Layer]
Verify: TypeAlias = Callable[[S], Iterable[tuple[str, str]]]
"""Settings whose types are right -> what makes them unusable: key and reason. May read the files
and modules that the settings name."""


class Listener(Struct, frozen=True):
    """An application with a port of its own; it gets HTTP requests only. ``host``: "" for every
    address."""

    host: str
    port: int
    app: ASGIApp


MAX_PORT = 65535


class ListenAddress(Struct, frozen=True):
    """Where settings make the gateway listen. ``key``: of the port in the settings. ``host``: ""
    for every address."""

    key: str
    host: str
    port: int


class Job(Protocol):
    """A message of an agent, until it is settled. Only ``request`` and ``failed`` wait."""

    @property
    def is_over(self) -> bool:
        """Whether it is settled, or its channel is closed."""
        ...

    async def request(self) -> Request: ...

    def done(self) -> None:
        """Every backend has accepted it: acknowledge."""

    def give_back(self) -> None:
        """It is not tried (again): it goes back to the queue. Does nothing if it is over."""

    def park(self) -> None:
        """It cannot be processed: it is tried again after a backoff. Does nothing if it is over."""

    async def failed(self) -> float | None:
        """An attempt has failed. Returns the seconds until the next attempt with this message;
        None: it is dead-lettered or rejected, or RabbitMQ delivers it again."""
        ...


class JobSource(Protocol):
    """The source of an agent's messages."""

    @property
    def is_attached(self) -> bool: ...

    @property
    def problem(self) -> str:
        """Why it is not attached; empty if it is."""
        ...

    @property
    def parked(self) -> int:
        """How many failed messages wait to be tried again."""
        ...

    @property
    def dead_lettered(self) -> int:
        """How many messages were dead-lettered or rejected until now."""
        ...

    async def take(self) -> Job:
        """Wait for the next message."""
        ...

    def observed(self, pipe: Pipe) -> Pipe:
        """The pipe of the agent, with an observer of each try to process a message."""
        ...


BuildSource: TypeAlias = Callable[[S, Agent, Assembly], JobSource]


class Place(Struct, frozen=True):
    """Where settings of a component are in a configuration, for its ``findings``.

    ``part``: the JSON path of the endpoint, agent, backend or root that has them; ``path``: of the
    settings. ``endpoint``: has them, or its backend has them; of an agent, its part that is like an
    endpoint. At the root ``endpoint``, ``agent`` and ``backend`` are None.
    """

    part: str
    path: str
    service: Service
    endpoint: Endpoint | None = None
    agent: Agent | None = None
    backend: Backend | None = None

    # ``key``: the key of the settings, such as ``a.b`` or ``[0].a``.

    def error(self, text: str, key: str = "") -> Finding:
        return Finding(inner_path(self.path, key), "error", text)

    def warning(self, text: str, key: str = "") -> Finding:
        return Finding(inner_path(self.path, key), "warning", text)

    def warnings(self, traps: Iterable[tuple[str, str]]) -> Iterator[Finding]:
        """Warnings of pairs: key and text."""
        return (self.warning(text, key) for key, text in traps)

    def hint(self, text: str, key: str = "") -> Finding:
        return Finding(inner_path(self.path, key), "hint", text)


def own_keys_used(settings: Struct, place: Place, key: str = "") -> Iterator[Finding]:
    """A hint if extension keys are used: KrakenD would ignore them."""
    if used := sorted(own_keys(type(settings)) & changed(settings)):
        yield place.hint(f"only this gateway knows: {', '.join(used)}", key)


FindingsOf: TypeAlias = Callable[[S, Place], Iterable[Finding]]
"""Settings and their place -> what ``check`` says about them: traps that are no error."""
OverallFindings: TypeAlias = Callable[[Service], Iterable[Finding]]
"""What ``check`` says about settings of several places, or about missing ones."""
HostFindings: TypeAlias = Callable[[str, str], Iterable[Finding]]
"""A host of a backend of this kind, and its JSON path -> what ``check`` says about it."""


class Component(Struct, Generic[S], frozen=True):
    """A namespace of ``extra_config``: a row of the catalogue.

    ``aliases``: legacy names. A level without a builder does not know the namespace.
    ``whole``: the field of the settings that gets the whole value, if that is not an object.
    ``verify``: its findings stop the start.

    Of ``check``: ``findings``, ``overall``, ``host_findings``, ``addresses`` (of ``listeners``).
    Of ``audit``: ``advice``.

    ``service``: other modules read the settings of the root. ``read_on``: further levels whose
    settings other modules read. ``root_keys``: of a guard that has no effect at the root: keys that
    may be there all the same; any other key stops the start.

    ``backend``: builds a branch. ``is_default``: for backends that name no other namespace with
    one. ``backend_stage``: wraps a branch. ``transport``: wraps the transport of an HTTP backend.
    ``endpoint_stage``: wraps the pipe, also that of an agent. ``passes_bodies``: its stages never
    read or replace the body of a response, so a streaming response may pass. ``bare_responses``:
    responses of its endpoints are JSON without the gateway's own headers, whatever the output
    encoding is. ``runs_scripts``: its stages or guards run code of the operator.
    ``changes_target``: its stages may change the method and the URL of a request to an HTTP
    backend. ``max_inline_bytes``: the largest response of a backend that its stages read on the
    event loop; a helper process reads larger ones.

    ``guard``: called before a request's body is read. ``token_check``: called by the guard that
    verifies tokens. ``layer``: wraps the whole application. ``handler_layer``: wraps the handlers
    of routes and the responses 404 and 405, but not redirects, bad parameters, health and
    readiness. ``management``: applications on the management port. ``listeners``: applications on
    ports of their own. ``agent``: the source of an agent's messages.

    ``uses_metrics``: whether these settings read what the gateway counts. ``tracer``: of the
    gateway. ``traces``: of the requests of clients. ``observer``: hears of every response.
    ``reads_requests``: whether that observer reads the requests of endpoints
    (:class:`gateway.core.observed.Observation`). ``failure_observer``: hears of every failed
    request, of agents too. ``response_counter``: counts the responses of endpoints; it costs less
    than an observer. The others are of the root: ``pipe_observer`` wraps every pipe, around
    all its stages, also those of agents; ``branch_observer`` wraps every backend, around all its
    stages; ``request_observer`` hears of every request that an HTTP backend sends, redirects
    included, and ``request_spans`` of every recorded one.
    """

    namespace: str
    settings: type[S]
    aliases: tuple[str, ...] = ()
    whole: str = ""
    verify: Verify[S] | None = None
    findings: FindingsOf[S] | None = None
    overall: OverallFindings | None = None
    host_findings: HostFindings | None = None
    advice: tuple[Rule, ...] = ()
    service: bool = False
    root_keys: frozenset[str] = frozenset()
    read_on: frozenset[Level] = frozenset()
    backend: BuildBackend[S] | None = None
    is_default: bool = False
    backend_stage: BuildBackendStage[S] | None = None
    transport: BuildTransportStage[S] | None = None
    endpoint_stage: BuildStage[S] | None = None
    passes_bodies: bool = False
    bare_responses: bool = False
    runs_scripts: bool = False
    changes_target: bool = False
    max_inline_bytes: int = sys.maxsize
    guard: BuildGuard[S] | None = None
    token_check: BuildTokenCheck[S] | None = None
    layer: BuildLayer[S] | None = None
    handler_layer: BuildLayer[S] | None = None
    agent: BuildSource[S] | None = None
    management: BuildManagement[S] | None = None
    listeners: BuildListeners[S] | None = None
    addresses: AddressesOf[S] | None = None
    uses_metrics: UsesMetrics[S] | None = None
    tracer: BuildTracer[S] | None = None
    traces: BuildTraces[S] | None = None
    observer: BuildObserver[S] | None = None
    failure_observer: BuildFailureObserver[S] | None = None
    response_counter: BuildResponseCounter[S] | None = None
    reads_requests: ReadsRequests[S] | None = None
    pipe_observer: BuildStage[S] | None = None
    branch_observer: BuildBackendStage[S] | None = None
    request_observer: BuildRequestObserver[S] | None = None
    request_spans: BuildRequestSpans[S] | None = None

    def knows(self, level: Level) -> bool:
        """Whether the namespace has an effect on that level."""
        builders: dict[Level, object] = {
            "service": self.service
            or self.layer
            or self.handler_layer
            or self.management
            or self.listeners
            or self.observer,
            "endpoint": self.endpoint_stage or self.guard,
            "agent": self.agent or self.endpoint_stage,
            "backend": self.backend or self.backend_stage or self.transport,
            "source": self.backend and not self.is_default,
        }
        return level in self.read_on or bool(builders.get(level))


Components: TypeAlias = tuple[Component[Any], ...]


class Catalog(Struct, frozen=True):
    """Every component, and the orders in which they are called.

    ``guards``: first to last; a request that one refuses does not reach the next ones.
    All others: from the innermost to the outermost. ``encodings``: of backends.
    ``output_encodings``: of endpoints.
    """

    components: Components = ()
    guards: Components = ()
    backend_stages: Components = ()
    transports: Components = ()
    endpoint_stages: Components = ()
    layers: Components = ()
    encodings: tuple[str, ...] = ("json",)
    output_encodings: tuple[str, ...] = ("json",)

    def __iter__(self) -> Iterator[Component[Any]]:
        return iter(self.components)

    def rows_of(self, part: Backend | Endpoint) -> Iterator[Component[Any]]:
        """The components whose settings the backend or the endpoint has."""
        return (row for row in self.components if row.namespace in part.extra_config)

    def extended(self, *components: Component[Any]) -> Catalog:
        """A catalogue with more components: their guards come last, their stages are outermost."""
        return Catalog(
            (*self.components, *components),
            (*self.guards, *(each for each in components if each.guard)),
            (*self.backend_stages, *(each for each in components if each.backend_stage)),
            (*self.transports, *(each for each in components if each.transport)),
            (*self.endpoint_stages, *(each for each in components if each.endpoint_stage)),
            (*self.layers, *(each for each in components if each.layer or each.handler_layer)),
            self.encodings,
            self.output_encodings,
        )
