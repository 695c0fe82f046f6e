"""Signed tokens and their keys (RFC 7515, 7517). The one module that knows PyJWT.

The algorithm belongs to the key and is known before any token: the ``alg`` of a token is compared,
never used. The library is imported when the first key is read.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from msgspec import UNSET, Struct, field

from ...config.json_types import Json

if TYPE_CHECKING:
    from jwt.algorithms import Algorithm

ALGORITHMS = (
    *("HS256", "HS384", "HS512"),
    *("RS256", "RS384", "RS512"),
    *("ES256", "ES384", "ES512"),
    *("PS256", "PS384", "PS512"),
    "EdDSA",
)

KEY_TYPES = {"HS": "oct", "RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}
"""The ``kty`` of the keys, by the first two letters of the algorithm."""

_BASE64URL = re.compile(rb"[\w-]*", re.ASCII)


class InvalidToken(Exception):
    """The token is not valid. The message says why and contains nothing of the token."""


class InvalidKey(ValueError):
    """Not a key for this algorithm. The message contains nothing of the key."""


class PrivateKey(InvalidKey):
    """A private key where a public one is required."""


class JoseHeader(Struct):
    """Names the key of a token. ``alg`` is only compared; the others select the key.

    ``crit`` lists extensions that must be supported (RFC 7515, 4.1.11). The gateway supports none,
    so a token with ``crit``, of any value, is refused.
    """

    alg: str
    kid: str | None = None
    x5t: str | None = None
    x5t_s256: str | None = field(default=None, name="x5t#S256")
    crit: object = UNSET


class JsonWebToken(NamedTuple):
    """The parts of a token, not verified."""

    header: JoseHeader
    payload: bytes
    signed: bytes
    signature: bytes


_read_header = msgspec.json.Decoder(JoseHeader).decode


def parse_token(text: bytes) -> JsonWebToken:
    """The parts of a compact serialisation. Raises :class:`InvalidToken`."""
    text = text.strip()
    parts = text.split(b".")
    if len(parts) != 3:
        raise InvalidToken("not a signed token in compact form")
    try:
        header = _read_header(_decode(parts[0]))
        payload, signature = _decode(parts[1]), _decode(parts[2])
    except (ValueError, RecursionError) as error:  # msgspec's and binascii's are ValueErrors
        raise InvalidToken("malformed") from error
    if header.crit is not UNSET:
        raise InvalidToken("the token has a critical extension")
    return JsonWebToken(header, payload, text[: len(parts[0]) + 1 + len(parts[1])], signature)


def _decode(text: bytes) -> bytes:
    if not _BASE64URL.fullmatch(text):
        raise ValueError("not base64url")
    return urlsafe_b64decode(text + b"=" * (-len(text) % 4))


def encode_base64url(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")


class Key(NamedTuple):
    """A key for one algorithm."""

    algorithm: Algorithm
    material: object

    def verifies(self, token: JsonWebToken) -> bool:
        return self.algorithm.verify(token.signed, self.material, token.signature)

    def sign(self, signed: bytes) -> bytes:
        return self.algorithm.sign(signed, self.material)


def read_key(jwk: Mapping[str, Json], alg: str, *, is_to_sign: bool = False) -> Key:
    """The key of a JWK, for ``alg`` alone. Raises :class:`InvalidKey`.

    As in KrakenD a private key verifies no token: its publisher lets every reader make tokens.
    """
    from jwt import PyJWK
    from jwt.exceptions import PyJWTError

    try:
        read = PyJWK(dict(jwk), alg)
        material = read.Algorithm.prepare_key(read.key)  # this checks the curve, too
    except (PyJWTError, KeyError, TypeError, ValueError, AttributeError) as error:
        kind = jwk.get("kty", "none")
        raise InvalidKey(f"not a key for {alg}: its kty is {kind!r}, or it is malformed") from error
    is_private = hasattr(material, "public_key")
    if is_to_sign and not is_private and not isinstance(material, bytes):
        raise InvalidKey("a public key cannot sign")
    if is_private and not is_to_sign:
        raise PrivateKey("a private key cannot verify tokens here: publish its public key")
    return Key(read.Algorithm, material)


def min_secret_bytes(alg: str) -> int:
    """Bytes that a secret of this algorithm needs (RFC 7518, 3.2); 0: it has no secret."""
    return int(alg[2:]) // 8 if alg.startswith("HS") else 0
