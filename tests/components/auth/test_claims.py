"""Claims of tokens, without keys."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.components.auth.claims import (
    Claims,
    build_claims_match,
    check_registered,
    claim_text,
    claim_texts,
    read_claims,
)
from gateway.components.auth.jose import InvalidToken
from gateway.config.json_types import Json

NOW = 1000.0


def until(claims: dict[str, Any], issuer: str = "", *audience: str) -> float:
    registered, _ = read_claims(json.dumps(claims).encode())
    return check_registered(registered, issuer, audience, 1.0, NOW)


@pytest.mark.parametrize(
    ("claims", "end"),
    [
        ({}, math.inf),
        ({"exp": None, "iss": None}, math.inf),
        ({"exp": 999}, 1000),
        ({"exp": 1e300}, 1e300),
        ({"nbf": 1001, "iat": 1001.9}, math.inf),
    ],
)
def test_a_token_is_valid_until_exp_and_the_leeway(claims: dict[str, Any], end: float) -> None:
    assert until(claims) == end


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": 998},
        {"exp": 998.9},
        {"exp": -1},
        {"exp": "9999999999"},
        {"exp": True},
        {"nbf": 1002},
        {"iat": 1002},
        {"iss": 1},
        {"sub": {}},
        {"aud": {}},
        {"aud": [1]},
    ],
)
def test_claims_that_are_not_valid_now_or_have_wrong_types_are_refused(
    claims: dict[str, Any],
) -> None:
    with pytest.raises(InvalidToken):
        until(claims)


def test_the_issuer_and_every_audience_must_be_named() -> None:
    until({"iss": "i", "aud": ["a", "b", "c"]}, "i", "a", "b")
    until({"iss": "i", "aud": "a"}, "i", "a")
    for claims in ({"aud": ["a"]}, {"iss": "i", "aud": ["a"]}, {"iss": "I", "aud": ["a", "b"]}):
        with pytest.raises(InvalidToken):
            until(claims, "i", "a", "b")


@pytest.mark.parametrize("payload", [b"", b"[]", b"null", b"\xff", b'{"a":"\xff"}', b"{" * 99999])
def test_claims_are_a_json_object(payload: bytes) -> None:
    with pytest.raises(InvalidToken):
        read_claims(payload)


@given(st.binary())
def test_no_payload_raises_anything_else(payload: bytes) -> None:
    with suppress(InvalidToken):
        read_claims(payload)


@pytest.mark.parametrize(
    ("claims", "admits"),
    [
        ({"r": ["a", "x"]}, True),
        ({"r": "x a"}, True),
        ({"r": "x  a"}, True),
        ({"r": " a"}, False),
        ({"r": "a "}, False),
        ({"r": [" a"]}, False),
        ({"r": "x\ta"}, False),
        ({"r": ["ax"]}, False),
        ({"r": [1, ["a"], None]}, False),
        ({"r": {"a": 1}}, False),
        ({"r": ""}, False),
        ({"r": 1}, False),
        ({}, False),
    ],
)
def test_roles_are_a_list_or_a_string(claims: dict[str, Any], admits: bool) -> None:
    check = build_claims_match("r", ["a", "b"], is_nested=False)
    assert check is not None
    assert check(claims) is admits


@pytest.mark.parametrize(
    ("key", "is_nested", "admits"),
    [
        ("x.r", True, True),
        ("x.r", False, False),
        ("http://x.r", True, True),
        ("x.y.r", True, False),
    ],
)
def test_dots_lead_into_objects_unless_the_name_is_a_url(
    key: str, is_nested: bool, admits: bool
) -> None:
    check = build_claims_match(key, ["a"], is_nested=is_nested)
    assert check is not None
    assert check({"x": {"r": "a", "y": []}, "http://x.r": ["a"]}) is admits


def test_all_scopes_or_any() -> None:
    every = build_claims_match("s", ["a", "b"], is_nested=True, needs_all=True)
    some = build_claims_match("s", ["a", "b"], is_nested=True)
    assert every is not None
    assert some is not None
    assert (every({"s": "b"}), some({"s": "b"})) == (False, True)
    assert every({"s": "c b a"})


def test_without_required_roles_there_is_no_check() -> None:
    assert build_claims_match("r", [], is_nested=True) is None
    assert build_claims_match("", ["a"], is_nested=True) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", "a"),
        ("", ""),
        (42, "42"),
        (42.0, "42"),
        (12345678901234567890, "12345678901234567890"),
        (1.5, "1.500000"),
        (-0.25, "-0.250000"),
        (1e-7, "0"),
        (True, "true"),
        (None, "null"),
        ([], ""),
        (["a", 1, 1.5, None, True], "a,1,1.5,<nil>,true"),
        ({"b": 1, "a": [2]}, '{"a":[2],"b":1}'),
    ],
)
def test_a_claim_as_text(value: Json, text: str) -> None:
    assert claim_text({"c": value}, "c") == text


def test_claims_are_found_in_objects_and_under_their_whole_name() -> None:
    claims: Claims = {"a": {"b": 1}, "c.d": 2, "http://e.f": 3}
    assert [claim_text(claims, name) for name in ("a.b", "c.d", "http://e.f", "a.x", "x")] == [
        "1",
        "2",
        "3",
        None,
        None,
    ]
    assert claim_texts({"a": ["b", 1]}, "a") == ["b", "1"]
    assert claim_texts({"a": 1}, "a") == ["1"]
    assert claim_texts({}, "a") == [""]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


@given(JSON)
def test_every_claim_has_a_text(value: Json) -> None:
    assert isinstance(claim_text({"c": value}, "c"), str)
