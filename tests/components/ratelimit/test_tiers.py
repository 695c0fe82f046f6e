"""``qos/ratelimit/tiered``: which tier a client has, and what that limits."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.app.catalog import CATALOG
from gateway.app.check import check
from gateway.components.ratelimit.tiers import TIER_KINDS
from gateway.config.findings import ConfigError
from gateway.config.load import load
from gateway.core.asgi import ASGIApp

from ...http.service import serving
from ..auth.support import echoing, get, opened

pytestmark = pytest.mark.anyio


def tier(value: str, most: int, kind: str = "literal", **limits: Any) -> dict[str, Any]:
    """Each client of it has ``most`` requests."""
    given = {"client_max_rate": most, "client_capacity": most, "every": "1h", **limits}
    own = {"strategy": "header", "key": "X-Id", **given}
    return {"tier_value": value, "tier_value_as": kind, "ratelimit": own}


def tiered(*tiers: dict[str, Any], key: str = "X-Plan") -> dict[str, Any]:
    return {"qos/ratelimit/tiered": {"tier_key": key, "tiers": [*tiers]}}


PLANS = tiered(
    tier("gold", 2),
    tier("silver", 1),
    tier("value.matches('^team-[a-z]+$')", 3, "policy"),
    tier("gold", 9),
)
ALL = {"tier_value_as": "*", "ratelimit": {"max_rate": 1, "capacity": 1, "every": "1h"}}


def endpoint(host: str, extra: dict[str, Any], **keys: Any) -> dict[str, Any]:
    backend = [{"host": [host], "url_pattern": "/"}]
    return {"endpoint": "/a", "backend": backend, "extra_config": extra, **keys}


async def statuses(app: ASGIApp, times: int, plan: str, client: str = "me") -> list[int]:
    headers = [(b"x-plan", plan.encode())] if plan else []
    headers.append((b"x-id", client.encode()))
    return [(await get(app, "/a", headers=headers)).status for _ in range(times)]


@pytest.mark.parametrize("is_service", [False, True])
async def test_the_first_tier_that_matches_limits_each_of_its_clients(is_service: bool) -> None:
    with serving(echoing) as service:
        config = endpoint(service.url, {} if is_service else PLANS)
        async with opened(config, extra_config=PLANS if is_service else {}) as app:
            assert await statuses(app, 3, "gold") == [200, 200, 429]
            assert await statuses(app, 3, "gold", "you") == [200, 200, 429]
            assert await statuses(app, 2, "silver") == [200, 429]
            assert await statuses(app, 4, "team-a") == [200, 200, 200, 429]
            for plan in ("Gold", "team-1", "none", ""):
                assert await statuses(app, 5, plan) == [200] * 5


async def test_a_client_without_a_plan_has_the_tier_of_all_clients() -> None:
    with serving(echoing) as service:
        extra = tiered(tier("gold", 2), ALL, tier("silver", 9))
        async with opened(endpoint(service.url, extra)) as app:
            assert await statuses(app, 3, "gold") == [200, 200, 429]
            assert await statuses(app, 2, "silver") == [200, 503]
            assert await statuses(app, 1, "", "another") == [503]


async def test_a_tier_is_what_the_role_of_a_key_says() -> None:
    keys = {"keys": [{"key": "one", "roles": ["gold"]}], "propagate_role": "X-Plan"}
    extra = {**tiered(tier("gold", 1), ALL), "auth/api-keys": {"roles": ["gold"]}}
    with serving(echoing) as service:
        config = endpoint(service.url, extra)
        async with opened(config, extra_config={"auth/api-keys": keys}) as app:
            sent = [(b"x-plan", b"platinum"), (b"x-id", b"me")]
            replies = [await get(app, "/a", "one", sent) for _ in range(2)]
            assert [reply.status for reply in replies] == [200, 429]


async def test_a_tier_may_have_a_limit_in_redis_alone() -> None:
    limits = {"max_rate": 1, "capacity": 1, "every": "1h"}
    one = {"tier_value": "gold", "ratelimit": limits, "ratelimit_redis": limits}
    two = {"tier_value": "silver", "ratelimit_redis": limits}
    with serving(echoing) as service:
        async with opened(endpoint(service.url, tiered(one, two))) as app:
            assert await statuses(app, 2, "gold") == [200, 503]
            assert await statuses(app, 2, "silver") == [200, 503]


@given(st.binary())
def test_no_header_value_raises(value: bytes) -> None:
    for kind, name in (("literal", "gold"), ("policy", "value.matches('a')"), ("*", "")):
        assert isinstance(TIER_KINDS[kind](name)(value), bool)


def remarks(extra: dict[str, Any], **root: Any) -> str:
    document = {"version": 3, "endpoints": [endpoint("http://a", extra)], "extra_config": root}
    loaded = load(document, CATALOG, {})
    return "\n".join(map(str, (*loaded.findings, *check(loaded.service, CATALOG))))


def test_check_warns_of_tiers_that_do_not_limit() -> None:
    good = {**tiered(tier("gold", 1), ALL), "auth/api-keys": {"roles": ["gold"]}}
    keys = {"keys": [{"key": "one", "roles": ["gold"]}], "propagate_role": "x-plan"}
    root = {"auth/api-keys": keys, "router": {"trusted_proxies": ["10.0.0.0/8"]}}
    assert "tiered" not in remarks(good, **root)
    assert "clients can choose their tier: no token or key sets X-Plan" in remarks(tiered(ALL))
    assert 'no tier is for all clients ("*")' in remarks(PLANS)
    assert 'the tiers after "*" are never used' in remarks(tiered(ALL, tier("gold", 1)))
    assert 'unknown "some": no client has this tier' in remarks(tiered(tier("a", 1, "some")))
    assert "neither ratelimit nor ratelimit_redis is set" in remarks(tiered({"tier_value": "a"}))
    assert "tiers[0].ratelimit.key" in remarks(tiered(tier("a", 1, key="")))


def test_a_policy_with_a_mistake_stops_the_start() -> None:
    with pytest.raises(ConfigError, match=r"tiers\[1\].tier_value: not an expression"):
        remarks(tiered(ALL, tier("value.matches(", 1, "policy")))
