"""What components are built with: the catalogue's row types and the Assembly they draw from.

Types only: which rows there are is said in ``catalog.py``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Generic, Protocol, TypeAlias, TypeVar, cast

from msgspec import Struct

from ..config.extra_config import Level
from ..config.findings import Finding, inner_path
from ..config.structs import Agent, Backend, Endpoint, Service, changed, own_keys
from .asgi import ASGIApp, Handler
from .bridge import AsyncioSide
from .helpers import Helpers
from .proxy import Branch, Guard, Pipe, Request
from .rule import Rule


class Resource(Protocol):
    """Something several branches share and that lives as long as the gateway."""

    def opened(self) -> AbstractAsyncContextManager[object]:
        """Entered once, after every pipe is built; left when the gateway closes."""
        ...

    def readiness(self) -> Mapping[str, object]:
        """``{"ready": bool, ...}``: what ``/__ready`` tells of it. No credentials."""
        ...


R = TypeVar("R", bound=Resource)


class Assembly:
    """Hands shared resources to the builders.

    ``worker``: number of this process among ``workers``, from 0. ``shared_memory``: descriptor of
    the file in which they keep rate limits together; None: each keeps its own. ``helpers``: where
    large documents are decoded and validated.
    """

    def __init__(
        self,
        service: Service,
        catalog: Catalog,
        side: AsyncioSide,
        worker: int = 0,
        workers: int = 1,
        shared_memory: int | None = None,
    ) -> None:
        self.service = service
        self.catalog = catalog
        self.side = side
        self.worker = worker
        self.workers = workers
        self.shared_memory = shared_memory
        self.helpers = Helpers()
        self.resources: dict[Hashable, Resource] = {}

    def resource(self, key: Hashable, make: Callable[[], R]) -> R:
        """The one resource of that key, made on first use and opened before the first request."""
        if key not in self.resources:
            self.resources[key] = make()
        return cast(R, self.resources[key])

    def token_checks(self, endpoint: Endpoint) -> list[TokenCheck]:
        """What the endpoint's namespaces have to say on a token, before its roles and scopes."""
        return [
            check
            for row in self.catalog
            if row.token_check is not None
            and (settings := endpoint.extra_config.get(row.namespace)) is not None
            and (check := row.token_check(settings, endpoint, self)) is not None
        ]

    def max_inline_bytes(self, backend: Backend) -> int:
        """The largest response that the namespaces of the backend inspect on the event loop."""
        inspecting = (row for row in self.catalog if row.namespace in backend.extra_config)
        return min((row.max_inline_bytes for row in inspecting), default=sys.maxsize)


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
BuildGuard: TypeAlias = Callable[[S, Endpoint, Assembly], Guard | None]
"""None: these settings ask for none."""
TokenCheck: TypeAlias = Callable[[dict[str, Any]], None]
"""Looks at the claims of a verified token. Raises a GatewayError: the token is not accepted."""
BuildTokenCheck: TypeAlias = Callable[[S, Endpoint, Assembly], TokenCheck | None]
BuildManagement: TypeAlias = Callable[[S, Service, Assembly], Mapping[str, ASGIApp]]
"""As above, for the root -> applications of the management port, by path."""
BuildLayer: TypeAlias = Callable[[S, Service, Assembly], Callable[[ASGIApp], ASGIApp]]
BuildHandlerLayer: TypeAlias = Callable[[S, Service, Assembly], Callable[[Handler], Handler]]
Verify: TypeAlias = Callable[[S], Iterable[tuple[str, str]]]
"""Settings, each key right by its type -> what makes them unusable: a key, and why. It may
read the files and modules that the settings name."""


class Job(Protocol):
    """One message of an agent, until it is settled. Only ``request`` and ``failed`` wait."""

    @property
    def is_over(self) -> bool:
        """Settled, or no longer ours to settle."""
        ...

    async def request(self) -> Request: ...

    def done(self) -> None:
        """Its backends have it."""

    def give_back(self) -> None:
        """Nobody will try it; nothing happens when it is over."""

    def park(self) -> None:
        """It cannot be tried now: it comes again after a pause; nothing happens when it is over."""

    async def failed(self) -> float | None:
        """A try has failed. Seconds until this very message is to be tried again; None: it is
        given up, or comes again by itself."""
        ...


class JobSource(Protocol):
    """Where an agent's messages come from."""

    @property
    def is_attached(self) -> bool: ...

    @property
    def problem(self) -> str:
        """Why it is not attached, else empty."""
        ...

    async def take(self) -> Job:
        """Wait for the next message."""
        ...


BuildSource: TypeAlias = Callable[[S, Agent, Assembly], JobSource]


class Place(Struct, frozen=True):
    """Where the settings of a component stand, for its ``findings``.

    ``part``: the path of what has them, with the positions of ``service``; ``path``: of the
    settings. ``endpoint``: which has them, or whose backend has them; of an agent what it has in
    common with endpoints. All of ``endpoint``, ``agent`` and ``backend`` are None at the root.
    """

    part: str
    path: str
    service: Service
    endpoint: Endpoint | None = None
    agent: Agent | None = None
    backend: Backend | None = None

    # ``key``: what of the settings it is about, as in ``a.b`` or ``[0].a``.

    def error(self, text: str, key: str = "") -> Finding:
        return Finding(inner_path(self.path, key), "error", text)

    def warning(self, text: str, key: str = "") -> Finding:
        return Finding(inner_path(self.path, key), "warning", text)

    def warnings(self, traps: Iterable[tuple[str, str]]) -> Iterator[Finding]:
        """Of keys, and what is wrong with each."""
        return (self.warning(text, key) for key, text in traps)

    def hint(self, text: str, key: str = "") -> Finding:
        return Finding(inner_path(self.path, key), "hint", text)


def own_keys_used(settings: Struct, place: Place, key: str = "") -> Iterator[Finding]:
    """Which keys are set that KrakenD does not have: its configuration cannot go back as it is."""
    if used := sorted(own_keys(type(settings)) & changed(settings)):
        yield place.hint(f"only this gateway knows: {', '.join(used)}", key)


FindingsOf: TypeAlias = Callable[[S, Place], Iterable[Finding]]
"""Settings and where they stand -> what ``check`` says of them: traps that are no error."""
OverallFindings: TypeAlias = Callable[[Service], Iterable[Finding]]
"""What ``check`` says where the settings of several places, or none, are the trap."""
HostFindings: TypeAlias = Callable[[str, str], Iterable[Finding]]
"""A host of a backend of this kind, and its path -> what ``check`` says of it."""


class Component(Struct, Generic[S], frozen=True):
    """A namespace of ``extra_config``: a row of the catalogue.

    ``aliases``: legacy names. A level without a builder does not know the namespace.
    ``whole``: the field of the settings that the namespace's value itself is, where that is no
    object of keys. ``verify``: what it says stops the start.

    Of ``check``: ``findings``, ``overall``, ``host_findings``. Of ``audit``: ``advice``.

    ``service``: settings that other parts read from the root. ``read_on``: further levels on which
    other parts read them. ``root_keys``: of a guard that guards nothing at the root, what counts
    there; anything else stops the start.

    ``backend``: answers; ``is_default``: backends that name no other one. ``backend_stage``: wraps
    a branch; ``transport``: wraps the exchanges of an HTTP backend; ``endpoint_stage``: wraps the
    pipe, of agents too. ``passes_bodies``: its stages neither look at the body of an answer nor
    make another answer of it: one that is still coming passes them. ``bare_responses``: responses
    of its endpoints are JSON without the gateway's own headers, whatever the output encoding is.
    ``max_inline_bytes``: of a response of a backend that its stages inspect on the event loop; a
    helper process reads a larger one.

    ``guard``: asked before a request's body is read; ``token_check``: asked by the guard that
    verifies tokens. ``layer``: wraps the whole application; ``handler_layer``: wraps what the
    router has found, also that there is nothing (404, 405), but not its redirects, bad parameters,
    health and readiness. ``management``: what the management port has more. ``agent``: what agents
    take their messages from.
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
    max_inline_bytes: int = sys.maxsize
    guard: BuildGuard[S] | None = None
    token_check: BuildTokenCheck[S] | None = None
    layer: BuildLayer[S] | None = None
    handler_layer: BuildHandlerLayer[S] | None = None
    agent: BuildSource[S] | None = None
    management: BuildManagement[S] | None = None

    def knows(self, level: Level) -> bool:
        """Whether the namespace has a meaning on that level."""
        builders: dict[Level, object] = {
            "service": self.service or self.layer or self.handler_layer or self.management,
            "endpoint": self.endpoint_stage or self.guard,
            "agent": self.agent or self.endpoint_stage,
            "backend": self.backend or self.backend_stage or self.transport,
            "source": self.backend and not self.is_default,
        }
        return level in self.read_on or bool(builders.get(level))


Components: TypeAlias = tuple[Component[Any], ...]


class Catalog(Struct, frozen=True):
    """Every component, and in which order they are asked.

    ``guards``: first to last; a request that one refuses is not seen by those behind it.
    All others: inner to outer. ``encodings``: of backends; ``output_encodings``: of endpoints.
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

    def extended(self, *components: Component[Any]) -> Catalog:
        """With more of them: the last to be asked, the outermost around everything."""
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
