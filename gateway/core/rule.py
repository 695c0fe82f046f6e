"""Rules of ``audit``, and how they read a service. Pure.

They read a service that the loader has made: settings are Structs.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, NamedTuple, TypeAlias

from msgspec import Struct

from ..config.structs import Agent, Backend, Endpoint, Service
from .families import BrokerSettings, settings_of

Severity: TypeAlias = Literal["CRITICAL", "HIGH", "MEDIUM", "LOW"]
SEVERITIES: tuple[Severity, ...] = ("CRITICAL", "HIGH", "MEDIUM", "LOW")

ROOT = "$"

FindPlaces: TypeAlias = Callable[[Service], Iterable[str]]


class Rule(NamedTuple):
    """A rule of ``audit``. ``places``: the JSON paths to which it applies; none: no
    recommendation."""

    number: str
    severity: Severity
    message: str
    places: FindPlaces


class BackendPlace(NamedTuple):
    """A backend, and its path."""

    backend: Backend
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
            yield BackendPlace(backend, f"{path}.backend[{place}]")


def is_http(backend: Backend) -> bool:
    return settings_of(backend, BrokerSettings) is None


def when(condition: object, path: str = ROOT) -> tuple[str, ...]:
    """For rules about the service as a whole."""
    return (path,) if condition else ()


def where_endpoint(condition: Callable[[Endpoint], object]) -> FindPlaces:
    """The endpoints of which the condition is true."""
    return lambda service: (path for endpoint, path in endpoints(service) if condition(endpoint))


def where_configured(kind: type[Struct]) -> FindPlaces:
    """The root and the endpoints that have settings of that type."""

    def places(service: Service) -> Iterator[str]:
        yield from when(settings_of(service, kind) is not None)
        yield from where_endpoint(lambda endpoint: settings_of(endpoint, kind) is not None)(service)

    return places


def where_root_lacks(kind: type[Struct]) -> FindPlaces:
    """The root, if it has no settings of that type."""
    return lambda service: when(settings_of(service, kind) is None)


def is_anywhere(service: Service, kind: type[Struct]) -> bool:
    """Whether the root, an endpoint, an agent or a backend has settings of that type."""
    levels: list[Service | Endpoint | Agent | Backend] = [service]
    levels += [*service.endpoints, *service.async_agent]
    levels += [place.backend for place in backends(service)]
    return any(settings_of(level, kind) is not None for level in levels)


def is_local(host: str | None) -> bool:
    """Whether a host is this machine."""
    if host in (None, "", "localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
