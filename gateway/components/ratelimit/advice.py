"""What ``audit`` says of rate limits. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from ...config.structs import Endpoint, Service
from ...core.families import RateLimitSettings
from ...core.rule import Rule, endpoints, is_anywhere, when
from .settings import LimitSettings


def _believed_addresses(service: Service) -> Iterator[str]:
    """Limits by the address of the client, which any client may choose."""
    if not service.router.forwarded_by_client_ip:
        return
    trusted = service.router.trusted_proxies or ("0.0.0.0/0",)
    if not any(network.endswith("/0") for network in trusted):
        return
    levels: list[tuple[Service | Endpoint, str]] = [(service, "$"), *endpoints(service)]
    for level, path in levels:
        for name, limit in sorted(level.extra_config.items()):
            if isinstance(limit, LimitSettings) and _is_by_address(limit):
                yield f'{path}.extra_config["{name}"]'


def _is_by_address(limit: LimitSettings) -> bool:
    return bool(limit.client_max_rate) and limit.strategy.lower() == "ip"


ADVICE = (
    Rule(
        "3.1.2",
        "HIGH",
        "Limit the rate of requests (qos/ratelimit).",
        lambda service: when(not is_anywhere(service, RateLimitSettings)),
    ),
    Rule(
        "9.3.1",
        "HIGH",
        "Limits by address believe X-Forwarded-For of any client: name router.trusted_proxies.",
        _believed_addresses,
    ),
)
