"""Builds the pipe of an endpoint from its configuration.

The pipe of an agent is built in the same way: the agent's backends, timeout and ``extra_config``
are an endpoint without a route.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from msgspec.structs import replace

from ..components.proxy import flatmapped, with_static
from ..components.shadow import Shadows, shadowed
from ..config.proxy import proxy_settings
from ..config.structs import Agent, AgentPipe, Backend, Endpoint
from ..core.component import Assembly, Catalog, Component, JobSource
from ..core.failures import FailureLog, name_of
from ..core.merging import Report
from ..core.pipe import MERGE_SHARE, parallel, sequential, within
from ..core.proxy import Branch, Pipe
from ..core.race import race
from ..core.request_context import in_context
from ..core.sequence import build_propagations
from ..errors import GatewayError

RACE_SHARE = 0.75
"""The share of the endpoint's timeout for concurrent calls. (lura, concurrent.go)"""

AnyComponent: TypeAlias = Component[Any]
"""A row of the catalogue, whatever its settings are."""


def build_pipe(endpoint: Endpoint, assembly: Assembly) -> Pipe:
    """All branches of an endpoint, under its deadline, in the stages of its ``extra_config``."""
    shadows = [each for each in endpoint.backend if proxy_settings(each).shadow]
    backends = [each for each in endpoint.backend if not proxy_settings(each).shadow]
    pipe = _build_responding(backends, endpoint, assembly)
    if shadows:
        # All shadows are one pipe: the longest timeout counts.
        times = [proxy_settings(each).shadow_timeout for each in shadows]
        timeout = max(endpoint.timeout if each is None else each for each in times)
        branches = [build_branch(each, endpoint, assembly) for each in shadows]
        shadow = parallel(branches, assembly.side.new_event)
        runner = assembly.resource("shadows", Shadows)
        pipe = shadowed(pipe, shadow, runner, lambda: assembly.side.time() + timeout)
    for row in assembly.catalog.endpoint_stages:
        settings = endpoint.extra_config.get(row.namespace)
        if settings is not None and row.endpoint_stage is not None:
            pipe = row.endpoint_stage(settings, endpoint, assembly)(pipe)
    for build, settings in assembly.at_root(lambda row: row.pipe_observer):
        pipe = build(settings, endpoint, assembly)(pipe)
    return pipe


def _build_responding(backends: Sequence[Backend], endpoint: Endpoint, assembly: Assembly) -> Pipe:
    """The backends that are not shadows, with the stages of ``proxy``."""
    settings = proxy_settings(endpoint)
    branches = [build_branch(each, endpoint, assembly) for each in backends]
    has_ids = assembly.service.gateway.request_id
    report = FailureLog(name_of(endpoint), has_ids=has_ids).record
    if len(branches) == 1:
        pipe = within(branches[0], assembly.side.new_event)
    else:
        numbers = [at for at, each in enumerate(endpoint.backend) if each in backends]
        named = [
            replace(each, name=f"backend[{number}]")
            for each, number in zip(branches, numbers, strict=True)
        ]
        pipe = _build_merge(named, backends, endpoint, assembly, report)
    static = settings.static
    if static is not None and static.data is not None:
        is_passed_on = endpoint.output_encoding == "no-op"
        pipe = with_static(pipe, static, static.data, report, is_passed_on=is_passed_on)
    return pipe


def _build_merge(
    branches: Sequence[Branch],
    backends: Sequence[Backend],
    endpoint: Endpoint,
    assembly: Assembly,
    report: Report,
) -> Pipe:
    settings = proxy_settings(endpoint)
    reserve, new_event = endpoint.timeout * (1 - MERGE_SHARE), assembly.side.new_event
    if settings.sequential:
        propagations = build_propagations(backends, settings.sequential_propagated_params)
        pipe = sequential(branches, propagations, new_event, reserve=reserve, report=report)
    else:
        pipe = parallel(branches, new_event, reserve=reserve, report=report)
    return flatmapped(pipe, settings.flatmap_filter, assembly.helpers)


def build_agent_endpoint(agent: Agent) -> AgentPipe:
    """An agent as an endpoint without a route. Its backends may get all headers of a message."""
    return AgentPipe(
        endpoint=f"/{agent.name}",
        backend=agent.backend,
        timeout=agent.consumer.timeout,
        input_headers=("*",),
        extra_config=agent.extra_config,
    )


def build_source(agent: Agent, assembly: Assembly) -> JobSource:
    """The source of an agent's messages."""
    for row in assembly.catalog:
        settings = agent.extra_config.get(row.namespace)
        if settings is not None and row.agent is not None:
            return row.agent(settings, agent, assembly)
    raise GatewayError(f"agent {agent.name}: no source of messages in its extra_config")


def build_branch(backend: Backend, endpoint: Endpoint, assembly: Assembly) -> Branch:
    """One backend with the stages of its ``extra_config``."""
    branch = _build_source(backend, endpoint, assembly)
    if runs_scripts(endpoint, assembly.catalog):
        branch = in_context(branch)
    may_repeat = branch.may_repeat
    for row in assembly.catalog.backend_stages:
        settings = backend.extra_config.get(row.namespace)
        if settings is not None and row.backend_stage is not None:
            branch = row.backend_stage(settings, backend, endpoint, assembly)(branch)
    for build, settings in assembly.at_root(lambda row: row.branch_observer):
        branch = build(settings, backend, endpoint, assembly)(branch)
    if endpoint.concurrent_calls > 1 and may_repeat:
        timeout = endpoint.timeout * RACE_SHARE
        branch = race(branch, endpoint.concurrent_calls, assembly.side.new_event, timeout=timeout)
    return branch


def _build_source(backend: Backend, endpoint: Endpoint, assembly: Assembly) -> Branch:
    row = source_of(backend, assembly.catalog)
    if row is None or row.backend is None:
        raise GatewayError(f"{endpoint.endpoint}: there is no component for its backend")
    settings = backend.extra_config.get(row.namespace) or row.settings()
    return row.backend(settings, backend, endpoint, assembly)


def runs_scripts(endpoint: Endpoint, catalog: Catalog) -> bool:
    """Whether guards or stages of the endpoint and its backends run code of the operator."""
    parts: tuple[Backend | Endpoint, ...] = (endpoint, *endpoint.backend)
    return any(row.runs_scripts for part in parts for row in catalog.rows_of(part))


def source_of(backend: Backend, catalog: Catalog) -> AnyComponent | None:
    """The component of the backend: the one that ``extra_config`` names, or the default."""
    sources = [row for row in catalog if row.backend is not None]
    named = [row for row in sources if not row.is_default and row.namespace in backend.extra_config]
    return next(iter((*named, *(row for row in sources if row.is_default))), None)
