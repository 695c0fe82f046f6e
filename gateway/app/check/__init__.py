"""Traps that need meaning to be seen: what is right by its type and wrong in practice. Pure."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from ...amqp.settings import AGENT_OURS, CONSUMER_OURS, PRODUCER_OURS
from ...config.extra import Row
from ...config.findings import ConfigError, Finding, part_of
from ...config.load import Loaded, survey
from ...config.structs import Agent, Backend, Endpoint, Service
from .agent import NAMESPACE as AGENT
from .agent import check_agent
from .auth import check_auth, check_clients, check_plugins, check_revoker
from .breaker import check_breaker
from .cache import check_cache
from .consumer import check_consumer
from .declarations import check_declarations
from .gateway import check_gateway
from .hosts import check_hosts
from .lua import check_lua
from .martian import check_martian
from .producer import check_producer
from .proxy import check_proxy
from .ratelimit import check_backend_limit, check_limits
from .security import check_security
from .settings import changed
from .tls import check_tls
from .validation import check_validation

CHECKS: dict[str, tuple[Callable[[Any, Endpoint, str], Iterator[Finding]], frozenset[str]]] = {
    "backend/amqp/consumer": (check_consumer, CONSUMER_OURS),
    "backend/amqp/producer": (check_producer, PRODUCER_OURS),
    "qos/ratelimit/proxy": (check_backend_limit, frozenset()),
}
"""For backends by their namespace: what remarks on it, and the keys that KrakenD does not have."""


def examine(
    source: str | os.PathLike[str] | bytes | Mapping[str, Any],
    catalog: Sequence[Row],
    environ: Mapping[str, str] | None = None,
) -> Loaded:
    """As :func:`gateway.config.load.load`, and with the remarks of :func:`check`.

    Raises :class:`ConfigError` with all of them when one is an error.
    """
    loaded = with_remarks(survey(source, catalog, environ))
    if any(each.severity == "error" for each in loaded.all_findings):
        raise ConfigError(loaded.all_findings)
    return loaded


def with_remarks(loaded: Loaded) -> Loaded:
    """With what :func:`check` finds: every error. A warning or a hint may be no more than the
    consequence of an error: those of an endpoint that has one are left out, and all when the
    root's ``extra_config`` has one.
    """
    errors = [each.path for each in loaded.findings if each.severity == "error"]
    faulty = set(map(part_of, errors))
    is_all_faulty = any(path.startswith("$.extra_config") for path in errors)
    remarks = tuple(
        each
        for each in loaded.places.of_service(check(loaded.service))
        if each.severity == "error" or not (is_all_faulty or part_of(each.path) in faulty)
    )
    return replace(loaded, remarks=remarks)


def check(service: Service) -> Iterator[Finding]:
    """Remarks on a service; the paths have its positions, not those of the file."""
    yield from check_gateway(service)
    yield from check_tls(service)
    yield from check_security(service)
    yield from check_revoker(service)
    yield from check_clients(service)
    yield from check_plugins(service)
    yield from check_limits(service)
    yield from check_lua(service.extra_config, "$")
    for place, endpoint in enumerate(service.endpoints):
        path = f"$.endpoints[{place}]"
        yield from check_proxy(endpoint, path)
        yield from check_auth(endpoint, path, service)
        yield from check_validation(endpoint, path)
        yield from check_lua(endpoint.extra_config, path)
        for number, backend in enumerate(endpoint.backend):
            yield from _check_backend(backend, endpoint, f"{path}.backend[{number}]")
    for place, agent in enumerate(service.async_agent):
        yield from _check_agent(agent, f"$.async_agent[{place}]")
    yield from check_declarations(service)


def _check_agent(agent: Agent, path: str) -> Iterator[Finding]:
    yield from check_agent(agent, path)
    for number, backend in enumerate(agent.backend):
        yield from check_hosts(backend, f"{path}.backend[{number}]")
    yield from check_validation(agent, path)
    yield from check_lua(agent.extra_config, path, is_agent=True)
    settings = agent.extra_config.get(AGENT)
    if settings is not None and (used := sorted(AGENT_OURS & changed(settings))):
        where = f'{path}.extra_config["{AGENT}"]'
        yield Finding(where, "hint", f"only this gateway knows: {', '.join(used)}")


def _check_backend(backend: Backend, endpoint: Endpoint, path: str) -> Iterator[Finding]:
    yield from check_hosts(backend, path)
    yield from check_martian(backend, path)
    yield from check_lua(backend.extra_config, path)
    for namespace, (remark_on, ours) in CHECKS.items():
        settings = backend.extra_config.get(namespace)
        if settings is None:
            continue
        where = f'{path}.extra_config["{namespace}"]'
        yield from remark_on(settings, endpoint, where)
        if used := sorted(ours & changed(settings)):
            yield Finding(where, "hint", f"only this gateway knows: {', '.join(used)}")
    yield from check_breaker(backend, path)
    yield from check_cache(backend, endpoint, path)
    for key in ("input_headers", "input_query_strings"):
        if "*" in getattr(backend, key):
            yield Finding(f"{path}.{key}", "warning", '"*" has a meaning on endpoints only')
    if backend.encoding == "no-op" and endpoint.output_encoding != "no-op":
        text = (
            f'nothing of it is in an answer whose output_encoding is "{endpoint.output_encoding}"'
        )
        yield Finding(f"{path}.encoding", "warning", text)
