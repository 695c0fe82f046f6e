"""Prints how the gateway understands a configuration: ``check -d``. Pure. No credentials."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ...components.log.logging_settings import has_access_log
from ...config.findings import on_one_line
from ...config.structs import Agent, Backend, Endpoint, Service


def dump(service: Service, indent: str, depth: int) -> Iterator[str]:
    """``depth`` 1: routes and backends. More: also headers, query strings and manipulations."""
    for level, text in _lines(service, depth):
        yield indent * level + on_one_line(text)


def _lines(service: Service, depth: int) -> Iterator[tuple[int, str]]:
    yield 0, f"{service.name or 'without a name'}, port {service.port}"
    yield from _components(0, service.extra_config)
    if not has_access_log(service):
        yield 0, "no access log"
    yield 0, f"{len(service.endpoints)} endpoint(s)"
    for endpoint in service.endpoints:
        yield 1, f"{endpoint.method} {endpoint.endpoint}"
        yield from _of_endpoint(endpoint, depth)
    yield 0, f"{len(service.async_agent)} agent(s)"
    for agent in service.async_agent:
        yield 1, agent.name
        yield 2, f"timeout {agent.consumer.timeout:g}s, workers {agent.consumer.workers}"
        yield from _components(2, agent.extra_config)
        yield from _backends(agent, depth)


def _of_endpoint(endpoint: Endpoint, depth: int) -> Iterator[tuple[int, str]]:
    yield 2, f"timeout {endpoint.timeout:g}s, output {endpoint.output_encoding}"
    if depth > 1:
        yield 2, f"headers: {_listed(endpoint.input_headers)}"
        yield 2, f"query strings: {_listed(endpoint.input_query_strings)}"
    yield from _components(2, endpoint.extra_config)
    yield from _backends(endpoint, depth)


def _backends(owner: Endpoint | Agent, depth: int) -> Iterator[tuple[int, str]]:
    for backend in owner.backend:
        yield 2, f"-> {backend.method} {backend.url_pattern or '/'} at {_listed(backend.host)}"
        if depth > 1:
            yield 3, _shape(backend)
        yield from _components(3, backend.extra_config)


def _shape(backend: Backend) -> str:
    named = {
        "encoding": backend.encoding,
        "group": backend.group,
        "target": backend.target,
        "allow": ", ".join(backend.allow),
        "deny": ", ".join(backend.deny),
        "mapping": ", ".join(f"{old} -> {new}" for old, new in backend.mapping.items()),
    }
    return "; ".join(f"{name}: {value}" for name, value in named.items() if value)


def _components(level: int, names: Iterable[str]) -> Iterator[tuple[int, str]]:
    if listed := ", ".join(names):
        yield level, f"components: {listed}"


def _listed(items: Iterable[str]) -> str:
    return ", ".join(items) or "none"
