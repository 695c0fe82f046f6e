"""``qos/ratelimit/tiered``: limits by the plan of a client. A name of KrakenD's Enterprise edition.

A header names the tier; the first one that fits counts, with limits of its own. Who fits none has
none.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import TypeAlias

from msgspec import Struct

from ...config.findings import Finding
from ...config.structs import Endpoint, Service
from ...core.asgi import ASGIApp
from ...core.component import Assembly, Component, Place, own_keys_used
from ...core.families import RateLimitSettings
from ...core.proxy import Guard, Request
from ..auth.settings import API_KEYS, VALIDATOR, ApiKeysSettings, ValidatorSettings
from ..expression import build_condition, syntax_problem
from .build import build_shared, guarded, open_store
from .findings import limit_findings
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


class TieredSettings(RateLimitSettings, Struct, frozen=True, kw_only=True):
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
    is_true = build_condition(expression)
    return lambda value: is_true({"value": value.decode(errors="replace")})


KINDS: dict[str, Callable[[str], Fits]] = {
    "literal": _literal,
    "policy": _policy,
    "*": lambda _: lambda value: True,
}
"""``tier_value_as``; a tier of another kind fits nobody."""


def findings(settings: TieredSettings, place: Place) -> Iterator[Finding]:
    for number, tier in enumerate(settings.tiers):
        where = f"tiers[{number}]"
        if tier.tier_value_as not in KINDS:
            text = f'unknown "{tier.tier_value_as}": nobody has this tier; there are: '
            yield place.warning(text + ", ".join(KINDS), f"{where}.tier_value_as")
        if tier.tier_value_as == "*" and number + 1 < len(settings.tiers):
            text = 'behind "*" nobody has a tier: the others are never looked at'
            yield place.warning(text, f"{where}.tier_value_as")
        if tier.ratelimit is None and tier.ratelimit_redis is None:
            yield place.warning("no ratelimit: there is no limit", where)
        for key in ("ratelimit", "ratelimit_redis"):
            if (limits := getattr(tier, key)) is not None:
                yield from limit_findings(limits, place, f"{where}.{key}.")
                yield from own_keys_used(limits, place, f"{where}.{key}")
    if all(tier.tier_value_as != "*" for tier in settings.tiers):
        text = 'no tier is for everybody ("*"): who has none of these has no limit'
        yield place.warning(text, "tiers")
    if settings.tier_key.lower() not in _told_headers(place.endpoint, place.service):
        text = f"clients choose their tier: nothing here sets {settings.tier_key}"
        yield place.warning(text, "tier_key")


def _told_headers(endpoint: Endpoint | None, service: Service) -> set[str]:
    """The headers, in lower case, that a token or a key sets whatever a client sends."""
    if endpoint is None:
        return set()
    validator: ValidatorSettings | None = endpoint.extra_config.get(VALIDATOR)
    pairs = validator.propagate_claims if validator is not None else ()
    told = {pair[1].lower() for pair in pairs if len(pair) == 2}
    keys: ApiKeysSettings | None = service.extra_config.get(API_KEYS)
    if keys is not None and API_KEYS in endpoint.extra_config:
        told.add(keys.propagate_role.lower())
    return told


COMPONENT = Component(
    NAMESPACE,
    TieredSettings,
    verify=verify_tiers,
    guard=build_router_tiers,
    layer=build_service_tiers,
    findings=findings,
)
