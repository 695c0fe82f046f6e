"""Traps of rate limits: those that limit nobody, and those that limit everybody. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from ...components.auth.api_keys import NAMESPACE as API_KEYS
from ...components.auth.settings import ApiKeysSettings, ValidatorSettings
from ...components.auth.validator import NAMESPACE as VALIDATOR
from ...components.ratelimit.bucket import Rate
from ...components.ratelimit.settings import (
    LIMIT_OURS,
    STRATEGIES,
    BackendLimitSettings,
    LimitSettings,
    RedisSettings,
    SharedLimitSettings,
    period,
)
from ...components.ratelimit.tiers import KINDS, TieredSettings
from ...components.ratelimit.tiers import NAMESPACE as TIERED
from ...config.findings import Finding
from ...config.structs import Endpoint, RouterSettings, Service
from ...config.units import parse_duration
from .settings import changed

ON_ENDPOINT = ("qos/ratelimit/router", "qos/ratelimit/router/redis")
ON_SERVICE = ("qos/ratelimit/service", "qos/ratelimit/service/redis")


def check_limits(service: Service) -> Iterator[Finding]:
    """Remarks on the limits of a service and of its endpoints."""
    for namespace in ON_SERVICE:
        if (settings := service.extra_config.get(namespace)) is not None:
            yield from _findings(settings, None, service, f'$.extra_config["{namespace}"]')
    if (tiered := service.extra_config.get(TIERED)) is not None:
        yield from _tiers(tiered, None, service, f'$.extra_config["{TIERED}"]')
    for place, endpoint in enumerate(service.endpoints):
        for namespace in ON_ENDPOINT:
            if (settings := endpoint.extra_config.get(namespace)) is not None:
                where = f'$.endpoints[{place}].extra_config["{namespace}"]'
                yield from _findings(settings, endpoint, service, where)
        if (tiered := endpoint.extra_config.get(TIERED)) is not None:
            where = f'$.endpoints[{place}].extra_config["{TIERED}"]'
            yield from _tiers(tiered, endpoint, service, where)


def _findings(
    settings: LimitSettings, endpoint: Endpoint | None, service: Service, where: str
) -> Iterator[Finding]:
    shared = _shared(settings, service) if isinstance(settings, SharedLimitSettings) else ()
    for key, text in (*_rates(settings), *_clients(settings, endpoint, service), *shared):
        yield Finding(f"{where}.{key}", "warning", text)
    if used := sorted(LIMIT_OURS & changed(settings)):
        yield Finding(where, "hint", f"only this gateway knows: {', '.join(used)}")


def _tiers(
    settings: TieredSettings, endpoint: Endpoint | None, service: Service, where: str
) -> Iterator[Finding]:
    for place, tier in enumerate(settings.tiers):
        path = f"{where}.tiers[{place}]"
        if tier.tier_value_as not in KINDS:
            text = f'unknown "{tier.tier_value_as}": nobody has this tier; there are: '
            yield Finding(f"{path}.tier_value_as", "warning", text + ", ".join(KINDS))
        if tier.tier_value_as == "*" and place + 1 < len(settings.tiers):
            text = 'behind "*" nobody has a tier: the others are never looked at'
            yield Finding(f"{path}.tier_value_as", "warning", text)
        if tier.ratelimit is None and tier.ratelimit_redis is None:
            yield Finding(path, "warning", "no ratelimit: there is no limit")
        for key in ("ratelimit", "ratelimit_redis"):
            if (limits := getattr(tier, key)) is not None:
                yield from _findings(limits, endpoint, service, f"{path}.{key}")
    if all(tier.tier_value_as != "*" for tier in settings.tiers):
        text = 'no tier is for everybody ("*"): who has none of these has no limit'
        yield Finding(f"{where}.tiers", "warning", text)
    if settings.tier_key.lower() not in _told_headers(endpoint, service):
        text = f"clients choose their tier: nothing here sets {settings.tier_key}"
        yield Finding(f"{where}.tier_key", "warning", text)


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


def check_backend_limit(
    settings: BackendLimitSettings, endpoint: Endpoint, where: str
) -> Iterator[Finding]:
    """Remarks on the limit of one backend; ``where``: the path of its namespace."""
    for key, text in (
        *_every(settings.every, shortest=0.0),
        *_capacity("capacity", settings.capacity, settings.rate, settings.max_rate, settings.every),
    ):
        yield Finding(f"{where}.{key}", "warning", text)
    if settings.rate is None:
        yield Finding(f"{where}.max_rate", "warning", "no rate: there is no limit")
    elif endpoint.concurrent_calls > 1:
        text = f"each of the {endpoint.concurrent_calls} concurrent calls counts"
        yield Finding(where, "warning", text)


def _rates(settings: LimitSettings) -> Iterator[tuple[str, str]]:
    yield from _every(settings.every, shortest=1.0)
    every = settings.every
    yield from _capacity("capacity", settings.capacity, settings.rate, settings.max_rate, every)
    yield from _capacity(
        "client_capacity",
        settings.client_capacity,
        settings.client_rate,
        settings.client_max_rate,
        every,
    )
    if settings.rate is None and settings.client_rate is None:
        yield "max_rate", "neither max_rate nor client_max_rate: there is no limit"


def _every(every: str, shortest: float) -> Iterator[tuple[str, str]]:
    try:
        seconds = parse_duration(every)
    except ValueError:
        yield "every", f'"{every}" is no duration: "1s" is used, as in KrakenD'
        return
    if seconds <= 0 or seconds < shortest:
        yield "every", f'"{every}": "1s" is used'


def _capacity(
    key: str, capacity: int, rate: Rate | None, requests: float, every: str
) -> Iterator[tuple[str, str]]:
    """``requests``: how many ``every`` period allows."""
    if rate is None:
        return
    holds = rate.depth // rate.interval
    if capacity < 1 and holds < requests:
        yield key, f"{holds}, when it is not given: of more requests at once the others are refused"
    elif 0 < capacity < requests / max(1.0, period(every)):
        yield key, f"{capacity} is less than a second brings: more at once are refused"


def _clients(
    settings: LimitSettings, endpoint: Endpoint | None, service: Service
) -> Iterator[tuple[str, str]]:
    strategy, key = settings.strategy.lower(), settings.key
    if settings.client_rate is None:
        if strategy:
            yield "strategy", "without client_max_rate it has no effect"
        return
    if strategy not in STRATEGIES:
        name = f'unknown "{strategy}"' if strategy else "missing"
        yield "strategy", f"{name}: clients have no limit; there are: {', '.join(STRATEGIES)}"
    elif strategy == "ip":
        yield from _addresses(key, service)
    elif not key:
        yield "key", f'"{strategy}" needs a key: without it every request is refused with 429'
    elif strategy == "param" and endpoint is None:
        yield "strategy", "a service knows no parameters: every request is refused with 429"
    elif strategy == "param" and endpoint is not None and not _has(endpoint, key):
        yield "key", f"the path has no parameter {{{key}}}: every request is refused with 429"


def _shared(settings: SharedLimitSettings, service: Service) -> Iterator[tuple[str, str]]:
    redis: RedisSettings = service.extra_config.get("redis") or RedisSettings()
    name = settings.pool_name
    key = "connection_name" if settings.connection_name else "connection_pool"
    if any(cluster.get("name") == name for cluster in redis.clusters):
        yield key, "clusters are not implemented: each gateway keeps the limit for itself"
    elif all(pool.name != name for pool in redis.connection_pools):
        yield key, f'there is no pool "{name}": each gateway keeps the limit for itself'
    if not settings.on_failure_allow:
        yield "on_failure_allow", "while Redis is away every request is refused with 503"


def _has(endpoint: Endpoint, name: str) -> bool:
    path = endpoint.endpoint
    return any(f"{{{first}{name[1:]}}}" in path for first in (name[0].lower(), name[0].upper()))


def _addresses(key: str, service: Service) -> Iterator[tuple[str, str]]:
    router: RouterSettings = service.extra_config.get("router") or RouterSettings()
    if key:
        yield "key", f"whoever sends {key} is who it says, and has no limit: is it always set anew?"
    elif router.forwarded_by_client_ip and _trusts_everybody(router.trusted_proxies):
        sender = "without router.trusted_proxies whoever sends X-Forwarded-For"
        yield "strategy", f"{sender} is who it says, and has no limit"


def _trusts_everybody(networks: tuple[str, ...]) -> bool:
    return not networks or any(each.endswith("/0") for each in networks)
