"""Tokens and keys, without a gateway."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from gateway.components.auth.jose import (
    ALGORITHMS,
    InvalidKey,
    InvalidToken,
    PrivateKey,
    parse_token,
    read_key,
)

from .support import encoded, jwk, private_key, signed


def unsigned(header: bytes, rest: str = ".e30.AA") -> str:
    return encoded(header) + rest


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_every_algorithm_verifies_what_it_signed_and_nothing_else(alg: str) -> None:
    key = read_key(jwk(alg), alg)
    token = parse_token(signed({"sub": "ann"}, alg).encode())
    assert key.verifies(token)
    assert not key.verifies(token._replace(signed=token.signed + b"x"))
    flipped = bytes([*token.signature[:-1], token.signature[-1] ^ 1])
    assert not key.verifies(token._replace(signature=flipped))
    assert not key.verifies(token._replace(signature=b""))


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_a_private_key_signs(alg: str) -> None:
    key = read_key(jwk(alg, is_private=True), alg, is_to_sign=True)
    token = parse_token(signed({}, alg).encode())
    assert read_key(jwk(alg), alg).verifies(token._replace(signature=key.sign(token.signed)))


def test_blanks_around_a_token_are_ignored() -> None:
    token = signed({}).encode()
    assert parse_token(b" \t" + token + b" ") == parse_token(token)


@pytest.mark.parametrize("alg", [each for each in ALGORITHMS if not each.startswith("HS")])
def test_a_private_key_cannot_verify(alg: str) -> None:
    with pytest.raises(PrivateKey):
        read_key(jwk(alg, is_private=True), alg)


def test_a_public_key_cannot_sign() -> None:
    with pytest.raises(InvalidKey, match="public"):
        read_key(jwk("RS256"), "RS256", is_to_sign=True)


@pytest.mark.parametrize(
    ("described", "alg"),
    [
        (jwk("RS256"), "HS256"),
        (jwk("HS256"), "RS256"),
        (jwk("ES256"), "ES384"),
        (jwk("ES256"), "EdDSA"),
        ({"kty": "oct"}, "HS256"),
        ({"kty": "oct", "k": 5}, "HS256"),
        ({"kty": "oct", "k": ""}, "HS256"),
        ({"kty": "RSA", "n": "AQAB", "e": "AQAB"}, "RS256"),
        ({"kty": "RSA", "n": {}, "e": []}, "RS256"),
        ({"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}, "ES256"),
        ({}, "ES256"),
    ],
)
def test_an_invalid_key_for_an_algorithm_is_refused(described: dict[str, Any], alg: str) -> None:
    with pytest.raises(InvalidKey):
        read_key(described, alg)


def test_a_public_key_as_a_secret_is_refused() -> None:
    pem = (
        private_key("RS256")
        .public_key()
        .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    with pytest.raises(InvalidKey):
        read_key({"kty": "oct", "k": encoded(pem)}, "HS256")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "a.b",
        "a.b.c",
        "a.b.c.d",
        "e30.e30.AA",  # no alg
        unsigned(b"[]"),
        unsigned(b'{"alg":1}'),
        unsigned(b'{"alg":"HS256","kid":1}'),
        unsigned(b'{"alg":"HS256","crit":["exp"],"exp":1}'),
        unsigned(b'{"alg":"HS256","crit":null}'),
        unsigned(b'{"alg":"HS256","crit":[]}'),
        unsigned(b'{"alg":"HS256"}', ".e3.0=.AA"),
        unsigned(b'{"alg":"HS256"}', ".e30.A"),
        unsigned(b'{"alg":"HS256"}', ".e30.AA=="),
        unsigned(b'{"alg":"HS256"}', ".e30.A!"),
        unsigned(b"[" * 100_000),
        '{"payload":"e30","protected":"e30","signature":"AA"}',
    ],
)
def test_a_malformed_token_is_refused(text: str) -> None:
    with pytest.raises(InvalidToken):
        parse_token(text.encode())


@given(st.binary() | st.lists(st.binary(), min_size=3, max_size=3).map(b".".join))
def test_no_bytes_raise_another_error(text: bytes) -> None:
    with suppress(InvalidToken):
        parse_token(text)
