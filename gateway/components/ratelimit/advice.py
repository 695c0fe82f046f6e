"""What ``audit`` says of rate limits. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from ...config.structs import Endpoint, Service
from ...core.rule import Rule, endpoints

LIMITS_BY_CLIENT = (
    *("qos/ratelimit/router", "qos/ratelimit/router/redis"),
    *("qos/ratelimit/service", "qos/ratelimit/service/redis"),
)


def _believed_addresses(service: Service) -> Iterator[str]:
    """Limits by the address of the client, which any client may choose."""
    if not service.router.forwarded_by_client_ip:
        return
    trusted = service.router.trusted_proxies or ("0.0.0.0/0",)
    if not any(network.endswith("/0") for network in trusted):
        return
    levels: list[tuple[Service | Endpoint, str]] = [(service, "$"), *endpoints(service)]
    for level, path in levels:
        for name in LIMITS_BY_CLIENT:
            limit = level.extra_config.get(name)
            if limit is not None and limit.client_max_rate and limit.strategy.lower() == "ip":
                yield f'{path}.extra_config["{name}"]'


ADVICE = (
    Rule(
        "9.3.1",
        "HIGH",
        "Limits by address believe X-Forwarded-For of any client: name router.trusted_proxies.",
        _believed_addresses,
    ),
)
