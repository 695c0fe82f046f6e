"""Whatever a request carries, a whole gateway answers: tokens, keys, origins, addresses, bodies."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.app.service import Gateway, open_gateway
from gateway.core.asgi import Message

from ..components.auth.support import echoing, encoded, jwk, key_set, signed
from ..http.service import serving
from .support import Client, http_scope

SCHEMA = {"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}}
LIMIT = {"client_max_rate": 10**9, "strategy": "ip", "key": "X-Real-Ip"}
GUARDS: dict[str, dict[str, Any]] = {
    "/token": {"auth/validator": {"alg": "HS256", "propagate_claims": [["sub", "x-sub"]]}},
    "/key": {"auth/api-keys": {"roles": ["a"]}},
    "/query-key": {"auth/api-keys": {"roles": ["a"], "strategy": "query_string"}},
    "/body": {"validation/json-schema": SCHEMA},
    "/limited": {"qos/ratelimit/router": LIMIT},
}
ANSWERS = {200, 204, 400, 401, 403, 404, 405, 429}

ASKED = [("POST" if path == "/body" else "GET", path) for path in GUARDS]
ASKED += [("OPTIONS", "/body"), ("OPTIONS", "/limited")]

NAMES = st.just(b"authorization") | st.sampled_from(
    b"""origin access-control-request-method access-control-request-headers cookie
    x-forwarded-for x-forwarded-host x-forwarded-proto x-real-ip forwarded content-type
    access-control-request-private-network""".split()
)
TOKENS = st.dictionaries(st.sampled_from(["alg", "kid", "crit", "x5t"]), st.text() | st.integers())


def allowed(value: bytes) -> bytes:
    """What servers let through of it: no control characters, no space around it."""
    return re.sub(rb"[\x00-\x1f\x7f]", b"", value).strip()


VALUES = st.one_of(
    st.binary(max_size=40),
    st.lists(st.sampled_from([b"10.0.0.1", b"::1", b"[", b"]:80", b",", b" ", b"x-a"])).map(
        b"".join
    ),
    st.sampled_from(
        [b"https://a.test", b"null", b"GET", b"Bearer k", signed({"sub": "\ud800"}).encode()]
    ),
    TOKENS.map(lambda head: f"{encoded(json.dumps(head).encode())}.e30.AAAA".encode()),
).map(allowed)
BODIES = st.binary(max_size=60) | st.recursive(
    st.none() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner),
    max_leaves=5,
).map(lambda value: json.dumps(value).encode())


def configuration(host: str, keys: Path) -> dict[str, Any]:
    keys.write_bytes(key_set(jwk("HS256")))
    source = {"jwk_local_path": str(keys), "disable_jwk_security": True}
    validator = {**GUARDS["/token"]["auth/validator"], **source}
    backend = [{"host": [host], "url_pattern": "/"}]
    endpoints = [
        {
            "endpoint": path,
            "method": "POST" if path == "/body" else "GET",
            "input_headers": ["*"],
            "input_query_strings": ["*"],
            "backend": backend,
            "extra_config": extra,
        }
        for path, extra in {**GUARDS, "/token": {"auth/validator": validator}}.items()
    ]
    root = {
        "security/cors": {"allow_origins": ["https://*.test"], "allow_headers": ["x-a"]},
        "router": {"trusted_proxies": ["192.0.2.0/24"]},
        "auth/api-keys": {"keys": [{"key": "k", "roles": ["a"]}]},
    }
    return {"version": 3, "endpoints": endpoints, "extra_config": root}


async def answer_of(gateway: Gateway, scope: dict[str, Any], body: bytes) -> list[Message]:
    client = Client([body])
    await gateway.asgi(scope, client.receive, client.send)
    return client.sent


@pytest.mark.parametrize("library", ["asyncio", "trio"])
def test_whatever_a_request_carries_it_is_answered(
    library: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(echoing) as service, start_blocking_portal(library) as portal:
        config = configuration(service.url, tmp_path / "keys.json")
        with portal.wrap_async_context_manager(open_gateway(config)) as gateway:

            @settings(deadline=None)
            @given(
                st.sampled_from(ASKED),
                st.lists(st.tuples(NAMES, VALUES), max_size=5),
                st.just(b"k") | st.binary(max_size=20),
                BODIES,
            )
            def ask(
                asked: tuple[str, str],
                headers: list[tuple[bytes, bytes]],
                query: bytes,
                body: bytes,
            ) -> None:
                scope = http_scope(
                    *asked,
                    headers=[(b"host", b"a"), *headers],
                    query_string=b"key=" + query,
                    client=("192.0.2.1", 1),
                )
                start, *_ = portal.call(answer_of, gateway, scope, body)
                assert start["status"] in ANSWERS
                for name, value in start["headers"]:
                    assert not re.search(rb"[\r\n\x00]", name + value)

            ask()
    assert [each for each in caplog.records if each.exc_info] == []
