"""``sd: dns``: the hosts of a service, from the SRV records of its name."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import reduce
from itertools import cycle
from math import gcd
from typing import NamedTuple

from anyio import Event, move_on_after, sleep
from dns.asyncbackend import get_backend
from dns.asyncresolver import Resolver
from dns.exception import DNSException

from ..core.bridge import AsyncioSide
from ..core.tasks import open_tasks
from ..errors import BackendFailure
from ..telemetry.logs import get_logger
from .targets import Host, parse_host

log = get_logger("gateway.http")

MIN_TTL = 1.0
DEFAULT_TTL = 30.0
"""Seconds between two lookups (lura, sd/dnssrv)."""

FIRST_LOOKUP_TIMEOUT = 5.0
"""Seconds that a start waits for the first lookup. After that requests fail until one succeeds."""

MAX_WEIGHTED_ENTRIES = 100
"""About as many entries the weights of all hosts are reduced to, if they are larger."""


class Record(NamedTuple):
    """One SRV record (RFC 2782)."""

    priority: int
    weight: int
    target: str
    port: int


class Discovery:
    """The hosts of one name. When a lookup fails, the last known hosts stay in use.

    Lookups run on the asyncio side: dnspython decides once per process which async library runs.
    """

    def __init__(
        self,
        side: AsyncioSide,
        name: str,
        scheme: str,
        ttl: float,
        resolver: Resolver | None = None,
    ) -> None:
        self._side = side
        self._name = name
        self._scheme = scheme if scheme in ("http", "https") else "http"
        self._ttl = ttl if ttl >= MIN_TTL else DEFAULT_TTL
        self._resolver = resolver
        self._known: list[str] = []
        self._next_hosts: Iterator[Host] = iter(())
        self._problem = "not has_resolved up yet"

    def next_host(self) -> Host:
        """The hosts in turn, each as often as its weight says."""
        host = next(self._next_hosts, None)
        if host is None:
            raise BackendFailure("no hosts available")
        return host

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[None]:
        """Repeat the lookup while the block runs."""
        has_resolved = Event()
        async with open_tasks() as service:
            service.start_soon(self._side.run, self._keep_resolving, has_resolved)
            with move_on_after(FIRST_LOOKUP_TIMEOUT):
                await has_resolved.wait()
            yield
            service.cancel_scope.cancel()

    def readiness(self) -> dict[str, object]:
        return {
            "ready": bool(self._known),
            "role": "dns",
            "name": self._name,
            "hosts": sorted(set(self._known)),
            "problem": self._problem,
        }

    async def _keep_resolving(self, has_resolved: Event) -> None:
        while True:
            try:
                resolver = self._resolver = self._resolver or Resolver()
                response = await resolver.resolve(
                    self._name, "SRV", search=True, backend=get_backend("asyncio")
                )
            except (DNSException, OSError) as error:
                self._problem = str(error)
                log.warning("dns: %s: %s", self._name, error)
            else:
                self._problem = ""
                self._use(
                    Record(each.priority, each.weight, each.target.to_text(True), each.port)
                    for each in response
                )
            self._side.post(has_resolved.set)
            await sleep(self._ttl)

    def _use(self, records: Iterable[Record]) -> None:
        addresses = weighted([each for each in records if each.target != "."])
        if addresses != self._known:
            self._known = addresses
            self._next_hosts = cycle([parse_host(f"{self._scheme}://{each}") for each in addresses])


def weighted(records: Sequence[Record]) -> list[str]:
    """Addresses of the best priority, the heaviest first, each as often as its weight says.

    If all weights are 0, each address is there once.
    """
    best = min((each.priority for each in records), default=0)
    chosen = sorted(
        (each for each in records if each.priority == best),
        key=lambda each: (-each.weight, each.target, each.port),
    )
    total = sum(each.weight for each in chosen)
    weights = [each.weight for each in chosen]
    if total > max(MAX_WEIGHTED_ENTRIES, len(chosen)):
        scale = max(MAX_WEIGHTED_ENTRIES, len(chosen))
        weights = [weight * scale // total for weight in weights]
    divisor = reduce(gcd, weights, 0)
    counts = [weight // divisor if divisor else 1 for weight in weights]
    return [
        f"{each.target}:{each.port}"
        for each, count in zip(chosen, counts, strict=True)
        for _ in range(count)
    ]
