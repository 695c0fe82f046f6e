"""``auth/signer``: answers that become tokens."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw

from gateway.components.auth.jose import ALGORITHMS, parse_token, read_key
from gateway.components.auth.settings import SignerSettings
from gateway.components.auth.signer import (
    MAX_INLINE_BYTES,
    MAX_SIGNED_BYTES,
    build_payloads,
    build_sign,
    ordered,
)
from gateway.config.findings import ConfigError
from gateway.core.asgi import ASGIApp
from gateway.core.large import size_of
from gateway.encoding import decode_json, encode_json
from tests.watchdog import watched

from ...http.service import answering, message, serving
from ...router.support import Reply
from ..gateways import Backends, ask, document, gateway
from .support import encoded, get, jwk, key_set, opened

pytestmark = pytest.mark.anyio


def signing(host: str, path: Path, alg: str = "HS256", **settings: Any) -> dict[str, Any]:
    """An endpoint that signs what stands under "token"."""
    path.write_bytes(key_set(jwk(alg, is_private=True)))
    signer = {
        "alg": alg,
        "kid": "k",
        "keys_to_sign": ["token"],
        "jwk_local_path": str(path),
        "disable_jwk_security": True,
        **settings,
    }
    return {
        "endpoint": "/a",
        "backend": [{"host": [host], "url_pattern": "/"}],
        "extra_config": {"auth/signer": signer},
    }


async def answer(
    path: Path, body: bytes, alg: str = "HS256", timeout: str = "", **settings: Any
) -> Reply:
    with serving(answering(message(body))) as service:
        endpoint = signing(service.url, path / "keys.json", alg, **settings)
        if timeout:
            endpoint["timeout"] = timeout
        async with opened(endpoint) as app:
            return await get(app, "/a")


@pytest.mark.parametrize("alg", ALGORITHMS)
async def test_what_is_signed_can_be_verified(tmp_path: Path, alg: str) -> None:
    reply = await answer(tmp_path, b'{"token":{"sub":"ann","exp":1.50},"other":{"a":1}}', alg)
    assert reply.json()["other"] == {"a": 1}
    token = parse_token(reply.json()["token"].encode())
    assert (token.header.alg, token.header.kid) == (alg, "k")
    assert token.payload == b'{"exp":1.50,"sub":"ann"}'
    assert read_key(jwk(alg), alg).verifies(token)


async def test_the_gateway_adds_no_headers_of_its_own(tmp_path: Path) -> None:
    reply = await answer(tmp_path, b'{"token":{}}')
    assert reply.headers.keys() == {"content-type", "content-length"}
    assert reply.headers["content-type"] == "application/json; charset=utf-8"


async def test_only_objects_are_signed(tmp_path: Path) -> None:
    for body in (b'{"token":"text"}', b'{"token":[1]}', b'{"token":null}', b'{"a":1}'):
        assert (await answer(tmp_path, body)).json() == json.loads(body)


async def test_the_full_form_is_json(tmp_path: Path) -> None:
    reply = await answer(tmp_path, b'{"token":{}}', full=True, typ="at+jwt")
    parts = json.loads(reply.json()["token"])
    assert parts["payload"] == encoded(b"{}")
    assert json.loads(urlsafe_b64decode(parts["protected"] + "==")) == {
        "alg": "HS256",
        "kid": "k",
        "typ": "at+jwt",
    }
    text = ".".join(parts[name] for name in ("protected", "payload", "signature"))
    assert read_key(jwk("HS256"), "HS256").verifies(parse_token(text.encode()))


async def bare(app: ASGIApp) -> int:
    reply = await get(app, "/a")
    assert (reply.headers, reply.body) == ({"content-length": "0"}, b"")
    return reply.status


async def test_a_failing_backend_is_a_400(tmp_path: Path) -> None:
    async with opened(signing("http://127.0.0.1:9999", tmp_path / "keys.json")) as app:
        assert await bare(app) == 400


async def test_one_failing_backend_of_several_is_a_400_too(tmp_path: Path) -> None:
    with serving(answering(message(b'{"token":{}}'))) as service:
        config = signing(service.url, tmp_path / "keys.json")
        config["backend"].append({"host": ["http://127.0.0.1:9999"], "url_pattern": "/"})
        async with opened(config) as app:
            assert await bare(app) == 400


@pytest.mark.parametrize(
    "settings", [{"kid": "other"}, {"disable_jwk_security": False, "jwk_url": ""}]
)
async def test_nothing_is_signed_without_the_key(tmp_path: Path, settings: dict[str, Any]) -> None:
    with serving(answering(message(b'{"token":{}}'))) as service:
        async with opened(signing(service.url, tmp_path / "keys.json", **settings)) as app:
            assert await bare(app) == 401
    assert service.requests == []


async def test_the_key_may_come_from_a_url(tmp_path: Path) -> None:
    with serving(answering(message(key_set(jwk("HS256"))))) as keys:
        with serving(answering(message(b'{"token":{}}'))) as service:
            config = signing(service.url, tmp_path / "k", jwk_local_path="", jwk_url=keys.url)
            async with opened(config) as app:
                reply = await get(app, "/a")
    assert parse_token(reply.json()["token"].encode()).payload == b"{}"


async def test_a_public_key_stops_the_start(tmp_path: Path) -> None:
    config = signing("http://127.0.0.1:9999", tmp_path / "keys.json", "RS256")
    (tmp_path / "keys.json").write_bytes(key_set(jwk("RS256")))
    with pytest.raises(ConfigError, match="a public key cannot sign"):
        async with opened(config):
            pass


async def test_a_large_object_is_prepared_in_a_helper_process(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    values = ["<"] * 9_000
    body = json.dumps({"other": 1, "token": {"b": values, "a": 1}, "last": {}}).encode()
    with caplog.at_level("DEBUG", "gateway.helpers"):
        reply = await answer(tmp_path, body, timeout="100s")
    assert "helper process" in caplog.text
    assert list(reply.json()) == ["other", "token", "last"]
    token = parse_token(reply.json()["token"].encode())
    assert token.payload == b'{"a":1,"b":[' + b",".join([rb'"\u003c"'] * 9_000) + b"]}"
    assert read_key(jwk("HS256"), "HS256").verifies(token)


@pytest.mark.parametrize("piece", ["x", "<"])
async def test_an_object_that_is_too_large_to_be_signed_is_a_failure(
    tmp_path: Path, piece: str
) -> None:
    size = MAX_SIGNED_BYTES if piece == "x" else MAX_SIGNED_BYTES // 5
    body = json.dumps({"token": {"a": piece * size}}).encode()
    reply = await answer(tmp_path, body, timeout="100s")
    assert (reply.status, reply.body) == (500, b"")


async def test_a_message_that_is_too_large_to_be_signed_blocks_no_queue(tmp_path: Path) -> None:
    body = json.dumps({"token": {"a": "x" * MAX_SIGNED_BYTES}}).encode()
    backends = Backends({"/a": body})
    extra = signing("http://unused.test", tmp_path / "keys.json")["extra_config"]
    async with gateway(backends, document(extra_config=extra)) as app:
        reply = await ask(app)
    assert reply.status == 500
    assert [message.end for message in backends.messages] == ["parked"]


async def test_a_large_list_is_not_signed_as_a_small_one(tmp_path: Path) -> None:
    body = json.dumps({"token": ["x" * MAX_SIGNED_BYTES], "a": {}}).encode()
    reply = await answer(tmp_path, body, timeout="100s")
    assert reply.body == body.replace(b" ", b"")


@pytest.mark.parametrize(
    "value", [b"[%b1]" % (b"1," * 8_000), b"[%b1]" % (b"[]," * 5_400), b'"%b"' % (b"<" * 16_000)]
)
@pytest.mark.parametrize("alg", ["HS512", "PS512", "ES512", "EdDSA"])
def test_signing_takes_no_longer_than_its_bounds_allow(alg: str, value: bytes) -> None:
    objects = {"token": Raw(b'{"a":%b}' % value)}
    assert MAX_INLINE_BYTES * 0.9 < size_of(objects) <= MAX_INLINE_BYTES
    key = read_key(jwk(alg, is_private=True), alg, is_to_sign=True)
    sign = build_sign(SignerSettings(alg=alg, kid="k", full=True))
    with watched(0.2):
        build_payloads(objects)
        sign(b"x" * MAX_SIGNED_BYTES, key)


def test_documents_are_ordered_as_go_writes_them() -> None:
    document = decode_json(b'{"b":{"d":1.0,"c":[{"z":"\\u0041","y":1e5}]},"a":"\\u00e9"}')
    assert encode_json(ordered(document)).decode() == (
        '{"a":"é","b":{"c":[{"y":1e5,"z":"A"}],"d":1.0}}'
    )
