"""Families of namespaces: the settings of a namespace inherit from the family that it belongs to.

A rule of ``audit`` that concerns any kind of authentication, or of rate limit, is about a family,
so that it names no namespace.
"""

from __future__ import annotations

from typing import ClassVar, TypeVar

from msgspec import Struct

from ..config.structs import Agent, Backend, Endpoint, Service

S = TypeVar("S", bound=Struct)


class AuthenticationSettings(Struct, frozen=True):
    """Of a namespace that authenticates clients."""


class RateLimitSettings(Struct, frozen=True):
    """Of a namespace that limits the rate of requests."""


class ValidationSettings(Struct, frozen=True):
    """Of a namespace that validates requests."""


class MetricsSettings(Struct, frozen=True):
    """Of a namespace that counts what the gateway does."""


class BrokerSettings(Struct, frozen=True):
    """Of a backend that uses a message broker instead of HTTP. ``writes``: it publishes."""

    writes: ClassVar[bool] = True


def settings_of(part: Service | Endpoint | Agent | Backend, kind: type[S]) -> S | None:
    """The settings of that type, or the first of that family; None: there are none."""
    return next((each for each in part.extra_config.values() if isinstance(each, kind)), None)
