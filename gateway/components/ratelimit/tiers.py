"""``qos/ratelimit/tiered``: limits by the plan of a client. A name of KrakenD's Enterprise edition.

A header names the tier; the first one that fits counts, with limits of its own. Who fits none has
none.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import TypeAlias

from msgspec import Struct

from ...config.structs import Endpoint, Service
from ...core.asgi import ASGIApp
from ...core.component import Assembly
from ...core.proxy import Guard, Request
from ..expression import build_holds, syntax_problem
from .build import build_shared, guarded, open_store
from .limits import build_guard, build_limits
from .settings import LimitSettings, SharedLimitSettings, verify_limits

NAMESPACE = "qos/ratelimit/tiered"

Fits: TypeAlias = Callable[[bytes], bool]
"""Whether what a header says, or nothing, belongs to a tier."""


class Tier(Struct, frozen=True, kw_only=True):
    """``tier_value``: the name of the tier, or an expression about ``value``."""

    tier_value: str = ""
    tier_value_as: str = "literal"
    ratelimit: LimitSettings | None = None
    ratelimit_redis: SharedLimitSettings | None = None


class TieredSettings(Struct, frozen=True, kw_only=True):
    """``tier_key``: the header that names the tier."""

    tier_key: str = ""
    tiers: tuple[Tier, ...] = ()


def verify_tiers(settings: TieredSettings) -> Iterator[tuple[str, str]]:
    for place, tier in enumerate(settings.tiers):
        if tier.tier_value_as == "policy" and (problem := syntax_problem(tier.tier_value)):
            yield f"tiers[{place}].tier_value", f"not an expression: {problem}"
        for key in ("ratelimit", "ratelimit_redis"):
            if (limits := getattr(tier, key)) is not None:
                for inner, text in verify_limits(limits):
                    yield f"tiers[{place}].{key}.{inner}", text
                if limits.headers and key == "ratelimit":
                    yield f"tiers[{place}].{key}.headers", "not possible with tiers"


def build_router_tiers(settings: TieredSettings, endpoint: Endpoint, assembly: Assembly) -> Guard:
    return _build_guard(settings, f"tiered {endpoint.method} {endpoint.endpoint}", assembly)


def build_service_tiers(
    settings: TieredSettings, service: Service, assembly: Assembly
) -> Callable[[ASGIApp], ASGIApp]:
    return guarded(_build_guard(settings, "tiered service", assembly), service)


def _build_guard(settings: TieredSettings, name: str, assembly: Assembly) -> Guard:
    key = settings.tier_key.lower().encode()
    tiers = [
        (
            KINDS[tier.tier_value_as](tier.tier_value),
            _limits(tier, f"{name} tier {place}", assembly),
        )
        for place, tier in enumerate(settings.tiers)
        if tier.tier_value_as in KINDS
    ]

    def guard(request: Request) -> Awaitable[None] | None:
        value = request.header(key) or b""
        return next((limits(request) for fits, limits in tiers if fits(value)), None)

    return guard


def _limits(tier: Tier, name: str, assembly: Assembly) -> Guard:
    """Those that the gateway keeps for itself, then those in Redis."""
    local = tier.ratelimit or LimitSettings()
    own = build_guard(build_limits(local, name, assembly.service), open_store(assembly))
    if tier.ratelimit_redis is None:
        return own
    shared = build_shared(tier.ratelimit_redis, name, assembly)

    def guard(request: Request) -> Awaitable[None] | None:
        own(request)
        return shared(request)

    return guard


def _literal(name: str) -> Fits:
    return name.encode().__eq__


def _policy(expression: str) -> Fits:
    holds = build_holds(expression)
    return lambda value: holds({"value": value.decode(errors="replace")})


KINDS: dict[str, Callable[[str], Fits]] = {
    "literal": _literal,
    "policy": _policy,
    "*": lambda _: lambda value: True,
}
"""``tier_value_as``; a tier of another kind fits nobody."""
