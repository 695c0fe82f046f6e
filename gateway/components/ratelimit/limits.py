"""A namespace's limits as a guard: each client's first, then that of all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from hashlib import blake2b
from typing import NamedTuple, Protocol, TypeAlias

from ...config.structs import Service
from ...core.asgi import Headers
from ...core.proxy import Guard, HeaderGuard, Request
from ...errors import Refused
from .bucket import Left, Rate, Store
from .clients import NameClient, build_name_client
from .script import Question
from .settings import LimitSettings

TOO_MANY_REQUESTS = 429
UNAVAILABLE = 503

NAMES = (b"ratelimit-limit", b"ratelimit-remaining", b"ratelimit-reset")
"""The fields of draft-ietf-httpapi-ratelimit-headers-06. Later drafts have others, which few
clients read."""

FindKey: TypeAlias = Callable[[Request], bytes | None]
"""The key of the bucket that a request takes from; None: there is no such client."""

Refuse: TypeAlias = Callable[[int, bytes, Rate], Refused]
"""A status, and the key and rate of the bucket that is empty."""


class Limit(NamedTuple):
    """``status``: of who is refused."""

    status: int
    rate: Rate
    find_key: FindKey


def build_limits(settings: LimitSettings, name: str, service: Service) -> tuple[Limit, ...]:
    """The limits of one namespace, in their order. ``name``: of what is limited."""
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
    """The key of a bucket: of one size, and it does not tell what a client has sent."""
    return blake2b(text.encode(errors="surrogateescape"), digest_size=16).digest()


def build_guard(
    limits: tuple[Limit, ...],
    store: Store,
    refused: Refuse = lambda status, key, rate: Refused(status),
) -> Guard:
    """Raises what ``refused`` makes when one of the limits is reached."""

    def guard(request: Request) -> None:
        for status, rate, find_key in limits:
            key = find_key(request)
            if key is None:
                raise Refused(status)
            if not store.take(key, rate):
                raise refused(status, key, rate)

    return guard


def build_header_guard(limits: tuple[Limit, ...], store: Store) -> HeaderGuard:
    """Its headers are those of the limit with the fewest requests left, or of the limit that is
    reached.
    """

    def refused(status: int, key: bytes, rate: Rate) -> Refused:
        left = store.look(key, rate)
        retry_after = (b"retry-after", b"%d" % max(1, left.next_in))
        return Refused(status, "", (*limit_headers(left), retry_after))

    def headers(request: Request) -> Headers:
        keys = ((find_key(request), rate) for _, rate, find_key in limits)
        found = [store.look(key, rate) for key, rate in keys if key is not None]
        return limit_headers(min(found, key=_remaining)) if found else ()

    return HeaderGuard(build_guard(limits, store, refused), headers)


def _remaining(left: Left) -> int:
    return left.remaining


def limit_headers(left: Left) -> tuple[tuple[bytes, bytes], ...]:
    values = (left.limit, left.remaining, left.full_in)
    return tuple((name, b"%d" % value) for name, value in zip(NAMES, values, strict=True))


def refuse(request: Request) -> None:
    """The guard of who lets nobody in."""
    raise Refused(UNAVAILABLE)


class Counters(Protocol):
    """Where several gateways count together."""

    @property
    def is_up(self) -> bool:
        """Somebody would answer."""
        ...

    async def ask(self, question: Question) -> int | None:
        """The number of the limit that refuses, from 1; 0: none does; None: nobody answers."""
        ...


def build_shared_guard(limits: tuple[Limit, ...], counters: Counters, otherwise: Guard) -> Guard:
    """``otherwise``: is asked while nobody answers."""

    async def ask(request: Request, question: Question) -> None:
        refused = await counters.ask(question)
        if refused:
            raise Refused(limits[refused - 1].status)
        if refused is None and (waiting := otherwise(request)) is not None:
            await waiting

    def guard(request: Request) -> Awaitable[None] | None:
        if not counters.is_up:
            return otherwise(request)
        return ask(request, list(_question(limits, request)))

    return guard


def _question(limits: tuple[Limit, ...], request: Request) -> Iterator[tuple[bytes, Rate]]:
    for status, rate, find_key in limits:
        key = find_key(request)
        if key is None:
            raise Refused(status)
        yield key, rate
