"""What ``check`` reports about rate limits: settings that limit no client or every client. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from ...config.findings import Finding
from ...config.go_names import has_placeholder
from ...config.structs import Service
from ...config.units import parse_duration
from ...core.component import Place
from .bucket import Rate
from .settings import (
    STRATEGIES,
    BackendLimitSettings,
    LimitSettings,
    RedisLimitSettings,
    RedisSettings,
    period,
)


def findings(settings: LimitSettings, place: Place) -> Iterator[Finding]:
    return limit_findings(settings, place)


def limit_findings(settings: LimitSettings, place: Place, where: str = "") -> Iterator[Finding]:
    """``where``: the path of limits inside other settings, such as ``tiers[0].``."""
    redis = _redis(settings, place.service) if isinstance(settings, RedisLimitSettings) else ()
    for key, text in (*_rates(settings), *_clients(settings, place), *redis):
        yield place.warning(text, f"{where}{key}")


def backend_findings(settings: BackendLimitSettings, place: Place) -> Iterator[Finding]:
    every, rate = settings.every, settings.rate
    yield from place.warnings(_every(every, shortest=0.0))
    capacity = _capacity("capacity", settings.capacity, rate, settings.max_rate, every)
    yield from place.warnings(capacity)
    if settings.rate is None:
        yield place.warning("not set: there is no limit", "max_rate")
    elif place.endpoint is not None and place.endpoint.concurrent_calls > 1:
        text = f"each of the {place.endpoint.concurrent_calls} concurrent calls takes a token"
        yield place.warning(text)


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
        yield "max_rate", "neither max_rate nor client_max_rate is set: there is no limit"


def _every(every: str, shortest: float) -> Iterator[tuple[str, str]]:
    try:
        seconds = parse_duration(every)
    except ValueError:
        yield "every", f'"{every}" is not a duration: "1s" is used, as in KrakenD'
        return
    if seconds <= 0 or seconds < shortest:
        yield "every", f'"{every}" is too short: "1s" is used'


def _capacity(
    key: str, capacity: int, rate: Rate | None, requests: float, every: str
) -> Iterator[tuple[str, str]]:
    """``requests``: the number that each period of ``every`` allows."""
    if rate is None:
        return
    default = rate.depth // rate.interval
    if capacity < 1 and default < requests:
        yield key, f"not set: {default} is used, and more requests at once are refused"
    elif 0 < capacity < requests / max(1.0, period(every)):
        yield (
            key,
            f"{capacity} is less than the rate of one second: more requests at once are refused",
        )


def _clients(settings: LimitSettings, place: Place) -> Iterator[tuple[str, str]]:
    endpoint = place.endpoint
    strategy, key = settings.strategy.lower(), settings.key
    if settings.client_rate is None:
        if strategy:
            yield "strategy", "has no effect without client_max_rate"
        return
    if strategy not in STRATEGIES:
        name = f'unknown "{strategy}"' if strategy else "missing"
        yield "strategy", f"{name}: clients have no limit; there are: {', '.join(STRATEGIES)}"
    elif strategy == "ip":
        yield from _addresses(key, place.service)
    elif not key:
        yield "key", f'"{strategy}" needs a key: without it every request is refused with 429'
    elif strategy == "param" and endpoint is None:
        yield "strategy", "the service has no parameters: every request is refused with 429"
    elif (
        strategy == "param" and endpoint is not None and not has_placeholder(endpoint.endpoint, key)
    ):
        yield "key", f"the path has no parameter {{{key}}}: every request is refused with 429"


def _redis(settings: RedisLimitSettings, service: Service) -> Iterator[tuple[str, str]]:
    redis: RedisSettings = service.extra_config.get("redis") or RedisSettings()
    name = settings.pool_name
    key = "connection_name" if settings.connection_name else "connection_pool"
    if any(cluster.get("name") == name for cluster in redis.clusters):
        yield key, "clusters are not implemented: each gateway has its own limit"
    elif all(pool.name != name for pool in redis.connection_pools):
        yield key, f'there is no pool "{name}": each gateway has its own limit'
    if not settings.on_failure_allow:
        yield "on_failure_allow", "while Redis cannot be reached, every request is refused with 503"


def _addresses(key: str, service: Service) -> Iterator[tuple[str, str]]:
    router = service.router
    if key:
        text = (
            f"any client can send its own {key} and so avoid the limit: "
            "a proxy in front of the gateway must overwrite it"
        )
        yield "key", text
    elif router.forwarded_by_client_ip and _trusts_any_address(router.trusted_proxies):
        text = (
            "any client can send X-Forwarded-For and so avoid the limit: "
            "set extra_config.router.trusted_proxies"
        )
        yield "strategy", text


def _trusts_any_address(networks: tuple[str, ...]) -> bool:
    return not networks or any(each.endswith("/0") for each in networks)
