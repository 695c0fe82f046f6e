"""``auth/api-keys``: clients send a key, and keys have roles. A name of KrakenD's Enterprise
edition.

A guard: 401 without a known key, or if the key has no role of the endpoint; 429 above the limit of
each key, ``client_max_rate`` of the endpoint.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence

from ...config.findings import Finding
from ...config.structs import Endpoint
from ...core.component import Assembly, Component, Place
from ...core.forwarding import query_pairs
from ...core.proxy import Guard, Request
from ...errors import Refused
from ..ratelimit.bucket import rate_of
from ..ratelimit.build import open_store
from ..ratelimit.limits import TOO_MANY_REQUESTS, fingerprint
from .advice import ON_API_KEYS
from .credentials import BEARER
from .settings import API_KEYS, ApiKeysSettings

MAX_KEY_BYTES = 1024
ANY_ROLE = b"ANY"
"""The value of the role header if the endpoint requires no role."""


def _fnv128(data: bytes) -> bytes:
    """FNV-1, 128 bits (Go, hash/fnv, New128)."""
    value = 0x6C62272E07BB014262B821756295C58D
    for byte in data:
        value = (value * 0x1000000000000000000013B) % 2**128 ^ byte
    return b"%032x" % value


HASHES: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda data: data,
    "fnv128": _fnv128,
    "sha256": lambda data: hashlib.sha256(data).hexdigest().encode(),
    "sha1": lambda data: hashlib.sha1(data, usedforsecurity=False).hexdigest().encode(),
}
"""How a key is stored: as it is, or as hexadecimal digits of a hash."""

STRATEGIES = ("header", "query_string")

FindKey = Callable[[Request], bytes | None]


class ApiKeys:
    """The keys of the service, by a digest: so the time of a lookup says nothing about a key."""

    def __init__(self, settings: ApiKeysSettings) -> None:
        is_plain = settings.hash == "plain"
        self._hash = HASHES[settings.hash]
        self._salt = b"" if is_plain else settings.salt.encode()
        self._roles = {
            _digest((each.key if is_plain else each.key.lower()).encode()): each.roles
            for each in settings.keys
        }

    def find(self, key: bytes) -> tuple[bytes, Sequence[str]] | None:
        """The digest and the roles of a key as a client sends it; None: the key is unknown."""
        if len(key) > MAX_KEY_BYTES:
            return None
        digest = _digest(self._hash(self._salt + key))
        roles = self._roles.get(digest)
        return None if roles is None else (digest, roles)


def _digest(kept: bytes) -> bytes:
    return hashlib.sha256(kept).digest()


def build_api_keys(settings: ApiKeysSettings, endpoint: Endpoint, assembly: Assembly) -> Guard:
    """The guard of one endpoint."""
    root: ApiKeysSettings = assembly.service.extra_config.get(API_KEYS) or ApiKeysSettings()
    keys = ApiKeys(root)
    find_key = build_find_key(
        settings.strategy or root.strategy, settings.identifier or root.identifier
    )
    required = frozenset(settings.roles)
    role_header = root.propagate_role.lower().encode()
    take_token = build_take_token(settings, endpoint, assembly)

    def guard(request: Request) -> None:
        key = find_key(request)
        found = None if key is None else keys.find(key)
        if found is None:
            raise Refused(401, "no known key")
        digest, roles = found
        matching = [role for role in roles if role in required]
        if required and not matching:
            raise Refused(401, "the key has none of the required roles")
        if take_token is not None:
            take_token(digest)
        if role_header:
            others = [header for header in request.headers if header[0] != role_header]
            role = matching[0].encode() if matching else ANY_ROLE
            request.headers = [*others, (role_header, role)]

    return guard


def build_take_token(
    settings: ApiKeysSettings, endpoint: Endpoint, assembly: Assembly
) -> Callable[[bytes], None] | None:
    """Takes a token from the bucket of a key, by its digest; None: the endpoint has no limit."""
    rate = rate_of(settings.client_max_rate, 0)
    if rate is None:
        return None
    store, place = open_store(assembly), f"{API_KEYS} {endpoint.method} {endpoint.endpoint}"

    def take_token(digest: bytes) -> None:
        if not store.take(fingerprint(f"{place}\n{digest.hex()}"), rate):
            raise Refused(TOO_MANY_REQUESTS, "the rate limit of the key is reached")

    return take_token


def build_find_key(strategy: str, identifier: str) -> FindKey:
    """Reads the key of a request; ``strategy`` "": from a header."""
    if strategy == "query_string":
        query_name = identifier.encode() or b"key"

        def from_query(request: Request) -> bytes | None:
            pairs = query_pairs(request.query_string)
            return next((value for name, value in pairs if name == query_name), None)

        return from_query

    header_name = identifier.lower().encode() or b"authorization"

    def from_header(request: Request) -> bytes | None:
        value = request.header(header_name)
        if value and value[:7].lower() == BEARER:
            return value[7:]
        return value

    return from_header


def verify(settings: ApiKeysSettings) -> Iterator[tuple[str, str]]:
    if settings.hash not in HASHES:
        yield "hash", f'unknown "{settings.hash}"; there are: {", ".join(HASHES)}'
    if settings.strategy and settings.strategy not in STRATEGIES:
        known = ", ".join(STRATEGIES)
        yield "strategy", f'unknown "{settings.strategy}"; there are: {known}'
    if any(not each.key for each in settings.keys):
        yield "keys", "a key is empty"


def findings(settings: ApiKeysSettings, place: Place) -> Iterator[Finding]:
    root: ApiKeysSettings | None = place.service.extra_config.get(API_KEYS)
    if place.endpoint is None:
        if settings.hash == "plain" and settings.keys:
            text = '"plain": the configuration contains the keys themselves; use "sha256"'
            yield place.warning(text, "hash")
        if settings.client_max_rate:
            text = "has no effect at the root: set it on endpoints"
            yield place.warning(text, "client_max_rate")
        if not any(API_KEYS in each.extra_config for each in place.service.endpoints):
            yield place.warning(f"has no effect: no endpoint has {API_KEYS}")
    elif root is None:
        yield place.warning("there are no keys at the root: every request gets 401")
    elif settings.roles and not any(set(each.roles) & {*settings.roles} for each in root.keys):
        yield place.warning("no key has one of these roles: every request gets 401", "roles")


COMPONENT = Component(
    API_KEYS,
    ApiKeysSettings,
    aliases=("github_com/devopsfaith/krakend-apikeys",),
    verify=verify,
    guard=build_api_keys,
    service=True,
    findings=findings,
    advice=ON_API_KEYS,
)
