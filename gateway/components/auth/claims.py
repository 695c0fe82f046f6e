"""What a verified token says: whether it holds now, whom it admits, and its claims as text. Pure.

The rules are krakend-jose's and go-jose's; where they would panic a token is refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec
from msgspec import Struct

from ...config.go_names import strings_of
from ...config.structs import Endpoint
from .jose import BadToken

Claims: TypeAlias = Mapping[str, Any]
Admits: TypeAlias = Callable[[Claims], bool]

MISSING = object()
"""In the place of a claim that a token does not have."""

EPSILON = 1e-6
"""A number so near to a whole one is written as that (krakend-jose, Claims.Get)."""

_CLAIM = re.compile(r"\{JWT\.([^{}]+)\}|^JWT\.([^{}]+)$")


class Registered(Struct):
    """The claims that RFC 7519 defines, with its types. Times are seconds since 1970."""

    iss: str | None = None
    sub: str | None = None
    jti: str | None = None
    aud: str | list[str] | None = None
    exp: float | None = None
    nbf: float | None = None
    iat: float | None = None


_read_registered = msgspec.json.Decoder(Registered).decode
_read_all = msgspec.json.Decoder(dict[str, Any]).decode


def read_claims(payload: bytes) -> tuple[Registered, dict[str, Any]]:
    """Raises :class:`BadToken`."""
    try:
        return _read_registered(payload), _read_all(payload)
    except (ValueError, RecursionError) as error:
        raise BadToken("its claims are malformed") from error


def check_registered(
    claims: Registered, issuer: str, audience: Sequence[str], leeway: float, now: float
) -> float:
    """Until when the token holds, in seconds since 1970. Raises :class:`BadToken`.

    ``issuer`` "": any. Every one of ``audience`` must be named. Times count in whole seconds.
    """
    if issuer and claims.iss != issuer:
        raise BadToken("another issuer")
    named = [claims.aud] if isinstance(claims.aud, str) else claims.aud or []
    if not set(audience) <= set(named):
        raise BadToken("another audience")
    if claims.nbf is not None and now + leeway < math.floor(claims.nbf):
        raise BadToken("not valid yet")
    if claims.iat is not None and now + leeway < math.floor(claims.iat):
        raise BadToken("issued in the future")
    until = math.inf if claims.exp is None else math.floor(claims.exp) + leeway
    if until < now:
        raise BadToken("expired")
    return until


def find(claims: Claims, name: str, is_nested: bool = True) -> Any:
    """A claim, dots leading into objects unless the name is a URL; ``MISSING`` when absent."""
    if not is_nested or "." not in name or name.startswith("http"):
        return claims.get(name, MISSING)
    value: Any = claims
    for key in name.split("."):
        value = value.get(key, MISSING) if isinstance(value, dict) else MISSING
    return value


def build_admits(
    key: str, wanted: Sequence[str], *, is_nested: bool, needs_all: bool = False
) -> Admits | None:
    """Whether one (or all) of ``wanted`` is in a claim: a list, or a text with spaces between.

    None when everybody is admitted. A text with a space at its start or end is no such list
    (RFC 6749, 3.3): " admin" is another role than "admin", in a list and alone.
    """
    if not wanted or not key:
        return None
    names = frozenset(wanted)

    def admits(claims: Claims) -> bool:
        value = find(claims, key, is_nested)
        if isinstance(value, str):
            value = value.split(" ") if value == value.strip(" ") else []
        if not isinstance(value, list):
            return False
        given = names.intersection(each for each in value if isinstance(each, str))
        return len(given) == len(names) if needs_all else bool(given)

    return admits


def claim_text(claims: Claims, name: str) -> str | None:
    """A claim as a header or a part of a path has it; None when absent."""
    value = _find_either_way(claims, name)
    return None if value is MISSING else _as_text(value)


def claim_texts(claims: Claims, name: str) -> list[str]:
    """The items of a list, or the one text; an empty text when the claim is absent."""
    value = _find_either_way(claims, name)
    if isinstance(value, list):
        return [_item_text(each) for each in value]
    return ["" if value is MISSING else _as_text(value)]


def _find_either_way(claims: Claims, name: str) -> Any:
    """KrakenD finds a dotted name nested for a header, as one name for a path."""
    value = find(claims, name)
    return claims.get(name, MISSING) if value is MISSING else value


def _as_text(value: object) -> str:
    if isinstance(value, float) and abs(value - round(value)) > EPSILON:
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
    """The claims that stand as ``{JWT.x}`` anywhere in the configuration of its backends."""
    names = {
        first or second
        for backend in endpoint.backend
        for text in strings_of(backend)
        for first, second in _CLAIM.findall(text)
    }
    return tuple(sorted(names))
