"""``qos/ratelimit/tiered``: limits by the plan of a client. A name of KrakenD's Enterprise edition.

A header names the tier of a client. The first tier that matches decides the limits. A client that
matches none has no limit.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import TypeAlias

from msgspec import Struct

from ...config.findings import Finding
from ...config.structs import Endpoint, Service
from ...core.component import Assembly, Component, Place, own_keys_used
from ...core.families import RateLimitSettings
from ...core.layers import Layer
from ...core.proxy import Guard, Request
from ..auth.settings import API_KEYS, VALIDATOR, ApiKeysSettings, ValidatorSettings
from ..expression import build_condition, syntax_problem
from .build import build_redis_limit, count_denials, guarded, open_store
from .findings import limit_findings
from .limits import Denials, build_guard, build_limits
from .settings import LimitSettings, RedisLimitSettings, verify_limits

NAMESPACE = "qos/ratelimit/tiered"

TierMatches: TypeAlias = Callable[[bytes], bool]
"""Whether the value of the header, b"" without one, belongs to the tier."""


class Tier(Struct, frozen=True, kw_only=True):
    """A plan of clients, and its limits."""

    tier_value: str = ""
    """The value of the header for this tier, or a CEL expression about the variable `value`."""
    tier_value_as: str = "literal"
    """`literal`: the header is equal to `tier_value`. `policy`: the expression in `tier_value` is
    true. `*`: every client; `tier_value` is not read. A tier of another kind matches no client."""
    ratelimit: LimitSettings | None = None
    """The limits of the tier, with the keys of `qos/ratelimit/router`."""
    ratelimit_redis: RedisLimitSettings | None = None
    """Limits of the tier that several gateways share, with the keys of
    `qos/ratelimit/router/redis`. With `ratelimit` both are valid."""


class TieredSettings(RateLimitSettings, Struct, frozen=True, kw_only=True):
    """``qos/ratelimit/tiered``."""

    tier_key: str = ""
    """The name of the header that names the tier."""
    tiers: tuple[Tier, ...] = ()
    """The tiers. The first one that matches is used; a client without a tier has no limit."""


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
    return _build_guard(settings, f"{endpoint.method} {endpoint.endpoint}", assembly)


def build_service_tiers(settings: TieredSettings, service: Service, assembly: Assembly) -> Layer:
    waits = any(tier.ratelimit_redis is not None for tier in settings.tiers)
    return guarded(_build_guard(settings, "service", assembly), service, waits=waits)


def _build_guard(settings: TieredSettings, name: str, assembly: Assembly) -> Guard:
    key = settings.tier_key.lower().encode()
    denials = count_denials(name, assembly)
    tiers = [
        (
            TIER_KINDS[tier.tier_value_as](tier.tier_value),
            _limits(tier, f"tiered {name} tier {place}", assembly, denials),
        )
        for place, tier in enumerate(settings.tiers)
        if tier.tier_value_as in TIER_KINDS
    ]

    def guard(request: Request) -> Awaitable[None] | None:
        value = request.header(key) or b""
        return next((limits(request) for matches, limits in tiers if matches(value)), None)

    return guard


def _limits(tier: Tier, name: str, assembly: Assembly, denials: Denials) -> Guard:
    """First the limits of this gateway, then those in Redis."""
    local = tier.ratelimit or LimitSettings()
    own = build_guard(build_limits(local, name, assembly.service), open_store(assembly), denials)
    if tier.ratelimit_redis is None:
        return own
    in_redis = build_redis_limit(tier.ratelimit_redis, name, assembly, denials)

    def guard(request: Request) -> Awaitable[None] | None:
        own(request)
        return in_redis(request)

    return guard


def _literal(name: str) -> TierMatches:
    return name.encode().__eq__


def _policy(expression: str) -> TierMatches:
    is_true = build_condition(expression)
    return lambda value: is_true({"value": value.decode(errors="replace")})


TIER_KINDS: dict[str, Callable[[str], TierMatches]] = {
    "literal": _literal,
    "policy": _policy,
    "*": lambda _: lambda value: True,
}
"""The values of ``tier_value_as``. A tier of another kind matches no client."""


def findings(settings: TieredSettings, place: Place) -> Iterator[Finding]:
    for number, tier in enumerate(settings.tiers):
        where = f"tiers[{number}]"
        if tier.tier_value_as not in TIER_KINDS:
            text = f'unknown "{tier.tier_value_as}": no client has this tier; there are: '
            yield place.warning(text + ", ".join(TIER_KINDS), f"{where}.tier_value_as")
        if tier.tier_value_as == "*" and number + 1 < len(settings.tiers):
            text = 'the tiers after "*" are never used'
            yield place.warning(text, f"{where}.tier_value_as")
        if tier.ratelimit is None and tier.ratelimit_redis is None:
            yield place.warning(
                "neither ratelimit nor ratelimit_redis is set: there is no limit", where
            )
        for key in ("ratelimit", "ratelimit_redis"):
            if (limits := getattr(tier, key)) is not None:
                yield from limit_findings(limits, place, f"{where}.{key}.")
                yield from own_keys_used(limits, place, f"{where}.{key}")
    if all(tier.tier_value_as != "*" for tier in settings.tiers):
        text = 'no tier is for all clients ("*"): a client without a tier has no limit'
        yield place.warning(text, "tiers")
    if settings.tier_key.lower() not in _enforced_headers(place.endpoint, place.service):
        text = f"clients can choose their tier: no token or key sets {settings.tier_key}"
        yield place.warning(text, "tier_key")


def _enforced_headers(endpoint: Endpoint | None, service: Service) -> set[str]:
    """The headers, in lower case, that a token or a key sets in place of what a client sends."""
    if endpoint is None:
        return set()
    validator: ValidatorSettings | None = endpoint.extra_config.get(VALIDATOR)
    pairs = validator.propagate_claims if validator is not None else ()
    enforced = {pair[1].lower() for pair in pairs if len(pair) == 2}
    keys: ApiKeysSettings | None = service.extra_config.get(API_KEYS)
    if keys is not None and API_KEYS in endpoint.extra_config:
        enforced.add(keys.propagate_role.lower())
    return enforced


COMPONENT = Component(
    NAMESPACE,
    TieredSettings,
    verify=verify_tiers,
    guard=build_router_tiers,
    layer=build_service_tiers,
    findings=findings,
)
