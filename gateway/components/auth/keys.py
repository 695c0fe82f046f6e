"""Key sets: from JSON to the key that a token names. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import msgspec

from ...config.json_types import JsonObject
from .jose import KEY_TYPES, InvalidKey, JoseHeader, JsonWebToken, Key, PrivateKey, read_key

Jwk: TypeAlias = JsonObject


def read_key_set(content: bytes) -> tuple[Jwk, ...]:
    """The keys of a JWK Set, not yet checked. Raises ValueError."""
    try:
        document = msgspec.json.decode(content)
    except (ValueError, RecursionError) as error:
        raise ValueError("not JSON") from error
    keys = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(keys, list):
        raise ValueError('not a JWK Set: an object with a list "keys"')
    return tuple(key for key in keys if isinstance(key, dict))


class Keys:
    """The keys of a set for one algorithm. ``problems``: errors in keys of its type; ``private``:
    private keys, where public ones are required.

    Keys for encryption are ignored. Of two keys with the same id the later one is used.
    ``are_to_sign``: private keys are required.
    """

    def __init__(
        self, jwks: Sequence[Jwk], alg: str, strategy: str = "kid", *, are_to_sign: bool = False
    ) -> None:
        identify = KEY_IDS.get(strategy, KEY_IDS["kid"])
        self._named = TOKEN_IDS.get(strategy, TOKEN_IDS["kid"])
        self._keys: dict[str, Key] = {}
        self.problems: list[str] = []
        self.private: list[str] = []
        for jwk in jwks:
            if jwk.get("kty") != KEY_TYPES[alg[:2]] or jwk.get("use") == "enc":
                continue
            try:
                self._keys[identify(jwk)] = read_key(jwk, alg, is_to_sign=are_to_sign)
            except PrivateKey as error:
                self.private.append(f'key "{_kid(jwk)}": {error}')
            except InvalidKey as error:
                self.problems.append(f'key "{_kid(jwk)}": {error}')

    def __len__(self) -> int:
        return len(self._keys)

    def named(self, key_id: str) -> Key | None:
        return self._keys.get(key_id)

    def find(self, token: JsonWebToken) -> Key | None:
        """The key that the token names; for a token without a key id the key without one."""
        return self._keys.get(self._named(token.header))


def _kid(jwk: Jwk) -> str:
    kid = jwk.get("kid")
    return kid if isinstance(kid, str) else ""


def _thumbprint(value: object) -> str:
    return value.rstrip("=") if isinstance(value, str) else ""


def _own_kid(header: JoseHeader) -> str:
    return header.kid or ""


def _own_x5t(header: JoseHeader) -> str:
    return _own_kid(header) if header.x5t is None else _thumbprint(header.x5t)


def _own_x5t_s256(header: JoseHeader) -> str:
    return _own_kid(header) if header.x5t_s256 is None else _thumbprint(header.x5t_s256)


KEY_IDS: dict[str, Callable[[Jwk], str]] = {
    "kid": _kid,
    "x5t": lambda jwk: _thumbprint(jwk.get("x5t")),
    "x5t#S256": lambda jwk: _thumbprint(jwk.get("x5t#S256")),
    "kid_x5t": lambda jwk: _kid(jwk) + _thumbprint(jwk.get("x5t")),
}
"""``key_identify_strategy``: the id of a key (krakend-jose, key_cacher.go). An unknown strategy
means "kid", as in KrakenD."""

TOKEN_IDS: dict[str, Callable[[JoseHeader], str]] = {
    "kid": _own_kid,
    "x5t": _own_x5t,
    "x5t#S256": _own_x5t_s256,
    "kid_x5t": lambda header: _own_kid(header) + _own_x5t(header),
}
"""The key id in a token (krakend-jose, jwk_client.go)."""
