"""The shape of a rule, and how rules look at a service. Pure.

Rules look at services that the loader has made: settings are Structs.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, NamedTuple, TypeAlias

from ..config.structs import Agent, Backend, Endpoint, Service

Severity: TypeAlias = Literal["CRITICAL", "HIGH", "MEDIUM", "LOW"]
SEVERITIES: tuple[Severity, ...] = ("CRITICAL", "HIGH", "MEDIUM", "LOW")

ROOT = "$"
PRODUCER = "backend/amqp/producer"
CONSUMER = "backend/amqp/consumer"
AGENT = "async/amqp"
LIMITS = (
    "qos/ratelimit/router",
    "qos/ratelimit/router/redis",
    "qos/ratelimit/service",
    "qos/ratelimit/service/redis",
    "qos/ratelimit/proxy",
    "qos/ratelimit/tiered",
)


class Rule(NamedTuple):
    """``places``: the paths where it holds; none: there is nothing to say."""

    number: str
    severity: Severity
    message: str
    places: Callable[[Service], Iterable[str]]


class BackendPlace(NamedTuple):
    """A backend, what it stands in, and its path."""

    backend: Backend
    owner: Endpoint | Agent
    path: str


def endpoints(service: Service) -> Iterator[tuple[Endpoint, str]]:
    for place, endpoint in enumerate(service.endpoints):
        yield endpoint, f"$.endpoints[{place}]"


def backends(service: Service) -> Iterator[BackendPlace]:
    """Of endpoints, then of agents."""
    owners: list[tuple[Endpoint | Agent, str]] = [*endpoints(service)]
    owners += [(agent, f"$.async_agent[{at}]") for at, agent in enumerate(service.async_agent)]
    for owner, path in owners:
        for place, backend in enumerate(owner.backend):
            yield BackendPlace(backend, owner, f"{path}.backend[{place}]")


def endpoints_with(service: Service, source: str) -> Iterator[tuple[Endpoint, str]]:
    """Endpoints one of whose backends has that namespace."""
    for endpoint, path in endpoints(service):
        if any(source in backend.extra_config for backend in endpoint.backend):
            yield endpoint, path


def is_http(backend: Backend) -> bool:
    return PRODUCER not in backend.extra_config and CONSUMER not in backend.extra_config


def setting(settings: Any, name: str, otherwise: Any = None) -> Any:
    """One of a namespace's settings; ``otherwise`` when the namespace is not there."""
    return otherwise if settings is None else getattr(settings, name)


def when(condition: object, path: str = ROOT) -> tuple[str, ...]:
    """For rules about the service as a whole."""
    return (path,) if condition else ()


def is_anywhere(service: Service, *namespaces: str) -> bool:
    """On the service, an endpoint, an agent, or a backend."""
    levels: list[Service | Endpoint | Agent | Backend] = [service]
    levels += [*service.endpoints, *service.async_agent]
    levels += [place.backend for place in backends(service)]
    return any(name in level.extra_config for level in levels for name in namespaces)


def is_local(host: str | None) -> bool:
    """Whether what is sent there stays on this machine."""
    if host in (None, "", "localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
