"""The traps of rate limits that ``gateway check`` warns of."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.app.catalog import CATALOG
from gateway.app.check import check
from gateway.config.findings import ConfigError
from gateway.config.load import load

TRUSTED = {"router": {"trusted_proxies": ["10.0.0.0/8"]}}


def findings_of(
    settings: dict[str, Any] | None = None,
    *,
    service: dict[str, Any] | None = None,
    backend: dict[str, Any] | None = None,
    path: str = "/a/{id}",
    calls: int = 1,
) -> dict[str, str]:
    """Key of the namespace -> what is said of it."""
    limits = {"qos/ratelimit/proxy": backend} if backend is not None else {}
    endpoint = {
        "endpoint": path,
        "concurrent_calls": calls,
        "backend": [{"url_pattern": "/", "host": ["http://a.test"], "extra_config": limits}],
        "extra_config": {"qos/ratelimit/router": settings} if settings is not None else {},
    }
    document = {"version": 3, "endpoints": [endpoint], "extra_config": service or TRUSTED}
    found = check(load(document, CATALOG, {}).service, CATALOG)
    return {each.path.partition('"]')[2].lstrip("."): each.text for each in found}


@pytest.mark.parametrize(
    "settings",
    [
        {"max_rate": 10},
        {"max_rate": 10, "capacity": 50},
        {"max_rate": 5, "every": "10m", "capacity": 5},
        {"client_max_rate": 10, "strategy": "header", "key": "X-Token"},
        {"client_max_rate": 10, "strategy": "param", "key": "id"},
        {"client_max_rate": 10, "strategy": "IP"},
    ],
)
def test_a_good_limit_has_no_warnings(settings: dict[str, Any]) -> None:
    assert findings_of(settings) == {}


@pytest.mark.parametrize(
    ("settings", "key", "word"),
    [
        ({}, "max_rate", "there is no limit"),
        ({"max_rate": 0}, "max_rate", "there is no limit"),
        ({"max_rate": 1, "strategy": "ip"}, "strategy", "no effect"),
        ({"client_max_rate": 1}, "strategy", "missing: clients have no limit"),
        ({"client_max_rate": 1, "strategy": "cookie"}, "strategy", 'unknown "cookie"'),
        ({"client_max_rate": 1, "strategy": "header"}, "key", "every request is refused"),
        ({"client_max_rate": 1, "strategy": "param"}, "key", "every request is refused"),
        ({"client_max_rate": 1, "strategy": "param", "key": "no"}, "key", "no parameter {no}"),
        (
            {"client_max_rate": 1, "strategy": "ip", "key": "X-Real"},
            "key",
            "any client can send its own X-Real",
        ),
        ({"max_rate": 5, "every": "10m"}, "capacity", "not set: 1 is used"),
        ({"max_rate": 100, "capacity": 10}, "capacity", "less than the rate of one second"),
        ({"max_rate": 1, "every": "soon"}, "every", "is not a duration"),
        ({"max_rate": 1, "every": "10ms"}, "every", '"1s" is used'),
    ],
)
def test_a_trap_of_limits_is_a_warning(settings: dict[str, Any], key: str, word: str) -> None:
    [(where, text)] = findings_of(settings).items()
    assert (where, word in text) == (key, True)


@pytest.mark.parametrize(
    ("router", "is_warned"),
    [
        ({}, True),
        ({"trusted_proxies": ["0.0.0.0/0"]}, True),
        ({"trusted_proxies": ["10.0.0.0/8"]}, False),
        ({"forwarded_by_client_ip": False}, False),
    ],
)
def test_addresses_that_clients_can_choose_are_a_warning(
    router: dict[str, Any], is_warned: bool
) -> None:
    found = findings_of({"client_max_rate": 1, "strategy": "ip"}, service={"router": router})
    assert found.keys() == ({"strategy"} if is_warned else set())


def test_a_service_has_no_path_parameters() -> None:
    settings = {"client_max_rate": 1, "strategy": "param", "key": "id"}
    found = findings_of(service={"qos/ratelimit/service": settings})
    assert "every request is refused" in found["strategy"]


POOLS = {
    "connection_pools": [{"name": "one", "address": "127.0.0.1"}],
    "clusters": [{"name": "many", "addresses": []}],
}


@pytest.mark.parametrize(
    ("settings", "key", "word"),
    [
        ({"connection_pool": "other"}, "connection_pool", 'there is no pool "other"'),
        ({"connection_name": "many"}, "connection_name", "clusters are not implemented"),
        ({}, "connection_pool", 'there is no pool ""'),
        (
            {"connection_pool": "one", "on_failure_allow": False},
            "on_failure_allow",
            "every request is refused",
        ),
        ({"connection_name": "one", "max_rate": 0}, "max_rate", "there is no limit"),
    ],
)
def test_a_trap_of_limits_in_redis_is_a_warning(
    settings: dict[str, Any], key: str, word: str
) -> None:
    limits = {"qos/ratelimit/service/redis": {"max_rate": 1, **settings}}
    [(where, text)] = findings_of(service={"redis": POOLS, **limits}).items()
    assert (where, word in text) == (key, True)


def test_a_good_limit_in_redis_has_no_warnings() -> None:
    limits = {"qos/ratelimit/service/redis": {"max_rate": 1, "connection_pool": "one"}}
    assert findings_of(service={"redis": POOLS, **limits}) == {}


@pytest.mark.parametrize(
    ("backend", "calls", "key", "word"),
    [
        ({}, 1, "max_rate", "there is no limit"),
        ({"max_rate": 5, "every": "10m"}, 1, "capacity", "not set: 1 is used"),
        ({"max_rate": 5, "every": "-1s"}, 1, "every", '"1s" is used'),
        ({"max_rate": 5}, 3, "", "each of the 3 concurrent calls"),
    ],
)
def test_a_trap_of_limits_of_backends_is_a_warning(
    backend: dict[str, Any], calls: int, key: str, word: str
) -> None:
    [(where, text)] = findings_of(backend=backend, calls=calls).items()
    assert (where, word in text) == (key, True)


def test_a_header_prefix_is_a_hint_and_an_invalid_one_stops_the_start() -> None:
    limit: dict[str, Any] = {"client_max_rate": 1, "strategy": "ip"}
    assert findings_of({**limit, "ipv6_prefix": 56}) == {"": "only this gateway knows: ipv6_prefix"}
    tiers = {"tier_key": "x", "tiers": [{"tier_value_as": "*", "ratelimit": {"ipv6_prefix": 129}}]}
    for prefix in (0, 129):
        with pytest.raises(ConfigError, match="ipv6_prefix: expected 1 to 128 bits, found"):
            findings_of({**limit, "ipv6_prefix": prefix})
    with pytest.raises(ConfigError, match=r"tiers\[0\].ratelimit.ipv6_prefix: expected 1 to 128"):
        findings_of(service={"qos/ratelimit/tiered": tiers})


def test_headers_are_a_hint_and_stop_the_start_where_they_are_not_possible() -> None:
    limit: dict[str, Any] = {"max_rate": 1, "headers": True}
    assert findings_of(limit) == {"": "only this gateway knows: headers"}
    redis = {"qos/ratelimit/service/redis": limit}
    with pytest.raises(ConfigError, match="headers: not possible with a limit in Redis"):
        findings_of(service=redis)
    tiers = {"tier_key": "x", "tiers": [{"tier_value_as": "*", "ratelimit": limit}]}
    with pytest.raises(ConfigError, match=r"tiers\[0\].ratelimit.headers: not possible with tiers"):
        findings_of(service={"qos/ratelimit/tiered": tiers})
