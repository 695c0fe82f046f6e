"""The claims of a verified token: their validity, roles and scopes, and their text. Pure.

The rules are those of krakend-jose and go-jose. A token for which these panic is refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec
from msgspec import Struct

from ...config.go_names import strings_of
from ...config.json_types import Json, JsonObject
from ...config.structs import Endpoint
from .jose import InvalidToken

Claims: TypeAlias = Mapping[str, Json]
ClaimsMatch: TypeAlias = Callable[[Claims], bool]

MISSING = object()
"""In place of a claim that a token does not have."""

WHOLE_NUMBER_TOLERANCE = 1e-6
"""A number this close to a whole one is written as the whole one (krakend-jose, Claims.Get)."""

_CLAIM = re.compile(r"\{JWT\.([^{}]+)\}|^JWT\.([^{}]+)$")


class Registered(Struct):
    """The claims of RFC 7519, with its types. Times are seconds since 1970."""

    iss: str | None = None
    sub: str | None = None
    jti: str | None = None
    aud: str | list[str] | None = None
    exp: float | None = None
    nbf: float | None = None
    iat: float | None = None


_read_registered = msgspec.json.Decoder(Registered).decode
_read_all = msgspec.json.Decoder(dict[str, Any]).decode


def read_claims(payload: bytes) -> tuple[Registered, JsonObject]:
    """Raises :class:`InvalidToken`."""
    try:
        return _read_registered(payload), _read_all(payload)
    except (ValueError, RecursionError) as error:
        raise InvalidToken("the claims are malformed") from error


def check_registered(
    claims: Registered, issuer: str, audience: Sequence[str], leeway: float, now: float
) -> float:
    """The time until which the token is valid. Raises :class:`InvalidToken`.

    ``issuer`` "": any. The token must name every one of ``audience``. Times: seconds since 1970,
    those of the token without their fractions.
    """
    if issuer and claims.iss != issuer:
        raise InvalidToken("another issuer")
    named = [claims.aud] if isinstance(claims.aud, str) else claims.aud or []
    if not set(audience) <= set(named):
        raise InvalidToken("another audience")
    if claims.nbf is not None and now + leeway < math.floor(claims.nbf):
        raise InvalidToken("not valid yet")
    if claims.iat is not None and now + leeway < math.floor(claims.iat):
        raise InvalidToken("issued in the future")
    until = math.inf if claims.exp is None else math.floor(claims.exp) + leeway
    if until < now:
        raise InvalidToken("expired")
    return until


def find(claims: Claims, name: str, is_nested: bool = True) -> object:
    """A claim, or ``MISSING``. Dots in the name lead into objects, unless it is a URL."""
    if not is_nested or "." not in name or name.startswith("http"):
        return claims.get(name, MISSING)
    value: object = claims
    for key in name.split("."):
        value = value.get(key, MISSING) if isinstance(value, dict) else MISSING
    return value


def build_claims_match(
    key: str, required: Sequence[str], *, is_nested: bool, needs_all: bool = False
) -> ClaimsMatch | None:
    """Whether one (or all) of ``required`` is in a claim: a list, or a string separated by spaces.

    None: nothing is required. A string with a space at its start or end is not such a list
    (RFC 6749, 3.3): " admin" is another role than "admin", in a list and alone.
    """
    if not required or not key:
        return None
    names = frozenset(required)

    def matches(claims: Claims) -> bool:
        value = find(claims, key, is_nested)
        if isinstance(value, str):
            value = value.split(" ") if value == value.strip(" ") else []
        if not isinstance(value, list):
            return False
        given = names.intersection(each for each in value if isinstance(each, str))
        return len(given) == len(names) if needs_all else bool(given)

    return matches


def claim_text(claims: Claims, name: str) -> str | None:
    """A claim as the text for a header or a path; None: the token does not have it."""
    value = _find_nested_or_whole(claims, name)
    return None if value is MISSING else _as_text(value)


def claim_texts(claims: Claims, name: str) -> list[str]:
    """The items of a list, or one text; an empty one if the token does not have the claim."""
    value = _find_nested_or_whole(claims, name)
    if isinstance(value, list):
        return [_item_text(each) for each in value]
    return ["" if value is MISSING else _as_text(value)]


def _find_nested_or_whole(claims: Claims, name: str) -> object:
    """In KrakenD a dotted name is nested for a header, and one whole name for a path."""
    value = find(claims, name)
    return claims.get(name, MISSING) if value is MISSING else value


def _as_text(value: object) -> str:
    if isinstance(value, float) and abs(value - round(value)) > WHOLE_NUMBER_TOLERANCE:
        return f"{value:f}"
    if isinstance(value, float):
        return str(round(value))
    if isinstance(value, list):
        return ",".join(map(_item_text, value))
    return value if isinstance(value, str) else _json(value)


def _item_text(value: object) -> str:
    if value is None:
        return "<nil>"
    return value if isinstance(value, str) else _json(value)


def _json(value: object) -> str:
    return msgspec.json.encode(value, order="sorted").decode()


def needed_claims(endpoint: Endpoint) -> Sequence[str]:
    """The claims that the configuration of the backends uses as ``{JWT.x}``."""
    names = {
        first or second
        for backend in endpoint.backend
        for text in strings_of(backend)
        for first, second in _CLAIM.findall(text)
    }
    return tuple(sorted(names))
