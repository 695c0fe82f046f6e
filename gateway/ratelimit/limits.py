"""A namespace's limits as a guard: each client's first, then that of all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from hashlib import blake2b
from typing import NamedTuple, Protocol, TypeAlias

from ..config.structs import Service
from ..errors import Refused
from ..proxy import Guard, Request
from .bucket import Rate, Store
from .clients import NameClient, build_name_client
from .script import Question
from .settings import LimitSettings

TOO_MANY_REQUESTS = 429
UNAVAILABLE = 503

FindKey: TypeAlias = Callable[[Request], bytes | None]
"""The key of the bucket that a request takes from; None: there is no such client."""


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


def build_guard(limits: tuple[Limit, ...], store: Store) -> Guard:
    """Raises :class:`Refused` when one of the limits is reached."""

    def guard(request: Request) -> None:
        for status, rate, find_key in limits:
            key = find_key(request)
            if key is None or not store.take(key, rate):
                raise Refused(status)

    return guard


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
