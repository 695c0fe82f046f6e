"""Traps of ``auth/``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.app.catalog import CATALOG
from gateway.app.check import check
from gateway.config.findings import ConfigError
from gateway.config.load import load

from ...components.auth.support import jwk


def findings_of_tokens(folder: Path, content: str = "", **settings: Any) -> str:
    """Of an endpoint that has no others, but for what ``settings`` change."""
    path = folder / "keys.json"
    path.write_text(content or f'{{"keys":[{{"kty":"oct","kid":"k","k":"{"A" * 44}"}}]}}')
    path.chmod(0o600)
    validator = {
        "alg": "HS256",
        "jwk_local_path": str(path),
        "disable_jwk_security": True,
        "audience": ["here"],
        "require_exp": True,
        **settings,
    }
    endpoint = {
        "endpoint": "/a",
        "backend": [{"host": ["http://backend"], "url_pattern": "/{JWT.sub}"}],
        "extra_config": {"auth/validator": validator},
    }
    service = load({"version": 3, "endpoints": [endpoint]}, CATALOG, {}).service
    return "\n".join(map(str, check(service, CATALOG)))


def test_a_good_validator_has_only_the_hint_about_the_extension(tmp_path: Path) -> None:
    text = findings_of_tokens(tmp_path)
    assert text.endswith("only this gateway knows: require_exp")
    assert "\n" not in text


URL = {"jwk_local_path": "", "jwk_url": "https://keys"}


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"require_exp": False}, "valid forever"),
        ({"audience": []}, "other services"),
        ({"scopes": ["a"]}, "scopes are not checked"),
        ({"scopes_matcher": "some"}, '"any" is used'),
        ({"key_identify_strategy": "x"}, '"kid" is used'),
        ({"disable_jwk_security": False}, "every request gets 401"),
        ({"jwk_url": "https://keys"}, "no effect together with jwk_local_path"),
        ({"alg": "RS256"}, "contains no key for RS256"),
        ({"alg": "HS512"}, "less than 64 bytes"),
        ({"cipher_suites": [1]}, "unknown 1"),
        (URL, "the key server is not verified"),
        ({**URL, "disable_jwk_security": False}, "shared secret"),
        (URL, "a fetch every 60 s"),
        ({"propagate_claims": [["sub"]]}, "expected a claim and a header"),
        ({"propagate_claims": [["sub", "x-sub"]]}, 'backends do not get "x-sub"'),
    ],
)
def test_a_trap_of_a_validator_is_a_warning(
    tmp_path: Path, settings: dict[str, Any], word: str
) -> None:
    assert word in findings_of_tokens(tmp_path, **settings)


def test_a_file_of_secrets_that_every_user_can_read_is_a_warning(tmp_path: Path) -> None:
    private, public = jwk("RS256", is_private=True), jwk("RS256")
    cases = ((private, 0o604, True), (private, 0o640, False), (public, 0o604, False))
    for key, mode, is_exposed in cases:
        path = tmp_path / f"{mode}.json"
        path.write_text(json.dumps({"keys": [key]}))
        path.chmod(mode)
        text = findings_of_tokens(tmp_path, alg="RS256", jwk_local_path=str(path))
        word = f"jwk_local_path: every user can read {path}: chmod o-r"
        assert (word in text) is is_exposed


def test_a_private_key_for_verifying_is_a_warning(tmp_path: Path) -> None:
    keys = json.dumps({"keys": [jwk("RS256", "mine", is_private=True), jwk("RS256", "theirs")]})
    text = findings_of_tokens(tmp_path, keys, alg="RS256")
    assert 'key "mine": a private key cannot verify tokens here' in text
    assert "theirs" not in text


def test_a_claim_without_a_token_is_a_warning() -> None:
    endpoint = {
        "endpoint": "/a",
        "backend": [{"host": ["http://backend"], "url_pattern": "/{JWT.sub}"}],
    }
    service = load({"version": 3, "endpoints": [endpoint]}, CATALOG, {}).service
    assert "{JWT.sub} has no value" in "\n".join(map(str, check(service, CATALOG)))


def findings_of_signer(folder: Path, backend: dict[str, Any] | None = None, **settings: Any) -> str:
    path = folder / "keys.json"
    path.write_text(f'{{"keys":[{{"kty":"oct","kid":"k","k":"{"A" * 44}"}}]}}')
    path.chmod(0o600)
    signer = {
        "alg": "HS256",
        "kid": "k",
        "keys_to_sign": ["token"],
        "jwk_local_path": str(path),
        "disable_jwk_security": True,
        **settings,
    }
    endpoint = {
        "endpoint": "/a",
        "backend": [{"host": ["http://backend"], **(backend or {})}],
        "extra_config": {"auth/signer": signer},
    }
    service = load({"version": 3, "endpoints": [endpoint]}, CATALOG, {}).service
    return "\n".join(map(str, check(service, CATALOG)))


def test_a_good_signer_has_no_warnings(tmp_path: Path) -> None:
    assert findings_of_signer(tmp_path) == ""


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"kid": "other"}, 'no key "other" in the file'),
        ({"keys_to_sign": []}, "nothing is signed"),
        ({"disable_jwk_security": False}, "every request gets 401"),
    ],
)
def test_a_trap_of_a_signer_is_a_warning(
    tmp_path: Path, settings: dict[str, Any], word: str
) -> None:
    assert word in findings_of_signer(tmp_path, **settings)


def test_a_token_for_a_broker_is_a_warning(tmp_path: Path) -> None:
    consumer = {"name": "q", "exchange": "ex", "routing_key": ["#"], "durable": True}
    credentials = {"token_url": "https://server/token"}
    backend = {
        "host": ["amqp://broker"],
        "disable_host_sanitize": True,
        "extra_config": {
            "backend/amqp/consumer": consumer,
            "auth/client-credentials": credentials,
        },
    }
    assert "only requests to HTTP backends carry a token" in findings_of_signer(tmp_path, backend)


def findings_of_root(**extra: Any) -> str:
    service = load({"version": 3, "extra_config": extra}, CATALOG, {}).service
    return "\n".join(map(str, check(service, CATALOG)))


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({}, "nothing can be revoked"),
        ({"token_keys": ["jti"]}, "there is none"),
        ({"token_keys": ["jti"], "revoke_server_ping_url": "http://x"}, "is not used"),
        ({"token_keys": ["jti"]}, "a restart forgets"),
    ],
)
def test_a_trap_of_a_revoker_is_a_warning(settings: dict[str, Any], word: str) -> None:
    assert word in findings_of_root(**{"auth/revoker": {"TTL": 60, **settings}})


def test_an_open_management_port_is_a_warning() -> None:
    revoker = {"TTL": 60, "token_keys": ["jti"]}
    text = findings_of_root(**{"auth/revoker": revoker, "gateway": {"management_port": 9090}})
    assert "any client that reaches the management port" in text


@pytest.mark.parametrize("settings", [{"roles": ["A"]}, {"alg": "HS256", "jwk_url": "https://k"}])
def test_a_validator_at_the_root_stops_the_start(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="at the root only shared_cache_duration has an effect"):
        findings_of_root(**{"auth/validator": settings})
    shared = {"auth/validator": {"@comment": "of all", "shared_cache_duration": 60}}
    assert findings_of_root(**shared) == ""


@pytest.mark.parametrize(
    ("namespace", "settings"),
    [
        ("auth/api-keys", {"hash": "sha256", "keys": [{"key": "a"}]}),
        ("auth/basic", {"users": {"me": "$2b$04$" + "a" * 53}}),
    ],
)
def test_check_warns_of_authentication_that_no_endpoint_has(
    namespace: str, settings: dict[str, Any]
) -> None:
    text = f"has no effect: no endpoint has {namespace}"
    assert findings_of_root(**{namespace: settings}) == (
        f'warning: $.extra_config["{namespace}"]: {text}'
    )


def test_logins_without_users_are_warnings() -> None:
    protected = {"endpoint": "/a", "backend": [{"host": ["http://b"]}]}
    document = {"version": 3, "endpoints": [{**protected, "extra_config": {"auth/basic": {}}}]}
    (finding,) = check(load(document, CATALOG, {}).service, CATALOG)
    assert "no users: every request gets 401" in finding.text


@pytest.mark.parametrize(
    ("root", "endpoint", "word"),
    [
        ({"keys": [{"key": "a"}]}, {}, "the configuration contains the keys themselves"),
        ({"keys": [{"key": "a", "roles": ["A"]}]}, {"roles": ["B"]}, "no key has one"),
        (None, {"roles": ["A"]}, "there are no keys at the root"),
        ({"keys": [], "client_max_rate": 5}, {}, "has no effect at the root"),
    ],
)
def test_a_trap_of_api_keys_is_a_warning(
    root: dict[str, Any] | None, endpoint: dict[str, Any], word: str
) -> None:
    protected = {
        "endpoint": "/a",
        "backend": [{"host": ["http://backend"]}],
        "extra_config": {"auth/api-keys": endpoint},
    }
    extra = {} if root is None else {"auth/api-keys": root}
    document = {"version": 3, "endpoints": [protected], "extra_config": extra}
    service = load(document, CATALOG, {}).service
    assert word in "\n".join(map(str, check(service, CATALOG)))
