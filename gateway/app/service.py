"""Makes a running gateway of a configuration: builds the pipes and opens the shared resources."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from typing import Any, TypeVar

from anyio.lowlevel import checkpoint
from msgspec.structs import replace

from ..config.findings import ConfigError, Finding, Findings, key_path, lines
from ..config.json_types import JsonObject
from ..config.load import Loaded, survey
from ..config.structs import DEFAULT_GRACE, Agent, Endpoint, Service
from ..core.asgi import ASGIApp
from ..core.bridge import open_asyncio_side
from ..core.component import Assembly, BuildLayer, Catalog, Component, Listener
from ..core.counted import ignore_unmatched
from ..core.direct import Application
from ..core.forwarding import build_connection_guard
from ..core.layers import Layer
from ..core.observed import Observer, observed
from ..core.request_ids import identified
from ..core.tasks import open_together
from ..core.traced import passing_on, traced
from ..core.version import VERSION
from ..errors import GatewayError
from ..router.app import build_app, build_management_app, http_only
from ..router.endpoint import Route
from ..router.large_output import with_large_output
from ..router.load import Load
from ..telemetry.logs import get_logger
from ..telemetry.metrics import Reading
from ..telemetry.tracing import Tracer
from .agent import AgentRunner
from .audit import review
from .build import build_agent_endpoint, build_pipe, build_source, runs_scripts
from .catalog import CATALOG
from .check import with_check_findings

log = get_logger("gateway.config")

Part = TypeVar("Part", Agent, Endpoint)
Built = TypeVar("Built")


class Gateway:
    """An open gateway. ``asgi``: the application, for any ASGI server on this event loop.

    ``management``: the application of ``management_port``, with health and readiness.
    ``listeners``: further applications, each with its port.
    """

    def __init__(self, service: Service, assembly: Assembly) -> None:
        self.service = service
        self._assembly = assembly
        self.agents = _build_agents(service, assembly)
        rows = assembly.catalog.layers
        observers = _build_observers(service, assembly)
        load = Load(service.gateway.max_requests)
        assembly.count_load = lambda: (load.running, load.refused)
        counter = assembly.response_counter
        if assembly.metrics is not None:
            assembly.metrics.readers.append(
                lambda: [Reading("requests.in_flight", {}, load.running)]
            )
        application = build_app(
            service,
            _build_each(
                "endpoints", service.endpoints, lambda _, each: _build_route(each, assembly)
            ),
            readiness=self.readiness,
            agents=self._last_seen,
            version=VERSION,
            clock=assembly.side.time,
            timers=assembly.side.timers,
            layers=_build_layers([(row, row.handler_layer) for row in rows], service, assembly),
            outer_layers=_build_layers([(row, row.layer) for row in rows], service, assembly),
            is_observed=bool(observers),
            is_traced=assembly.tracer is not None,
            notes_requests=bool(observers) and _read_requests(assembly),
            load=load,
            count_unmatched=ignore_unmatched if counter is None else counter.count_unmatched,
        )
        application = observed(application, observers)
        if assembly.tracer is not None:
            application = _with_traces(application, assembly.tracer, service, assembly)
        has_ids = service.gateway.request_id
        self.asgi: ASGIApp = identified(application) if has_ids else application
        self.management = build_management_app(
            service,
            readiness=self.readiness,
            agents=self._last_seen,
            apps=_build_management(service, assembly),
        )
        self.listeners = _build_listeners(service, assembly)

    def _last_seen(self) -> JsonObject:
        return {agent.name: agent.last_seen() for agent in self.agents}

    def readiness(self) -> dict[str, Any]:
        """The body of ``/__ready``: ``{"ready": bool, "stopping": bool, "resources": [...]}``."""
        resources = [resource.readiness() for resource in self._assembly.resources.values()]
        is_stopping = self._assembly.is_stopping
        is_ready = not is_stopping and all(resource["ready"] for resource in resources)
        return {"ready": is_ready, "stopping": is_stopping, "resources": resources}

    async def reach_loops(self) -> None:
        """Return when both event loops, this one and the asyncio side's, have run something."""
        await self._assembly.side.run(checkpoint)

    def stopping(self) -> None:
        """Report "not ready" from now on, and stop the agents. Requests are still served."""
        self._assembly.is_stopping = True
        for agent in self.agents:
            agent.stop()


def load(
    config: str | os.PathLike[str] | bytes | Mapping[str, object],
    *,
    catalog: Catalog = CATALOG,
    environ: Mapping[str, str] | None = None,
) -> Loaded:
    """Load and check a configuration. Its findings are those of ``gateway check``.

    ``config``: the path of a file, its content, or the decoded document. ``environ``: environment
    variables for templates and secrets, by default those of the process. Raises
    :class:`ConfigError` with every error of the file.
    """
    loaded = with_check_findings(survey(config, catalog, environ), catalog)
    if any(each.severity == "error" for each in loaded.all_findings):
        raise ConfigError(loaded.all_findings)
    return loaded


@asynccontextmanager
async def open_gateway(
    config: Loaded | str | os.PathLike[str] | bytes | Mapping[str, object],
    *,
    catalog: Catalog = CATALOG,
    worker: int = 0,
    workers: int = 1,
    shared_memory: int | None = None,
    shared_metrics: Sequence[int] = (),
    shared_reports: Sequence[int] = (),
) -> AsyncGenerator[Gateway]:
    """Open a gateway in any AnyIO program, on asyncio or Trio.

    ``config``: the path of a file, its content, the document, or the result of :func:`load`. Does
    not wait for brokers. Logs the warnings of a configuration that it loads itself. Raises
    :class:`ConfigError` with every problem of the file.
    """
    if isinstance(config, Loaded):
        loaded = config
    else:
        loaded = load(config, catalog=catalog)
        log_warnings(loaded)
    async with AsyncExitStack() as stack:
        side = await stack.enter_async_context(open_asyncio_side())
        assembly = Assembly(
            loaded.service,
            catalog,
            side,
            worker,
            workers,
            shared_memory,
            shared_metrics,
            shared_reports,
            partial(review, loaded, catalog),
        )
        gateway = _build(loaded, assembly)
        await stack.enter_async_context(assembly.helpers.opened())
        agents = gateway.agents
        shared = [each for each in assembly.resources.values() if each not in agents]
        for resources in (shared, agents):  # agents close first: they settle messages over links
            opened = (resource.opened() for resource in resources)
            await stack.enter_async_context(open_together(opened))
        try:
            yield gateway
        finally:
            gateway.stopping()  # all agents at the same time: they share the grace period


async def try_build(loaded: Loaded, catalog: Catalog = CATALOG) -> None:
    """Build what :func:`open_gateway` builds, without opening it. Raises the same errors."""
    async with open_asyncio_side() as side:
        _build(loaded, Assembly(loaded.service, catalog, side))


def log_warnings(loaded: Loaded) -> None:
    """Log each warning on one line; equal warnings are one line."""
    for line in lines(loaded.all_findings, ("warning",)):
        log.warning("%s", line.removeprefix("warning: "))


def _build(loaded: Loaded, assembly: Assembly) -> Gateway:
    try:
        return Gateway(loaded.service, assembly)
    except ConfigError as error:
        raise ConfigError(loaded.places.of_service(error.findings)) from error


def _build_agents(service: Service, assembly: Assembly) -> list[AgentRunner]:
    """The agents. All of them run in the first worker."""
    if assembly.worker:
        return []
    grace = service.max_shutdown_wait_time or DEFAULT_GRACE

    def build(number: int, agent: Agent) -> AgentRunner:
        source = build_source(agent, assembly)
        pipe = source.observed(build_pipe(build_agent_endpoint(agent), assembly))
        return assembly.resource(
            ("agent", number),
            partial(
                AgentRunner,
                agent,
                source,
                pipe,
                grace,
                has_ids=service.gateway.request_id,
                note_failure=assembly.note_failure,
            ),
        )

    return _build_each("async_agent", service.async_agent, build)


def _build_layers(
    rows: Iterable[tuple[Component[Any], BuildLayer[Any] | None]],
    service: Service,
    assembly: Assembly,
) -> list[Layer]:
    layers = []
    for row, build in rows:
        if build is not None and row.namespace in service.extra_config:
            with _building(row.namespace):
                layers.append(build(service.extra_config[row.namespace], service, assembly))
    return layers


def _build_management(service: Service, assembly: Assembly) -> dict[str, ASGIApp]:
    return {
        path: app
        for build, settings in assembly.at_root(lambda row: row.management)
        for path, app in build(settings, service, assembly).items()
    }


def _build_listeners(service: Service, assembly: Assembly) -> list[Listener]:
    return [
        replace(listener, app=http_only(listener.app))
        for build, settings in assembly.at_root(lambda row: row.listeners)
        for listener in build(settings, service, assembly)
    ]


def _build_observers(service: Service, assembly: Assembly) -> list[Observer]:
    built = assembly.at_root(lambda row: row.observer)
    observers = [build(settings, service, assembly) for build, settings in built]
    return [observer for observer in observers if observer is not None]


def _with_traces(
    application: Application, tracer: Tracer, service: Service, assembly: Assembly
) -> Application:
    if tracer.records:
        for build, settings in assembly.at_root(lambda row: row.traces):
            return traced(application, build(settings, service, assembly))
    return passing_on(application, tracer)


def _read_requests(assembly: Assembly) -> bool:
    return any(
        read(settings) for read, settings in assembly.at_root(lambda row: row.reads_requests)
    )


def _build_each(
    key: str, parts: Sequence[Part], build: Callable[[int, Part], Built]
) -> list[Built]:
    """Build each endpoint or agent; ``build`` gets its position, too. Raises :class:`ConfigError`
    with the problem of each that cannot be built.
    """
    built = []
    problems = Findings()
    for number, part in enumerate(parts):
        try:
            built.append(build(number, part))
        except GatewayError as error:
            problems.error(f"$.{key}[{number}]", str(error))
    if problems.has_errors:
        raise ConfigError(problems)
    return built


@contextmanager
def _building(namespace: str) -> Iterator[None]:
    """An error of the block becomes a finding at that namespace of the root."""
    try:
        yield
    except GatewayError as error:
        where = key_path("$.extra_config", namespace)
        raise ConfigError([Finding(where, "error", str(error))]) from error


def _build_route(endpoint: Endpoint, assembly: Assembly) -> Route:
    catalog = assembly.catalog
    guards = [build_connection_guard(endpoint, assembly.service)]
    guards += [
        row.guard(settings, endpoint, assembly)
        for row in catalog.guards
        if row.guard is not None
        and (settings := endpoint.extra_config.get(row.namespace)) is not None
    ]
    pipe = with_large_output(build_pipe(endpoint, assembly), endpoint, assembly.helpers)
    return Route(
        endpoint.method,
        endpoint,
        pipe,
        [each for each in guards if each is not None],
        any(row.bare_responses and row.namespace in endpoint.extra_config for row in catalog),
        runs_scripts(endpoint, catalog),
        assembly.note_failure,
        None
        if assembly.response_counter is None
        else assembly.response_counter.counter_of(endpoint),
    )
