"""For any request a guard admits or refuses it, and raises no other error."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gateway.components.auth.key_source import FileKeys
from gateway.components.auth.settings import ValidatorSettings
from gateway.components.auth.validator import Validator
from gateway.config.structs import Backend, Endpoint
from gateway.core.proxy import Request
from gateway.errors import Refused

from .support import encoded, jwk, key_set, signed

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**80), 2**80)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(
    ["alg", "kid", "typ", "crit", "b64", "x5t", "x5t#S256", "jku", "jwk", "x5c", "cty", "zip"]
)
CLAIMS = st.sampled_from(["iss", "sub", "aud", "exp", "nbf", "iat", "jti", "roles", "scope", "org"])
SAME = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@pytest.fixture
def ask(tmp_path: Path) -> Callable[[list[tuple[bytes, bytes]]], bool]:
    """Whether a guard that looks at everything admits a request with these headers."""
    path = tmp_path / "keys.json"
    path.write_bytes(key_set(jwk("HS256")))
    wanted = ValidatorSettings(
        alg="HS256",
        roles=("a",),
        scopes=("s",),
        scopes_key="org.scope",
        propagate_claims=(("sub", "x-sub"), ("org.id", "x-org"), ("roles", "x-roles")),
        propagate_claims_preserve_array=True,
        operation_debug=True,
    )
    backend = Backend(url_pattern="/{JWT.sub}/{JWT.aud}")
    open_to_all = ValidatorSettings(alg="HS256", propagate_claims=(("org", "x-org"),))
    guards = [
        Validator(each, Endpoint(backend=(backend,)), [FileKeys(str(path))]).guard
        for each in (wanted, open_to_all)
    ]

    def ask(headers: list[tuple[bytes, bytes]]) -> bool:
        admitted = []
        for guard in guards:
            try:
                guard(Request("GET", "/", {}, headers))
                admitted.append(True)
            except Refused:
                admitted.append(False)
        return any(admitted)

    return ask


Ask = Callable[[list[tuple[bytes, bytes]]], bool]


@SAME
@given(st.lists(st.tuples(st.sampled_from([b"authorization", b"cookie"]), st.binary()), max_size=3))
def test_any_header_without_a_token_is_refused(
    ask: Ask, headers: list[tuple[bytes, bytes]]
) -> None:
    assert not ask(headers)
    assert not ask([(name, b"access_token=" + value) for name, value in headers])


@SAME
@given(st.dictionaries(NAMES, JSON), st.binary(), st.binary())
@example({"alg": "none", "kid": "k"}, b"{}", b"")
@example({"alg": "HS256", "kid": "k", "jwk": {"kty": "oct", "k": "AA"}}, b"{}", b"")
def test_no_token_header_admits_an_unsigned_token(
    ask: Ask, header: dict[str, Any], payload: bytes, signature: bytes
) -> None:
    parts = (json.dumps(header).encode(), payload, signature)
    text = ".".join(encoded(part) for part in parts)
    assert not ask([(b"authorization", f"Bearer {text}".encode())])


@SAME
@given(st.dictionaries(CLAIMS, JSON) | st.dictionaries(st.text(), JSON))
def test_no_claims_of_a_signed_token_raise(ask: Ask, claims: dict[str, Any]) -> None:
    ask([(b"authorization", signed(claims).encode())])


@SAME
@given(st.binary())
@example(b'{"sub":"\\ud800","org":{"id":"\\udfff"}}')
@example(b'{"exp":1e400}')
@example(b'{"sub":' + b"9" * 5000 + b"}")
def test_no_payload_of_a_signed_token_raises(ask: Ask, payload: bytes) -> None:
    ask([(b"authorization", signed(payload).encode())])
