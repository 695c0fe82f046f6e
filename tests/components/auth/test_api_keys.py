"""``auth/api-keys``."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.components.auth.api_keys import HASHES, MAX_KEY_BYTES, ApiKeys, build_find_key
from gateway.components.auth.settings import ApiKey, ApiKeysSettings
from gateway.config.findings import ConfigError
from gateway.core.proxy import Request

from ...http.service import serving
from .support import echoing, get, opened

pytestmark = pytest.mark.anyio

KEYS = [{"key": "one", "roles": ["A", "B"]}, {"key": "twö", "roles": ["C"]}]


def wanting(host: str, *roles: str, **settings: Any) -> dict[str, Any]:
    return {
        "endpoint": "/a",
        "input_headers": ["*"],
        "backend": [{"host": [host], "url_pattern": "/"}],
        "extra_config": {"auth/api-keys": {"roles": roles, **settings}},
    }


def root(**settings: Any) -> dict[str, Any]:
    return {"extra_config": {"auth/api-keys": {"keys": KEYS, **settings}}}


def roles(keys: ApiKeys, key: bytes) -> Sequence[str] | None:
    found = keys.find(key)
    return None if found is None else found[1]


async def test_only_keys_with_a_role_of_the_endpoint_pass() -> None:
    with serving(echoing) as service:
        async with opened(wanting(service.url, "B", "X"), **root()) as app:
            replies = [await get(app, "/a", key) for key in ("one", "twö", "One", "", "one ")]
    assert [reply.status for reply in replies] == [200, 401, 401, 401, 401]
    assert len(service.requests) == 1


async def test_an_endpoint_without_roles_accepts_every_key() -> None:
    with serving(echoing) as service:
        async with opened(wanting(service.url), **root()) as app:
            assert [(await get(app, "/a", key)).status for key in ("one", "twö")] == [200, 200]


async def test_a_refusal_has_no_body() -> None:
    async with opened(wanting("http://127.0.0.1:9999"), **root()) as app:
        reply = await get(app, "/a", "none")
    assert (reply.status, reply.headers, reply.body) == (401, {"content-length": "0"}, b"")


async def test_without_keys_every_request_is_refused() -> None:
    async with opened(wanting("http://127.0.0.1:9999")) as app:
        assert (await get(app, "/a", "one")).status == 401


async def test_each_key_has_a_limit_of_its_own_on_each_endpoint() -> None:
    with serving(echoing) as service:
        limited = wanting(service.url, "A", "C", client_max_rate=0.001)
        other = {**limited, "endpoint": "/b"}
        async with opened(limited, other, **root()) as app:
            asked = (("/a", "one"), ("/a", "one"), ("/b", "one"), ("/a", "twö"), ("/a", "none"))
            replies = [await get(app, target, key) for target, key in asked]
    assert [reply.status for reply in replies] == [200, 429, 200, 200, 401]
    assert (replies[1].headers, replies[1].body) == ({"content-length": "0"}, b"")


async def test_a_key_without_the_role_takes_no_token() -> None:
    with serving(echoing) as service:
        limited = wanting(service.url, "C", client_max_rate=0.001)
        async with opened(limited, **root()) as app:
            keys = ("one", "twö", "one", "twö")
            assert [(await get(app, "/a", key)).status for key in keys] == [401, 200, 401, 429]


@pytest.mark.parametrize(
    ("settings", "target", "headers"),
    [
        ({}, "/a", [(b"authorization", b"Bearer one")]),
        ({}, "/a", [(b"authorization", b"one")]),
        ({"identifier": "X-Key"}, "/a", [(b"x-key", b"one")]),
        ({"strategy": "query_string"}, "/a?key=one", []),
        ({"strategy": "query_string", "identifier": "k"}, "/a?x=1&k=o%6ee", []),
    ],
)
async def test_the_settings_say_where_clients_send_the_key(
    settings: dict[str, Any], target: str, headers: list[tuple[bytes, bytes]]
) -> None:
    with serving(echoing) as service:
        async with opened(wanting(service.url), **root(**settings)) as app:
            assert (await get(app, target, headers=headers)).status == 200
        async with opened(wanting(service.url, **settings), **root()) as app:
            assert (await get(app, target, headers=headers)).status == 200


async def test_the_role_header_replaces_that_of_the_client() -> None:
    evil = [(b"authorization", b"one"), (b"x-role", b"admin")]
    with serving(echoing) as service:
        for roles, told in ((["B", "C"], "B"), ([], "ANY")):
            async with opened(wanting(service.url, *roles), **root(propagate_role="X-Role")) as app:
                answer = (await get(app, "/a", headers=evil)).json()
            assert [value for name, value in answer["headers"] if name == "x-role"] == [told]


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("plain", "key"),
        ("sha256", hashlib.sha256(b"saltkey").hexdigest().upper()),
        ("sha1", hashlib.sha1(b"saltkey").hexdigest()),
        ("fnv128", HASHES["fnv128"](b"saltkey").decode()),
    ],
)
def test_keys_may_be_stored_as_hashes(name: str, kept: str) -> None:
    keys = ApiKeys(ApiKeysSettings(hash=name, salt="salt", keys=(ApiKey(key=kept, roles=("A",)),)))
    assert roles(keys, b"key") == ("A",)
    assert keys.find(b"other") is None
    assert roles(keys, kept.encode()) == (("A",) if name == "plain" else None)


def test_fnv128_is_fnv_1_and_not_fnv_1a() -> None:
    """Values of the reference (isthe.com, FNV-1 128)."""
    assert HASHES["fnv128"](b"") == b"6c62272e07bb014262b821756295c58d"
    assert HASHES["fnv128"](b"a") == b"d228cb69101a8caf78912b704e4a141e"


def test_a_key_that_is_too_long_is_unknown() -> None:
    key = "x" * (MAX_KEY_BYTES + 1)
    assert ApiKeys(ApiKeysSettings(keys=(ApiKey(key=key),))).find(key.encode()) is None


@given(st.sampled_from([*HASHES]), st.binary(), st.binary())
def test_no_request_raises(name: str, header: bytes, query: bytes) -> None:
    keys = ApiKeys(ApiKeysSettings(hash=name, keys=(ApiKey(key="k"),)))
    request = Request("GET", "/", {}, [(b"authorization", header)], b"key" + query)
    for strategy in ("header", "query_string"):
        keys.find(build_find_key(strategy, "")(request) or b"")


@pytest.mark.parametrize(
    "settings", [{"hash": "md5"}, {"strategy": "cookie"}, {"keys": [{"key": ""}]}]
)
async def test_an_unknown_hash_or_strategy_stops_the_start(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="auth/api-keys"):
        async with opened(**root(**settings)):
            pass
