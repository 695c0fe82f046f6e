"""``auth/validator`` in a gateway, and its guard."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from time import time
from typing import Any

import pytest

from gateway.app.service import open_gateway
from gateway.components.auth.claims import needed_claims
from gateway.components.auth.key_source import FileKeys
from gateway.components.auth.settings import ValidatorSettings
from gateway.components.auth.validator import MAX_REMEMBERED_TOKENS, Validator
from gateway.config.findings import ConfigError
from gateway.config.structs import Backend, Endpoint
from gateway.core.proxy import Request
from gateway.errors import Refused

from ...http.service import serving
from .support import (
    echoing,
    encoded,
    endpoint,
    get,
    jwk,
    key_set,
    opened,
    private_key,
    signed,
    validating,
)

pytestmark = pytest.mark.anyio


async def status(path: Path, token: str, **settings: Any) -> int:
    with serving(echoing) as service:
        async with opened(validating(path / "jwk.json", service.url, **settings)) as app:
            return (await get(app, "/a", token)).status


async def test_only_valid_tokens_pass(tmp_path: Path) -> None:
    with serving(echoing) as service:
        async with opened(validating(tmp_path / "jwk.json", service.url)) as app:
            answers = [
                (await get(app, "/a", token)).status
                for token in (
                    signed({"sub": "ann"}),
                    "",
                    signed({"sub": "ann"})[:-4] + "AAAA",
                    signed({"sub": "ann"}, kid="other"),
                    signed({"sub": "ann"}, kid=None),
                    signed({"sub": "ann"}, "HS512"),
                    signed({"exp": time() - 60}),
                    signed(b"no claims"),
                    signed(b"[" * 50_000),
                    "e30.e30.",
                )
            ]
    assert answers == [200, *[401] * 9]
    assert len(service.requests) == 1


async def test_a_refusal_has_no_body(tmp_path: Path) -> None:
    config = validating(tmp_path / "jwk.json", roles=["admin"])
    async with opened(config) as app:
        for token, expected in (("", 401), (signed({"roles": ["user"]}), 403)):
            reply = await get(app, "/a", token)
            assert (reply.status, reply.body) == (expected, b"")
            assert reply.headers == {"content-length": "0"}


async def test_an_expression_about_the_token_is_checked_before_roles(tmp_path: Path) -> None:
    config = validating(tmp_path / "jwk.json", roles=["admin"])
    config["extra_config"]["validation/cel"] = [{"check_expr": "JWT.sub == 'ann'"}]
    tokens = {
        401: {"sub": "bob", "roles": ["user"]},
        403: {"sub": "ann", "roles": ["user"]},
        500: {"sub": "ann", "roles": ["admin"]},  # nothing is behind this endpoint
    }
    async with opened(config) as app:
        for expected, claims in tokens.items():
            assert (await get(app, "/a", signed(claims))).status == expected


async def test_a_token_with_more_claims_than_a_macro_may_see_is_refused(tmp_path: Path) -> None:
    config = validating(tmp_path / "jwk.json", roles=["r"])
    config["extra_config"]["validation/cel"] = [{"check_expr": "JWT.roles.exists(r, r == 'r')"}]
    async with opened(config) as app:
        for many, expected in ((499, 500), (501, 401)):  # nothing is behind this endpoint
            token = signed({"roles": ["r"] * many})
            assert (await get(app, "/a", token)).status == expected


async def test_a_token_without_algorithm_is_refused(tmp_path: Path) -> None:
    for alg in ("none", "None", "NONE", ""):
        header = encoded(json.dumps({"alg": alg, "kid": "k"}).encode())
        assert await status(tmp_path, f"{header}.e30.") == 401


async def test_a_public_key_is_no_secret(tmp_path: Path) -> None:
    """The attack on those who let the token choose: signed by HMAC with the public key."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    pem = (
        private_key("RS256")
        .public_key()
        .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    (tmp_path / "rs.json").write_bytes(key_set(jwk("RS256")))
    settings = {"alg": "RS256", "jwk_local_path": str(tmp_path / "rs.json")}
    with serving(echoing) as service:
        config = endpoint(service.url, {**settings, "disable_jwk_security": True})
        async with opened(config) as app:
            assert (await get(app, "/a", signed({}, "HS256", key=pem))).status == 401
            assert (await get(app, "/a", signed({}, "RS256"))).status == 200


async def test_a_token_without_exp_is_refused_where_it_is_required(tmp_path: Path) -> None:
    assert await status(tmp_path, signed({})) == 200
    assert await status(tmp_path, signed({}), require_exp=True) == 401
    assert await status(tmp_path, signed({"exp": time() + 60}), require_exp=True) == 200


async def test_claims_replace_headers_and_fill_paths(tmp_path: Path) -> None:
    propagated = [["sub", "X-Sub"], ["none", "x-none"], ["roles", "x-roles"], ["malformed"]]
    config = validating(tmp_path / "jwk.json", propagate_claims=propagated)
    config["input_headers"] = ["X-Sub", "x-none", "x-roles"]
    with serving(echoing) as service:
        config["backend"] = [{"host": [service.url], "url_pattern": "/{JWT.org.id}/{JWT.sub}"}]
        async with opened(config) as app:
            token = signed({"sub": "ann", "org": {"id": 7}, "roles": ["a", "b"]})
            reply = await get(app, "/a", token, [(b"x-sub", b"evil"), (b"x-none", b"evil")])
            refused = await get(app, "/a", signed({"sub": "ann"}))
    answer = reply.json()
    told = {name: value for name, value in answer["headers"] if not name.startswith("x-forw")}
    assert told == {"x-sub": "ann", "x-none": "", "x-roles": "a,b"}
    assert answer["target"] == "/7/ann"
    assert (refused.status, len(service.requests)) == (500, 1)


async def test_connection_takes_no_header_of_the_gateways_own_from_a_backend(
    tmp_path: Path,
) -> None:
    config = validating(tmp_path / "jwk.json", propagate_claims=[["sub", "x-sub"]])
    config["input_headers"] = ["*"]
    named = b"X-Sub, Authorization, User-Agent, X-Forwarded-For, Content-Length, X-Mine"
    with serving(echoing) as service:
        host = service.url.replace("://", "://me:secret@")
        config["backend"] = [{"host": [host], "url_pattern": "/", "disable_host_sanitize": True}]
        config["extra_config"]["auth/validator"]["auth_header_name"] = "X-Token"
        async with opened(config) as app:
            token = (b"x-token", signed({"sub": "ann"}).encode())
            mine = (b"x-mine", b"1")
            reply = await get(app, "/a", "", [(b"connection", named), token, mine])
    names = {name for name, _ in reply.json()["headers"]}
    assert names >= {"x-sub", "authorization", "x-forwarded-for"}
    assert "x-mine" not in names


async def test_items_of_a_claim_may_be_headers_of_their_own(tmp_path: Path) -> None:
    config = validating(
        tmp_path / "jwk.json",
        propagate_claims=[["roles", "x-roles"]],
        propagate_claims_preserve_array=True,
    )
    config["input_headers"] = ["x-roles"]
    with serving(echoing) as service:
        config["backend"] = [{"host": [service.url], "url_pattern": "/"}]
        async with opened(config) as app:
            reply = await get(app, "/a", signed({"roles": ["a", "b"]}))
    roles = [value for name, value in reply.json()["headers"] if name == "x-roles"]
    assert roles == ["a", "b"]


async def test_a_line_break_in_a_claim_reaches_no_backend(tmp_path: Path) -> None:
    config = validating(tmp_path / "jwk.json", propagate_claims=[["sub", "x-sub"]])
    config["input_headers"] = ["x-sub"]
    with serving(echoing) as service:
        config["backend"] = [{"host": [service.url], "url_pattern": "/"}]
        async with opened(config) as app:
            reply = await get(app, "/a", signed({"sub": "a\r\nX-Role: admin"}))
    assert (reply.status, service.requests) == (500, [])


async def test_operation_debug_logs_why_a_token_is_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    token = signed({"roles": "user"})
    await status(tmp_path, token, roles=["admin"])
    assert "403" not in caplog.text
    await status(tmp_path, token, roles=["admin"], operation_debug=True)
    assert "/a: 403: the token has none of the required roles" in caplog.text
    assert token not in caplog.text


async def test_with_keys_that_cannot_be_trusted_every_request_is_refused(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        async with opened(endpoint("http://127.0.0.1:9999", {"alg": "HS256"})) as app:
            assert (await get(app, "/a", signed({}))).status == 401
    assert "cannot be trusted" in caplog.text


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"alg": "XX1"}, '.alg: unknown "XX1"'),
        ({"jwk_local_path": "/nowhere.json"}, "cannot read /nowhere.json"),
        ({"jwk_local_ca": "/nowhere.pem"}, ".jwk_local_ca: cannot read /nowhere.pem"),
        ({"jwk_fingerprints": ["?"]}, ".jwk_fingerprints"),
        ({"secret_url": "base64key://", "cypher_key": "x"}, "not implemented"),
        ({"cache": True}, ".cache"),
        ({"cache_duration": -1}, ".cache_duration"),
    ],
)
async def test_invalid_settings_stop_the_start(
    tmp_path: Path, settings: dict[str, Any], word: str
) -> None:
    config = validating(tmp_path / "jwk.json", **settings)
    with pytest.raises(ConfigError) as raised:
        async with open_gateway({"version": 3, "endpoints": [config]}):
            pass
    assert word in str(raised.value)


@pytest.mark.parametrize("content", [b"", b"[]", b'{"keys":1}', b'{"keys":[{"kty":"oct"}]}'])
async def test_a_file_without_keys_stops_the_start(tmp_path: Path, content: bytes) -> None:
    config = validating(tmp_path / "jwk.json")
    (tmp_path / "jwk.json").write_bytes(content)
    with pytest.raises(ConfigError, match="jwk_local_path"):
        async with open_gateway({"version": 3, "endpoints": [config]}):
            pass


# The guard alone.


def guard(tmp_path: Path, **settings: Any) -> Validator:
    path = tmp_path / "jwk.json"
    path.write_bytes(key_set(jwk("HS256"), jwk("HS256", "other", use="enc")))
    given = ValidatorSettings(alg="HS256", jwk_local_path=str(path), **settings)
    return Validator(given, Endpoint(), [FileKeys(str(path))])


def bearing(token: str) -> Request:
    return Request("GET", "/", {}, [(b"authorization", token.encode())])


def test_a_remembered_token_expires(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    validator = guard(tmp_path)
    token = signed({"exp": 2_000_000_000, "sub": "ann"})
    request = bearing(token)
    validator.guard(request)
    assert request.claims == {"exp": 2_000_000_000, "sub": "ann"}
    monkeypatch.setattr("gateway.components.auth.validator.time", lambda: 2_000_000_002.0)
    with pytest.raises(Refused, match="expired"):
        validator.guard(bearing(token))


def test_a_remembered_token_is_forgotten_with_its_key(tmp_path: Path) -> None:
    path = tmp_path / "jwk.json"
    path.write_bytes(key_set(jwk("HS256")))
    source = FileKeys(str(path))
    validator = Validator(ValidatorSettings(alg="HS256"), Endpoint(), [source])
    token = signed({})
    validator.guard(bearing(token))
    source.jwks, source.version = (), 1
    with pytest.raises(Refused, match="key is unknown"):
        validator.guard(bearing(token))


def test_remembered_tokens_have_a_bound(tmp_path: Path) -> None:
    validator = guard(tmp_path)
    for number in range(MAX_REMEMBERED_TOKENS + 5):
        validator.guard(bearing(signed({"n": number})))
    assert len(validator._remembered) == MAX_REMEMBERED_TOKENS


def test_a_key_for_encryption_verifies_nothing(tmp_path: Path) -> None:
    with pytest.raises(Refused):
        guard(tmp_path).guard(bearing(signed({}, kid="other")))


@pytest.mark.parametrize(
    ("strategy", "kid", "header", "is_known"),
    [
        ("kid", "k", {}, True),
        ("unknown", "k", {}, True),
        ("x5t", "k", {"x5t": "dGh1bWI"}, True),
        ("x5t", "k", {}, False),
        ("x5t", "dGh1bWI", {}, True),
        ("x5t#S256", "k", {"x5t#S256": "dGh1bWIy"}, True),
        ("kid_x5t", "k", {"x5t": "dGh1bWI="}, True),
        ("kid_x5t", "k", {}, False),
    ],
)
def test_a_key_is_found_by_what_the_strategy_names(
    tmp_path: Path, strategy: str, kid: str, header: dict[str, Any], is_known: bool
) -> None:
    path = tmp_path / "jwk.json"
    named = {**jwk("HS256"), "x5t": "dGh1bWI=", "x5t#S256": "dGh1bWIy"}
    path.write_bytes(key_set(named))
    settings = ValidatorSettings(alg="HS256", key_identify_strategy=strategy)
    validator = Validator(settings, Endpoint(), [FileKeys(str(path))])
    request = bearing(signed({}, kid=kid, **header))
    if is_known:
        validator.guard(request)
    else:
        with pytest.raises(Refused):
            validator.guard(request)


def test_claims_are_needed_wherever_a_backend_names_them() -> None:
    backend = Backend(
        url_pattern="/{JWT.sub}/x?y={JWT.org.id}",
        extra_config={"a": {"key": "JWT.jti", "list": ["{JWT.aud}"], "text": "no JWT.here"}},
    )
    assert needed_claims(Endpoint(backend=(backend,))) == ("aud", "jti", "org.id", "sub")
