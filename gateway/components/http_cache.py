"""``qos/http-cache``: responses of HTTP backends are stored in memory and used again.

What may be stored, and how long it is fresh, is decided in ``freshness.py``.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Container, Hashable, Iterator
from contextlib import asynccontextmanager
from typing import Any

from msgspec import Struct

from ..config.findings import Finding
from ..config.structs import Backend, Endpoint, Service
from ..core.asgi import find_header
from ..core.component import Assembly, Component, Place
from ..core.families import settings_of
from ..core.proxy import nothing_to_withdraw
from ..core.request_ids import REQUEST_ID_NAMES
from ..core.rule import Rule, backends, is_http
from ..core.version import USER_AGENT
from ..http.connection import Headers, HttpResponse
from ..http.request_head import UNSENT_HEADERS, BackendRequest
from ..http.targets import hide_query
from ..http.transport import Arrive, Result, Transport, TransportStage, Withdraw
from ..telemetry.logs import get_logger
from .freshness import (
    CONDITIONS,
    Directives,
    Stored,
    Use,
    directives,
    may_be_stored,
    may_replace_failure,
    renewed,
    store,
    use_of,
    validators,
    vary,
    with_age,
)
from .martian.stage import build_freshness_stage

log = get_logger("gateway.http")

MAX_ITEMS = 10_000
MAX_SIZE = 64 * 1024 * 1024
"""Responses, and their bytes, of all backends without limits of their own; KrakenD has no limits
then."""
RESPONSE_OVERHEAD, HEADER_OVERHEAD = 512, 128
"""Bytes of memory for a response and for each of its headers, in addition to their content."""

UNSAFE_METHODS = ("POST", "PUT", "PATCH", "DELETE")


class CacheSettings(Struct, frozen=True, kw_only=True):
    shared: bool = False
    """Whether this backend uses the stored responses of all other backends that set this key."""
    max_items: int = 0
    """The number of responses that are stored. It has an effect only together with ``max_size``.
    0: all backends without limits share a limit of 10,000 responses and 64 MiB."""
    max_size: int = 0
    """The bytes of all stored responses. It has an effect only together with ``max_items``."""

    @property
    def has_limits(self) -> bool:
        return self.max_items > 0 and self.max_size > 0


NOT_IN_KEY = UNSENT_HEADERS | {
    *(b"x-forwarded-for", b"x-forwarded-via", b"x-forwarded-host"),
    *(b"authorization", b"cookie", b"cache-control", b"pragma"),
}
"""Headers that are not part of a cache key by themselves: the gateway's own (the host is part of
the key anyway, a client cannot choose its address freely), personal ones (with them only public
responses are stored), and those that control the cache."""


def key_headers(headers: Headers, not_in_key: Container[bytes] = NOT_IN_KEY) -> Hashable:
    """The headers of a request that could change the response, also without ``Vary``.

    Without them a client could choose what others get (cache poisoning).
    """
    own_agent = (b"user-agent", USER_AGENT)
    return tuple(
        sorted(each for each in headers if each[0] not in not_in_key and each != own_agent)
    )


class Variants:
    """The entry of a URL whose responses depend on request headers: those in every key, and
    ``names``."""

    def __init__(self, names: tuple[str, ...], not_in_key: Container[bytes]) -> None:
        self.names = names
        self._not_in_key = not_in_key

    def key(self, headers: Headers) -> Hashable:
        named = (_values(headers, name.encode("latin-1")) for name in self.names)
        return (self, key_headers(headers, self._not_in_key), *named)


def _values(headers: Headers, name: bytes) -> bytes:
    return b", ".join([value for each, value in headers if each == name])


class Memory:
    """The stored responses. Above a limit the least recently used response is removed.

    ``not_in_key``: the headers that are part of a key only if ``Vary`` names them.
    """

    def __init__(
        self,
        max_items: int = MAX_ITEMS,
        max_size: int = MAX_SIZE,
        not_in_key: Container[bytes] = NOT_IN_KEY,
    ) -> None:
        self._not_in_key = not_in_key
        self._max_items = max_items
        self._max_size = max_size
        self._size = 0
        self._entries: OrderedDict[Hashable, tuple[Stored | Variants, int]] = OrderedDict()

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[None]:
        yield
        self._entries.clear()

    def readiness(self) -> dict[str, Any]:
        return {
            "kind": "http cache",
            "ready": True,
            "answers": len(self._entries),
            "bytes": self._size,
        }

    def find(self, key: Hashable, headers: Headers) -> Stored | None:
        """The stored response for a request with these headers."""
        entry = self._get(key)
        if isinstance(entry, Variants):
            entry = self._get(entry.key(headers))
        elif key_headers(headers, self._not_in_key):
            return None  # the stored response is for requests without such headers
        return entry if isinstance(entry, Stored) else None

    def store(self, key: Hashable, headers: Headers, stored: Stored) -> None:
        names = vary(stored.response)
        variants = self._get(key)
        if names or key_headers(headers, self._not_in_key) or isinstance(variants, Variants):
            if not isinstance(variants, Variants) or variants.names != names:
                variants = Variants(names, self._not_in_key)
                self._put(key, variants, RESPONSE_OVERHEAD)
            key = variants.key(headers)
        response = stored.response
        size = sum(HEADER_OVERHEAD + len(name) + len(value) for name, value in response.headers)
        self._put(key, stored, RESPONSE_OVERHEAD + size + len(response.body))

    def forget(self, key: Hashable) -> None:
        """Remove the responses of a key, in all variants."""
        _, size = self._entries.pop(key, (None, 0))
        self._size -= size

    def _get(self, key: Hashable) -> Stored | Variants | None:
        if key not in self._entries:
            return None
        self._entries.move_to_end(key)
        return self._entries[key][0]

    def _put(self, key: Hashable, entry: Stored | Variants, size: int) -> None:
        self.forget(key)
        if size > self._max_size:
            return
        self._entries[key] = (entry, size)
        self._size += size
        while self._size > self._max_size or len(self._entries) > self._max_items:
            _, (_, removed) = self._entries.popitem(last=False)
            self._size -= removed


def build_cache(
    settings: CacheSettings, backend: Backend, endpoint: Endpoint, assembly: Assembly
) -> TransportStage:
    """The cache around a backend's transport."""
    has_ids = assembly.service.gateway.request_id  # each request has another one
    not_in_key = NOT_IN_KEY | REQUEST_ID_NAMES if has_ids else NOT_IN_KEY

    def limited() -> Memory:
        return Memory(settings.max_items, settings.max_size, not_in_key)

    if settings.has_limits and not settings.shared:
        memory = limited()
    elif settings.has_limits:
        # The limits of the first such backend apply, as in KrakenD.
        key = "shared http cache"
        memory = assembly.resource(key, limited)
    else:
        memory = assembly.resource("http cache", lambda: Memory(not_in_key=not_in_key))
    owner = None if settings.shared else object()
    freshness = build_freshness_stage(backend)
    if freshness is None:
        return lambda transport: CachingTransport(transport, memory, owner)
    return lambda transport: CachingTransport(freshness(transport), memory, owner)


class CachingTransport:
    """Returns stored responses, and stores new ones. ``owner``: part of every key."""

    def __init__(
        self,
        inner: Transport,
        memory: Memory,
        owner: Hashable = None,
        wall_clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._inner = inner
        self._memory = memory
        self._owner = owner
        self._wall_clock = wall_clock
        self._monotonic = monotonic

    def __call__(self, outgoing: BackendRequest, arrive: Arrive) -> Withdraw:
        if outgoing.method in UNSAFE_METHODS:
            return self._inner(outgoing, lambda result: arrive(self._changed(outgoing, result)))
        # A body may change the response, and is not part of a key.
        bypasses = outgoing.body or any(name in CONDITIONS for name, _ in outgoing.headers)
        if outgoing.method != "GET" or bypasses:
            return self._inner(outgoing, arrive)
        requested = _request_directives(outgoing.headers)
        stored = self._memory.find(self._key(outgoing), outgoing.headers)
        begun = self._monotonic()
        if stored is not None and use_of(stored, requested, begun) is Use.FRESH:
            arrive(with_age(stored, begun))
            return nothing_to_withdraw
        if "only-if-cached" in requested:
            arrive(HttpResponse(504, (), b""))
            return nothing_to_withdraw
        sent = outgoing
        if stored is not None:
            sent = outgoing._replace(headers=[*outgoing.headers, *validators(stored.response)])
        return self._inner(
            sent, lambda result: arrive(self._arrived(outgoing, requested, stored, begun, result))
        )

    def _arrived(
        self,
        outgoing: BackendRequest,
        requested: Directives,
        stored: Stored | None,
        begun: float,
        result: Result,
    ) -> Result:
        """The result for the gateway. Never raises: this runs in a connection's callback."""
        try:
            return self._process(outgoing, requested, stored, begun, result)
        except Exception:
            log.exception("%s: an error of the cache", hide_query(outgoing.url))
            return result

    def _process(
        self,
        outgoing: BackendRequest,
        requested: Directives,
        stored: Stored | None,
        begun: float,
        result: Result,
    ) -> Result:
        now = self._monotonic()
        is_failure = not isinstance(result, HttpResponse) or result.status >= 500
        if stored is not None and is_failure and may_replace_failure(stored, requested, now):
            return with_age(stored, now)
        if not isinstance(result, HttpResponse):
            return result
        if stored is not None and result.status == 304 and not result.url:
            result = renewed(stored.response, result)
        key = self._key(outgoing)
        if may_be_stored(outgoing, result):
            new = store(result, now - begun, self._wall_clock(), now)
            self._memory.store(key, outgoing.headers, new)
        elif not is_failure:
            self._memory.forget(key)
        return result

    def _changed(self, outgoing: BackendRequest, result: Result) -> Result:
        """A successful change removes the stored responses of its URL (RFC 9111, 4.4)."""
        if isinstance(result, HttpResponse) and result.status < 400:
            self._memory.forget(self._key(outgoing))
        return result

    def _key(self, outgoing: BackendRequest) -> Hashable:
        """With the forwarded host: clients choose it, and responses may contain it."""
        host = find_header(outgoing.headers, b"x-forwarded-host")
        return self._owner, outgoing.url, outgoing.host.host_header, host


def _request_directives(headers: Headers) -> Directives:
    requested = directives(headers)
    if not requested and b"no-cache" in find_header(headers, b"pragma").lower():
        return {"no-cache": ""}
    return requested


def findings(settings: CacheSettings, place: Place) -> Iterator[Finding]:
    assert place.backend is not None
    assert place.endpoint is not None
    return map(place.warning, _traps(settings, place.backend, place.endpoint))


def _traps(settings: CacheSettings, backend: Backend, endpoint: Endpoint) -> Iterator[str]:
    if not is_http(backend):
        yield "has no effect: messages are not stored"
        return
    if backend.method != "GET" and not settings.shared:
        yield f"has no effect on a {backend.method}: only responses to GET are stored"
    if (settings.max_items > 0) != (settings.max_size > 0):
        yield "max_items and max_size have an effect only together"
    if "*" in endpoint.input_headers and not backend.input_headers:
        yield (
            'input_headers "*" makes every header part of the cache key: few responses are used '
            "again"
        )


def _unlimited(service: Service) -> Iterator[str]:
    for place in backends(service):
        settings = settings_of(place.backend, CacheSettings)
        if settings is not None and not (settings.max_items and settings.max_size):
            yield place.path


COMPONENT = Component(
    "qos/http-cache",
    CacheSettings,
    aliases=("github.com/devopsfaith/krakend-httpcache",),
    transport=build_cache,
    findings=findings,
    advice=(Rule("2.3.1", "MEDIUM", "Limit what is cached (max_items, max_size).", _unlimited),),
)
