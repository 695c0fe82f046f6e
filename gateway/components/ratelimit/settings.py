"""The namespaces of rate limits as frozen Structs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct

from ...config.structs import ClientTls, Own, Seconds
from ...config.units import parse_duration
from ...core.families import RateLimitSettings
from ...errors import GatewayError
from .bucket import Rate, rate_of
from .clients import IPV6_PREFIX

STRATEGIES = ("ip", "header", "param")
"""How clients are told apart; whatever else stands there means no limit, as in KrakenD."""

REDIS_PORT = 6379


class BackendLimitSettings(RateLimitSettings, Struct, frozen=True, kw_only=True):
    """``qos/ratelimit/proxy``: requests to one backend."""

    max_rate: float = 0.0
    capacity: int = 0
    every: str = "1s"

    @property
    def rate(self) -> Rate | None:
        return rate_of(self.max_rate / period(self.every), self.capacity)


class LimitSettings(RateLimitSettings, Struct, frozen=True, kw_only=True):
    """``qos/ratelimit/router`` and ``.../service``: requests of all clients, and of each one.

    ``headers`` (ours): answers say how many requests are left.
    ``ipv6_prefix`` (ours): with the strategy "ip" so many bits of an IPv6 address are one client.
    The last three are read and have no effect: buckets need no cleaning.
    """

    max_rate: float = 0.0
    capacity: int = 0
    client_max_rate: float = 0.0
    client_capacity: int = 0
    strategy: str = ""
    key: str = ""
    every: str = "1s"
    ipv6_prefix: Own[int] = IPV6_PREFIX
    headers: Own[bool] = False
    num_shards: int = 0
    cleanup_period: str = ""
    cleanup_threads: int = 0

    @property
    def rate(self) -> Rate | None:
        return rate_of(self.max_rate / self._seconds, self.capacity)

    @property
    def client_rate(self) -> Rate | None:
        return rate_of(self.client_max_rate / self._seconds, self.client_capacity)

    @property
    def _seconds(self) -> float:
        return max(1.0, period(self.every))


def verify_limits(settings: LimitSettings) -> Iterator[tuple[str, str]]:
    if not 1 <= settings.ipv6_prefix <= 128:
        yield "ipv6_prefix", f"expected 1 to 128 bits, found {settings.ipv6_prefix}"
    if settings.headers and isinstance(settings, SharedLimitSettings):
        yield "headers", "not possible with a limit in Redis"


def period(every: str) -> float:
    """Seconds; what is no duration counts as one, as in KrakenD."""
    try:
        seconds = parse_duration(every)
    except ValueError:
        return 1.0
    return seconds if seconds > 0 and math.isfinite(seconds) else 1.0


class SharedLimitSettings(LimitSettings, frozen=True, kw_only=True):
    """``.../redis``: counted in Redis, by all gateways together.

    ``connection_pool`` or ``connection_name``: one of :class:`RedisSettings`. While Redis is away
    each gateway keeps the limit for itself, or, without ``on_failure_allow``, refuses everything.
    """

    connection_pool: str = ""
    connection_name: str = ""
    on_failure_allow: bool = True

    @property
    def pool_name(self) -> str:
        return self.connection_name or self.connection_pool


class RedisPool(Struct, frozen=True, kw_only=True):
    """Where a Redis is. What follows ``tls`` has no effect: there is one connection."""

    name: str = ""
    address: str = ""
    db: int = 0
    user_name: str = ""
    password: str = ""
    client_name: str = ""
    dial_timeout: Seconds = 5.0
    tls: ClientTls | None = None
    conn_max_idle_time: str = ""
    conn_max_life_time: str = ""
    max_active_conns: int = 0
    max_idle_conns: int = 0
    min_idle_conns: int = 0
    max_retries: int = 0
    max_retry_backoff: str = ""
    min_retry_backoff: str = ""
    pool_size: int = 0
    pool_timeout: str = ""
    opentelemetry: dict[str, Any] = {}

    @property
    def host_and_port(self) -> tuple[str, int]:
        """Raises :class:`GatewayError`."""
        try:
            parts = urlsplit(f"//{self.address}")
            return parts.hostname or "localhost", parts.port or REDIS_PORT
        except ValueError as error:
            raise GatewayError(f'redis: "{self.address}" is no address: {error}') from error


class RedisSettings(Struct, frozen=True, kw_only=True):
    """``redis`` on the service. ``clusters``: read, and not implemented."""

    connection_pools: tuple[RedisPool, ...] = ()
    clusters: tuple[dict[str, Any], ...] = ()
