"""Signed tokens and the keys that sign them (RFC 7515, 7517). The one place that knows PyJWT.

An algorithm belongs to a key before any token is seen: what a token says of its algorithm can only
be wrong. The library is imported when the first key is read.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET, Struct, field

ALGORITHMS = (
    *("HS256", "HS384", "HS512"),
    *("RS256", "RS384", "RS512"),
    *("ES256", "ES384", "ES512"),
    *("PS256", "PS384", "PS512"),
    "EdDSA",
)

KINDS = {"HS": "oct", "RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}
"""The ``kty`` of the keys of an algorithm, by how its name begins."""

_BASE64URL = re.compile(rb"[\w-]*", re.ASCII)


class BadToken(Exception):
    """A token that is not to be believed; the text says why, without any of it."""


class BadKey(ValueError):
    """Not a key for this algorithm; the text carries nothing of it."""


class PrivateKey(BadKey):
    """A key that can sign, where one is wanted that verifies."""


class Header(Struct):
    """What a token says of its key. Only ``alg`` is compared, the others are looked up.

    ``crit`` lists extensions that must be understood (RFC 7515, 4.1.11): none is, and what is
    not a list is malformed, null too. So a token that has it is refused.
    """

    alg: str
    kid: str | None = None
    x5t: str | None = None
    x5t_s256: str | None = field(default=None, name="x5t#S256")
    crit: object = UNSET


class JsonWebToken(NamedTuple):
    """A token's parts, not verified."""

    header: Header
    payload: bytes
    signed: bytes
    signature: bytes


_read_header = msgspec.json.Decoder(Header).decode


def parse_token(text: bytes) -> JsonWebToken:
    """The parts of a compact serialisation. Raises :class:`BadToken`."""
    text = text.strip()
    parts = text.split(b".")
    if len(parts) != 3:
        raise BadToken("not a signed token in compact form")
    try:
        header = _read_header(_decode(parts[0]))
        payload, signature = _decode(parts[1]), _decode(parts[2])
    except (ValueError, RecursionError) as error:  # msgspec's and binascii's are ValueErrors
        raise BadToken("malformed") from error
    if header.crit is not UNSET:
        raise BadToken("it has a critical extension")
    return JsonWebToken(header, payload, text[: len(parts[0]) + 1 + len(parts[1])], signature)


def _decode(text: bytes) -> bytes:
    if not _BASE64URL.fullmatch(text):
        raise ValueError("not base64url")
    return urlsafe_b64decode(text + b"=" * (-len(text) % 4))


def encode_base64url(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")


class Key(NamedTuple):
    """A key that serves one algorithm."""

    algorithm: Any
    material: Any

    def verifies(self, token: JsonWebToken) -> bool:
        return bool(self.algorithm.verify(token.signed, self.material, token.signature))

    def sign(self, signed: bytes) -> bytes:
        signature: bytes = self.algorithm.sign(signed, self.material)
        return signature


def read_key(jwk: Mapping[str, Any], alg: str, *, is_to_sign: bool = False) -> Key:
    """The key that a JWK describes, for ``alg`` alone. Raises :class:`BadKey`.

    No token is verified with a private key, as in KrakenD: whoever serves those has published what
    makes tokens.
    """
    from jwt import PyJWK
    from jwt.exceptions import PyJWTError

    try:
        read = PyJWK(dict(jwk), alg)
        material = read.Algorithm.prepare_key(read.key)  # which looks at curves, too
    except (PyJWTError, KeyError, TypeError, ValueError, AttributeError) as error:
        kind = jwk.get("kty", "none")
        raise BadKey(f"no key for {alg}: its kty is {kind!r}, or it is malformed") from error
    is_private = hasattr(material, "public_key")
    if is_to_sign and not is_private and not isinstance(material, bytes):
        raise BadKey("a public key signs nothing")
    if is_private and not is_to_sign:
        raise PrivateKey("a private key: no token is verified with it, publish its public half")
    return Key(read.Algorithm, material)


def shortest_secret(alg: str) -> int:
    """Bytes that a secret of this algorithm should have (RFC 7518, 3.2); 0: it has no secret."""
    return int(alg[2:]) // 8 if alg.startswith("HS") else 0
