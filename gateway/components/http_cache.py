"""``qos/http-cache``: answers of a backend that may be used again are kept in memory.

What may be kept, and how long, is in ``freshness.py``; here is where, and what is asked when.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Hashable, Iterator
from contextlib import asynccontextmanager
from typing import Any

from msgspec import Struct

from ..config.findings import Finding
from ..config.structs import Backend, Endpoint, Service
from ..core.component import Assembly, Component, Place
from ..core.families import settings_of
from ..core.proxy import nothing_to_withdraw
from ..core.rule import Rule, backends, is_http
from ..core.version import USER_AGENT
from ..http.connection import Headers, HttpResponse
from ..http.request_head import UNSENT_HEADERS, BackendRequest
from ..http.responses import find
from ..http.targets import hide_query
from ..http.transport import Arrive, Result, Transport, TransportStage, Withdraw
from ..telemetry.logs import get_logger
from .freshness import (
    CONDITIONS,
    Directives,
    Kept,
    Use,
    directives,
    keep,
    may_be_kept,
    may_stand_in,
    renewed,
    use_of,
    validators,
    vary,
    with_age,
)
from .martian.stage import build_judged

log = get_logger("gateway.http")

MAX_ITEMS = 10_000
MAX_SIZE = 64 * 1024 * 1024
"""Bytes, of all backends that name no limits; KrakenD has none then."""
OVERHEAD, HEADER = 512, 128
"""Bytes of an answer, and of each of its headers, beside what they say."""

UNSAFE = ("POST", "PUT", "PATCH", "DELETE")


class CacheSettings(Struct, frozen=True, kw_only=True):
    """``shared``: with all backends that say so. Limits in answers and in bytes."""

    shared: bool = False
    max_items: int = 0
    max_size: int = 0

    @property
    def has_limits(self) -> bool:
        return self.max_items > 0 and self.max_size > 0


SAME = UNSENT_HEADERS | {
    *(b"x-forwarded-for", b"x-forwarded-via", b"x-forwarded-host"),
    *(b"authorization", b"cookie", b"cache-control", b"pragma"),
}
"""Headers that tell no requests apart by themselves: those of the gateway (the host is part of the
key, the address is nothing that a client can write freely), personal ones (with them only what a
backend calls public is kept), and those that speak to the cache."""


def telling(headers: Headers) -> Hashable:
    """What of a request could decide its answer, whether the backend names it in ``Vary`` or not:
    else a client could choose what others get (cache poisoning)."""
    own_agent = (b"user-agent", USER_AGENT)
    return tuple(sorted(each for each in headers if each[0] not in SAME and each != own_agent))


class Variants:
    """Stands for an address whose answers depend on headers of requests: those that tell requests
    apart anyway, and these."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names

    def key(self, headers: Headers) -> Hashable:
        named = (_values(headers, name.encode("latin-1")) for name in self.names)
        return (self, telling(headers), *named)


def _values(headers: Headers, name: bytes) -> bytes:
    return b", ".join([value for each, value in headers if each == name])


class Memory:
    """The answers used last. Beyond a limit the one that was not used for longest goes."""

    def __init__(self, max_items: int = MAX_ITEMS, max_size: int = MAX_SIZE) -> None:
        self._max_items = max_items
        self._max_size = max_size
        self._size = 0
        self._entries: OrderedDict[Hashable, tuple[Kept | Variants, int]] = OrderedDict()

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

    def find(self, key: Hashable, headers: Headers) -> Kept | None:
        """What is kept for a request with these headers."""
        entry = self._get(key)
        if isinstance(entry, Variants):
            entry = self._get(entry.key(headers))
        elif telling(headers):  # what is kept was for a request without
            return None
        return entry if isinstance(entry, Kept) else None

    def keep(self, key: Hashable, headers: Headers, kept: Kept) -> None:
        names = vary(kept.answer)
        variants = self._get(key)
        if names or telling(headers) or isinstance(variants, Variants):
            if not isinstance(variants, Variants) or variants.names != names:
                variants = Variants(names)
                self._put(key, variants, OVERHEAD)
            key = variants.key(headers)
        size = sum(HEADER + len(name) + len(value) for name, value in kept.answer.headers)
        self._put(key, kept, OVERHEAD + size + len(kept.answer.body))

    def forget(self, key: Hashable) -> None:
        """What is kept for it, in all variants."""
        _, size = self._entries.pop(key, (None, 0))
        self._size -= size

    def _get(self, key: Hashable) -> Kept | Variants | None:
        if key not in self._entries:
            return None
        self._entries.move_to_end(key)
        return self._entries[key][0]

    def _put(self, key: Hashable, entry: Kept | Variants, size: int) -> None:
        self.forget(key)
        if size > self._max_size:
            return
        self._entries[key] = (entry, size)
        self._size += size
        while self._size > self._max_size or len(self._entries) > self._max_items:
            _, (_, oldest) = self._entries.popitem(last=False)
            self._size -= oldest


def build_cache(
    settings: CacheSettings, backend: Backend, endpoint: Endpoint, assembly: Assembly
) -> TransportStage:
    """The memory of all backends, or their own; what is ``shared`` is found by all who say so."""
    if settings.has_limits and not settings.shared:
        memory = Memory(settings.max_items, settings.max_size)
    elif settings.has_limits:
        # The first one's limits count, as in KrakenD.
        key = "shared http cache"
        memory = assembly.resource(key, lambda: Memory(settings.max_items, settings.max_size))
    else:
        memory = assembly.resource("http cache", Memory)
    owner = None if settings.shared else object()
    judged = build_judged(backend)
    if judged is None:
        return lambda transport: CachingTransport(transport, memory, owner)
    return lambda transport: CachingTransport(judged(transport), memory, owner)


class CachingTransport:
    """Answers with what is kept, and keeps what comes. ``owner``: part of every key."""

    def __init__(
        self,
        inner: Transport,
        memory: Memory,
        owner: Hashable = None,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._inner = inner
        self._memory = memory
        self._owner = owner
        self._clock = clock
        self._steady = steady

    def __call__(self, outgoing: BackendRequest, arrive: Arrive) -> Withdraw:
        if outgoing.method in UNSAFE:
            return self._inner(outgoing, lambda result: arrive(self._changed(outgoing, result)))
        # A body may decide the answer, and is not part of a key.
        asks_itself = outgoing.body or any(name in CONDITIONS for name, _ in outgoing.headers)
        if outgoing.method != "GET" or asks_itself:
            return self._inner(outgoing, arrive)
        wanted = _wanted(outgoing.headers)
        kept = self._memory.find(self._key(outgoing), outgoing.headers)
        begun = self._steady()
        if kept is not None and use_of(kept, wanted, begun) is Use.FRESH:
            arrive(with_age(kept, begun))
            return nothing_to_withdraw
        if "only-if-cached" in wanted:
            arrive(HttpResponse(504, (), b""))
            return nothing_to_withdraw
        asked = outgoing
        if kept is not None:
            asked = outgoing._replace(headers=[*outgoing.headers, *validators(kept.answer)])
        return self._inner(
            asked, lambda result: arrive(self._arrived(outgoing, wanted, kept, begun, result))
        )

    def _arrived(
        self,
        outgoing: BackendRequest,
        wanted: Directives,
        kept: Kept | None,
        begun: float,
        result: Result,
    ) -> Result:
        """What is to be answered. Never raises: this runs in a connection's callback."""
        try:
            return self._digest(outgoing, wanted, kept, begun, result)
        except Exception:
            log.exception("%s: while keeping the answer", hide_query(outgoing.url))
            return result

    def _digest(
        self,
        outgoing: BackendRequest,
        wanted: Directives,
        kept: Kept | None,
        begun: float,
        result: Result,
    ) -> Result:
        now = self._steady()
        is_failure = not isinstance(result, HttpResponse) or result.status >= 500
        if kept is not None and is_failure and may_stand_in(kept, wanted, now):
            return with_age(kept, now)
        if not isinstance(result, HttpResponse):
            return result
        if kept is not None and result.status == 304 and not result.url:
            result = renewed(kept.answer, result)
        key = self._key(outgoing)
        if may_be_kept(outgoing, result):
            answer = keep(result, now - begun, self._clock(), now)
            self._memory.keep(key, outgoing.headers, answer)
        elif not is_failure:
            self._memory.forget(key)
        return result

    def _changed(self, outgoing: BackendRequest, result: Result) -> Result:
        """Nothing that was kept for an address counts after it was changed (RFC 9111, 4.4)."""
        if isinstance(result, HttpResponse) and result.status < 400:
            self._memory.forget(self._key(outgoing))
        return result

    def _key(self, outgoing: BackendRequest) -> Hashable:
        """The forwarded host is part of it: clients choose it, and backends may tell it."""
        host = find(outgoing.headers, b"x-forwarded-host")
        return self._owner, outgoing.url, outgoing.host.host_header, host


def _wanted(headers: Headers) -> Directives:
    wanted = directives(headers)
    if not wanted and b"no-cache" in find(headers, b"pragma").lower():
        return {"no-cache": ""}
    return wanted


def findings(settings: CacheSettings, place: Place) -> Iterator[Finding]:
    assert place.backend is not None
    assert place.endpoint is not None
    return map(place.warning, _traps(settings, place.backend, place.endpoint))


def _traps(settings: CacheSettings, backend: Backend, endpoint: Endpoint) -> Iterator[str]:
    if not is_http(backend):
        yield "messages are not kept: it has no effect"
        return
    if backend.method != "GET" and not settings.shared:
        yield f"only answers to GET are kept, this is a {backend.method}: it has no effect"
    if (settings.max_items > 0) != (settings.max_size > 0):
        yield "max_items and max_size have an effect only together"
    if "*" in endpoint.input_headers and not backend.input_headers:
        yield 'every header of a client tells requests apart ("*"): little is answered from memory'


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
