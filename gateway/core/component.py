"""What components are built with: the catalogue's row types and the Assembly they draw from.

Types only: which rows there are is said in ``catalog.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeAlias, TypeVar, cast

from msgspec import Struct

from ..config.extra import Level
from ..config.structs import Agent, Backend, Endpoint, Service
from .asgi import ASGIApp, Handler
from .bridge import AsyncioSide
from .helpers import Helpers
from .proxy import Branch, Guard, Request, Stage


class Resource(Protocol):
    """Something several branches share and that lives as long as the gateway."""

    def opened(self) -> AbstractAsyncContextManager[object]:
        """Entered once, after every pipe is built; left when the gateway closes."""
        ...

    def readiness(self) -> dict[str, Any]:
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


BuildBackend: TypeAlias = Callable[[Any, Backend, Endpoint, Assembly], Branch]
"""settings, its backend, the endpoint around it, shared resources -> the branch."""

BuildStage: TypeAlias = Callable[[Any, Endpoint, Assembly], Stage]
BuildBackendStage: TypeAlias = Callable[[Any, Backend, Endpoint, Assembly], Stage]
BuildTransportStage: TypeAlias = Callable[[Any, Backend, Endpoint, Assembly], Callable[[Any], Any]]
"""As above -> what wraps the backend's transport (:mod:`gateway.http.transport`)."""
BuildGuard: TypeAlias = Callable[[Any, Endpoint, Assembly], Guard | None]
"""None: these settings ask for none."""
TokenCheck: TypeAlias = Callable[[dict[str, Any]], None]
"""Looks at the claims of a verified token. Raises a GatewayError: the token is not accepted."""
BuildTokenCheck: TypeAlias = Callable[[Any, Endpoint, "Assembly"], TokenCheck | None]
Verify: TypeAlias = Callable[[Any], Iterable[tuple[str, str]]]
"""Settings, each key right by its type -> what makes them unusable: a key, and why. It may
read the files and modules that the settings name."""
BuildManagement: TypeAlias = Callable[[Any, Service, Assembly], Mapping[str, ASGIApp]]
"""As above, for the root -> applications of the management port, by path."""
BuildLayer: TypeAlias = Callable[[Any, Service, Assembly], Callable[[ASGIApp], ASGIApp]]
BuildHandlerLayer: TypeAlias = Callable[[Any, Service, Assembly], Callable[[Handler], Handler]]


class Job(Protocol):
    """One message of an agent, until it is settled. Only ``failed`` waits."""

    @property
    def is_over(self) -> bool:
        """Settled, or no longer ours to settle."""
        ...

    def request(self) -> Request: ...

    def done(self) -> None:
        """Its backends have it."""

    def give_back(self) -> None:
        """Nobody will try it; nothing happens when it is over."""

    def set_aside(self) -> None:
        """It cannot be tried now: it comes again after a pause; nothing happens when it is over."""

    async def failed(self) -> float | None:
        """A try has failed. Seconds until this very message is to be tried again; None: it is
        given up, or comes again by itself."""
        ...


class Source(Protocol):
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


BuildSource: TypeAlias = Callable[[Any, Agent, Assembly], Source]


class Component(Struct, frozen=True, kw_only=True):
    """A namespace of ``extra_config``: a row of the catalogue.

    ``aliases``: legacy names. A level without a builder does not know the namespace.
    ``whole``: the field of the settings that the namespace's value itself is, where that is no
    object of keys. ``verify``: what it says stops the start. ``service``: settings that other
    parts read from the root; ``layer``: wraps the whole application; ``handler_layer``: wraps
    what the router has found, also that there is nothing (404, 405), but not its redirects, bad
    parameters, health and readiness. ``is_default``: the backend of whoever names no other.
    ``backend_stage``: wraps a branch; ``transport``: wraps the exchanges of an HTTP backend.
    ``guard``: asked before a request's body is read; ``token_check``: asked by the guard that
    verifies tokens; ``endpoint_stage``: wraps the pipe, of
    agents too. ``leaves_bodies``: its stages neither look at the body of an answer nor make
    another answer of it: one that is still coming passes them. ``agent``: what agents take their
    messages from. ``management``: what the management port has more. ``read_on``: further levels
    on which other parts read the settings.
    ``root_keys``: of a guard that guards nothing at the root, what counts there; anything else
    stops the start. ``ours``: keys that KrakenD does not have.
    """

    namespace: str
    settings: type[Struct]
    aliases: tuple[str, ...] = ()
    ours: frozenset[str] = frozenset()
    whole: str = ""
    verify: Verify | None = None
    service: bool = False
    root_keys: frozenset[str] = frozenset()
    read_on: frozenset[Level] = frozenset()
    backend: BuildBackend | None = None
    is_default: bool = False
    backend_stage: BuildBackendStage | None = None
    transport: BuildTransportStage | None = None
    endpoint_stage: BuildStage | None = None
    leaves_bodies: bool = False
    guard: BuildGuard | None = None
    token_check: BuildTokenCheck | None = None
    layer: BuildLayer | None = None
    handler_layer: BuildHandlerLayer | None = None
    agent: BuildSource | None = None
    management: BuildManagement | None = None

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


Catalog: TypeAlias = tuple[Component, ...]
"""Every component: stages and layers wrap in this order, inner first; guards are asked in it."""
