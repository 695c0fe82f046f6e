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
"""The ways to identify a client. Any other value means no limit for clients, as in KrakenD."""

REDIS_PORT = 6379


class BackendLimitSettings(RateLimitSettings, Struct, frozen=True, kw_only=True):
    """``qos/ratelimit/proxy``: a limit of the requests to one backend."""

    max_rate: float = 0.0
    """Requests in each period of `every`. A request above it fails with 500. 0: no limit."""
    capacity: int = 0
    """Tokens of a full bucket: so many requests may pass at once. Absent or 0: the tokens of one
    second, at least 1."""
    every: str = "1s"
    """The period of `max_rate`, a duration such as `10s` or `1m`. An invalid one means `1s`."""

    @property
    def rate(self) -> Rate | None:
        return rate_of(self.max_rate / period(self.every), self.capacity)


class LimitSettings(RateLimitSettings, Struct, frozen=True, kw_only=True):
    """``qos/ratelimit/router`` and ``.../service``: a limit of all clients, and one of each."""

    max_rate: float = 0.0
    """Requests of all clients in each period of `every`. A request above it gets 503. 0: no
    limit."""
    capacity: int = 0
    """Tokens of a full bucket: so many requests may pass at once. Absent or 0: the tokens of one
    second, at least 1."""
    client_max_rate: float = 0.0
    """Requests of each client in each period of `every`. A request above it gets 429, and so does a
    request that does not identify its client. 0: no limit."""
    client_capacity: int = 0
    """As `capacity`, for the bucket of each client."""
    strategy: str = ""
    """How a client is identified, for `client_max_rate`. `ip`: by its address. `header`: by the
    header `key`. `param`: by the parameter `key` of the path."""
    key: str = ""
    """The name of the header or parameter. With `ip`: a header that contains the address; absent:
    the address of the connection, or of `X-Forwarded-For` if the proxy is trusted."""
    every: str = "1s"
    """The period of both rates, a duration of at least `1s`. Any other one means `1s`."""
    ipv6_prefix: Own[int] = IPV6_PREFIX
    """With `ip`: so many bits of an IPv6 address identify a client, 1 to 128."""
    headers: Own[bool] = False
    """Responses have `RateLimit-Limit`, `RateLimit-Remaining` and `RateLimit-Reset`, and refusals
    `Retry-After`. Not possible with limits in Redis or of tiers."""
    num_shards: int = 0
    """Accepted for KrakenD; no effect."""
    cleanup_period: str = ""
    """Accepted for KrakenD; no effect: full buckets are forgotten at once."""
    cleanup_threads: int = 0
    """Accepted for KrakenD; no effect."""

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
    if settings.headers and isinstance(settings, RedisLimitSettings):
        yield "headers", "not possible with a limit in Redis"


def period(every: str) -> float:
    """Seconds; an invalid duration is one second, as in KrakenD."""
    try:
        seconds = parse_duration(every)
    except ValueError:
        return 1.0
    return seconds if seconds > 0 and math.isfinite(seconds) else 1.0


class RedisLimitSettings(LimitSettings, frozen=True, kw_only=True):
    """``qos/ratelimit/router/redis`` and ``.../service/redis``: limits that gateways share."""

    connection_pool: str = ""
    """The `name` of one of the `connection_pools` of `redis` at the root."""
    connection_name: str = ""
    """The same, and used instead of `connection_pool` if both are set."""
    on_failure_allow: bool = True
    """While Redis cannot be reached, each gateway has its own limits. `false`: every request gets
    503 meanwhile."""

    @property
    def pool_name(self) -> str:
        return self.connection_name or self.connection_pool


class RedisPool(Struct, frozen=True, kw_only=True):
    """A Redis server. Each gateway has one connection to it."""

    name: str = ""
    """The name by which limits refer to this server."""
    address: str = ""
    """`host:port`. Without a port: 6379; without a host: localhost."""
    db: int = 0
    """The number of the database."""
    user_name: str = ""
    """The user of the login. Absent: the default user of Redis."""
    password: str = ""
    """The password of the login. Absent: no login."""
    client_name: str = ""
    """The name of the connection in the client list of Redis."""
    dial_timeout: Seconds = 5.0
    """The longest time to connect."""
    tls: ClientTls | None = None
    """TLS of the connection, with the keys of `client_tls`. Absent: no TLS."""
    conn_max_idle_time: str = ""
    """Accepted for KrakenD; no effect: there is one connection."""
    conn_max_life_time: str = ""
    """Accepted for KrakenD; no effect: there is one connection."""
    max_active_conns: int = 0
    """Accepted for KrakenD; no effect: there is one connection."""
    max_idle_conns: int = 0
    """Accepted for KrakenD; no effect: there is one connection."""
    min_idle_conns: int = 0
    """Accepted for KrakenD; no effect: there is one connection."""
    max_retries: int = 0
    """Accepted for KrakenD; no effect: the gateway reconnects without a limit."""
    max_retry_backoff: str = ""
    """Accepted for KrakenD; no effect: the gateway reconnects without a limit."""
    min_retry_backoff: str = ""
    """Accepted for KrakenD; no effect: the gateway reconnects without a limit."""
    pool_size: int = 0
    """Accepted for KrakenD; no effect: there is one connection."""
    pool_timeout: str = ""
    """Accepted for KrakenD; no effect: there is one connection."""
    opentelemetry: dict[str, Any] = {}
    """Accepted for KrakenD; no effect."""

    @property
    def host_and_port(self) -> tuple[str, int]:
        """Raises :class:`GatewayError`."""
        try:
            parts = urlsplit(f"//{self.address}")
            return parts.hostname or "localhost", parts.port or REDIS_PORT
        except ValueError as error:
            raise GatewayError(f'redis: "{self.address}" is not an address: {error}') from error


class RedisSettings(Struct, frozen=True, kw_only=True):
    """``redis`` on the service."""

    connection_pools: tuple[RedisPool, ...] = ()
    """The Redis servers, each with a `name`."""
    clusters: tuple[dict[str, Any], ...] = ()
    """Not implemented: a limit that names a cluster is a limit of each gateway."""
