"""The limits of a namespace as a guard: first the limit of each client, then that of all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from hashlib import blake2b
from typing import NamedTuple, Protocol, TypeAlias

from ...config.structs import Service
from ...core.asgi import Headers
from ...core.proxy import Guard, HeaderGuard, Request
from ...errors import Refused
from .bucket import BucketState, Rate, Store
from .clients import NameClient, build_name_client
from .redis_script import LimitCheck
from .settings import LimitSettings

TOO_MANY_REQUESTS = 429
UNAVAILABLE = 503

HEADER_NAMES = (b"ratelimit-limit", b"ratelimit-remaining", b"ratelimit-reset")
"""The fields of draft-ietf-httpapi-ratelimit-headers-06. Few clients read those of later drafts."""

FindKey: TypeAlias = Callable[[Request], bytes | None]
"""The key of the bucket that a request takes from; None: it does not identify its client."""

Refuse: TypeAlias = Callable[[int, bytes, Rate], Refused]
"""status, key and rate of an empty bucket -> the refusal."""


class Limit(NamedTuple):
    """``status``: of a refused request."""

    status: int
    rate: Rate
    find_key: FindKey


class Denials:
    """How many requests the limits of one place have refused."""

    def __init__(self) -> None:
        self.count = 0


def build_limits(settings: LimitSettings, name: str, service: Service) -> tuple[Limit, ...]:
    """The limits of one namespace, in their order. ``name``: of the endpoint or service."""
    return tuple(_limits(settings, name, service))


def _limits(settings: LimitSettings, name: str, service: Service) -> Iterator[Limit]:
    name_client = build_name_client(settings.strategy, settings.key, service, settings.ipv6_prefix)
    if (rate := settings.client_rate) is not None and name_client is not None:
        yield Limit(TOO_MANY_REQUESTS, rate, _for_clients(name, name_client))
    if (rate := settings.rate) is not None:
        key = fingerprint(name)
        yield Limit(UNAVAILABLE, rate, lambda request: key)


def _for_clients(name: str, name_client: NameClient) -> FindKey:
    def find_key(request: Request) -> bytes | None:
        client = name_client(request)
        return fingerprint(f"{name}\n{client}") if client else None

    return find_key


def fingerprint(text: str) -> bytes:
    """The key of a bucket: a hash, so keys have one size and contain no data of clients."""
    return blake2b(text.encode(errors="surrogateescape"), digest_size=16).digest()


def build_guard(
    limits: tuple[Limit, ...],
    store: Store,
    denials: Denials,
    refused: Refuse = lambda status, key, rate: Refused(status),
) -> Guard:
    """Raises the exception that ``refused`` returns if one of the limits is reached."""

    def guard(request: Request) -> None:
        for status, rate, find_key in limits:
            key = find_key(request)
            if key is None:
                denials.count += 1
                raise Refused(status)
            if not store.take(key, rate):
                denials.count += 1
                raise refused(status, key, rate)

    return guard


def build_header_guard(limits: tuple[Limit, ...], store: Store, denials: Denials) -> HeaderGuard:
    """A guard whose headers describe the limit with the fewest requests left, or the limit that
    refused the request.
    """

    def refused(status: int, key: bytes, rate: Rate) -> Refused:
        state = store.state(key, rate)
        retry_after = (b"retry-after", b"%d" % max(1, state.next_in))
        return Refused(status, "", (*limit_headers(state), retry_after))

    def headers(request: Request) -> Headers:
        keys = ((find_key(request), rate) for _, rate, find_key in limits)
        found = [store.state(key, rate) for key, rate in keys if key is not None]
        return limit_headers(min(found, key=_remaining)) if found else ()

    return HeaderGuard(build_guard(limits, store, denials, refused), headers)


def _remaining(state: BucketState) -> int:
    return state.remaining


def limit_headers(state: BucketState) -> tuple[tuple[bytes, bytes], ...]:
    values = (state.limit, state.remaining, state.full_in)
    return tuple((name, b"%d" % value) for name, value in zip(HEADER_NAMES, values, strict=True))


def refuse_all(request: Request) -> None:
    """A guard that refuses every request."""
    raise Refused(UNAVAILABLE)


class Counters(Protocol):
    """Buckets in Redis, for several gateways."""

    @property
    def is_up(self) -> bool:
        """Connected."""
        ...

    async def take(self, check: LimitCheck) -> int | None:
        """The number of the limit that refuses, from 1; 0: none does; None: not connected."""
        ...


def build_redis_guard(
    limits: tuple[Limit, ...], counters: Counters, fallback: Guard, denials: Denials
) -> Guard:
    """``fallback``: the guard while the counters are not connected."""

    async def admit(request: Request, check: LimitCheck) -> None:
        refused = await counters.take(check)
        if refused:
            denials.count += 1
            raise Refused(limits[refused - 1].status)
        if refused is None and (waiting := fallback(request)) is not None:
            await waiting

    def guard(request: Request) -> Awaitable[None] | None:
        if not counters.is_up:
            return fallback(request)
        return admit(request, list(_buckets(limits, request)))

    return guard


def _buckets(limits: tuple[Limit, ...], request: Request) -> Iterator[tuple[bytes, Rate]]:
    for status, rate, find_key in limits:
        key = find_key(request)
        if key is None:
            raise Refused(status)
        yield key, rate
