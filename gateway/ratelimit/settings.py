"""The namespaces of rate limits as frozen Structs."""

from __future__ import annotations

import math

from msgspec import Struct

from ..config.units import parse_duration
from .bucket import Rate, rate_of

STRATEGIES = ("ip", "header", "param")
"""How clients are told apart; whatever else stands there means no limit, as in KrakenD."""


class BackendLimitSettings(Struct, frozen=True, kw_only=True):
    """``qos/ratelimit/proxy``: requests to one backend."""

    max_rate: float = 0.0
    capacity: int = 0
    every: str = "1s"

    @property
    def rate(self) -> Rate | None:
        return rate_of(self.max_rate / period(self.every), self.capacity)


class LimitSettings(Struct, frozen=True, kw_only=True):
    """``qos/ratelimit/router`` and ``.../service``: requests of all clients, and of each one.

    The last three are read and have no effect: buckets need no cleaning.
    """

    max_rate: float = 0.0
    capacity: int = 0
    client_max_rate: float = 0.0
    client_capacity: int = 0
    strategy: str = ""
    key: str = ""
    every: str = "1s"
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


def period(every: str) -> float:
    """Seconds; what is no duration counts as one, as in KrakenD."""
    try:
        seconds = parse_duration(every)
    except ValueError:
        return 1.0
    return seconds if seconds > 0 and math.isfinite(seconds) else 1.0
