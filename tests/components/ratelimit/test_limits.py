"""Limits in a gateway: who is refused, how, and what is asked of a backend then."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from msgspec import Struct

from gateway.app.service import open_gateway
from gateway.components.ratelimit.bucket import Buckets, rate_of
from gateway.components.ratelimit.build import BackendLimit
from gateway.components.ratelimit.limits import Denials
from gateway.config.structs import Backend, Endpoint
from gateway.core.asgi import ASGIApp
from gateway.core.component import Assembly, Component
from gateway.core.pipe import coroutine_of
from gateway.core.proxy import Arrive, Branch, Part, Request, Response
from gateway.errors import GatewayError, RateLimitExceeded

from ...router.support import Client, Reply, http_scope
from ..gateways import catalog_of

pytestmark = pytest.mark.anyio


class NoSettings(Struct, frozen=True):
    """Of a backend that has none."""


async def answer(request: Request) -> Response:
    return Response({"a": 1})


def build_answering(
    settings: NoSettings, backend: Backend, endpoint: Endpoint, assembly: Assembly
) -> Branch:
    return Branch(answer, reads_body=False)


CATALOG_OF_TEST = catalog_of(
    Component("backend/test", NoSettings, backend=build_answering, is_default=True),
    lambda row: row.namespace.startswith(("qos/ratelimit/", "redis")),
)


@asynccontextmanager
async def limited(
    service: dict[str, Any] | None = None, **endpoint: Any
) -> AsyncGenerator[ASGIApp]:
    """A gateway with an endpoint ``/a/{id}`` that has these limits, and one without."""
    backend = {"url_pattern": "/", "host": ["http://a.test"]}
    limits = {"qos/ratelimit/router": {"every": "10m", **endpoint}} if endpoint else {}
    config = {
        "version": 3,
        "endpoints": [
            {"endpoint": "/a/{id}", "backend": [backend], "extra_config": limits},
            {"endpoint": "/free", "backend": [backend]},
        ],
        "extra_config": {"qos/ratelimit/service": {"every": "10m", **service}} if service else {},
    }
    async with open_gateway(config, catalog=CATALOG_OF_TEST) as gateway:
        yield gateway.asgi


async def ask(app: ASGIApp, path: str = "/a/1", **headers: str) -> Reply:
    client = Client()
    told = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = http_scope("GET", path, headers=told, client=("192.0.2.1", 1))
    await app(scope, client.receive, client.send)
    return client.reply


async def statuses(app: ASGIApp, times: int, path: str = "/a/1", **headers: str) -> list[int]:
    return [(await ask(app, path, **headers)).status for _ in range(times)]


async def test_an_endpoint_above_its_limit_responds_503_without_a_body() -> None:
    async with limited(max_rate=2, capacity=2) as app:
        assert await statuses(app, 3) == [200, 200, 503]
        reply = await ask(app)
        assert (reply.body, reply.headers) == (b"", {"content-length": "0"})
        assert await statuses(app, 3, "/free") == [200, 200, 200]


async def test_a_client_above_its_limit_gets_429_and_others_do_not() -> None:
    async with limited(client_max_rate=1, strategy="header", key="X-Token") as app:
        assert await statuses(app, 2, x_token="one") == [200, 429]
        assert await statuses(app, 2, x_token="two") == [200, 429]
        assert await statuses(app, 1) == [429]


async def test_the_limit_of_a_client_comes_before_that_of_all() -> None:
    async with limited(
        max_rate=1, capacity=2, client_max_rate=1, strategy="param", key="id"
    ) as app:
        assert await statuses(app, 3, "/a/1") == [200, 429, 429]
        assert await statuses(app, 1, "/a/2") == [200]
        assert await statuses(app, 1, "/a/3") == [503]


async def test_with_an_unknown_strategy_only_the_limit_of_all_clients_is_valid() -> None:
    async with limited(max_rate=1, capacity=2, client_max_rate=1, strategy="nosuch") as app:
        assert await statuses(app, 3) == [200, 200, 503]


async def test_a_service_counts_every_request_except_health_and_readiness() -> None:
    async with limited({"max_rate": 3, "capacity": 3}) as app:
        assert await statuses(app, 2, "/__health") == [200, 200]
        paths = ("/a/1", "/free", "/nowhere", "/nowhere", "/free")
        assert [(await ask(app, path)).status for path in paths] == [200, 200, 404, 503, 503]
        assert await statuses(app, 1, "/__ready") == [200]
        assert await statuses(app, 1, "/__health") == [200]


async def test_a_service_identifies_clients_by_their_address() -> None:
    async with limited({"client_max_rate": 1, "strategy": "ip"}) as app:
        assert await statuses(app, 2, "/a/1") == [200, 429]
        assert await statuses(app, 1, "/free") == [429]
        assert await statuses(app, 1, "/free", x_forwarded_for="198.51.100.1") == [200]


async def test_addresses_of_one_ipv6_network_share_one_limit() -> None:
    addresses = ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1")
    for prefix, expected in ((None, [200, 429, 200]), (128, [200, 200, 200])):
        own: dict[str, Any] = {} if prefix is None else {"ipv6_prefix": prefix}
        async with limited(client_max_rate=1, strategy="ip", **own) as app:
            got = [(await ask(app, x_forwarded_for=each)).status for each in addresses]
        assert got == expected


class RecordingBackend:
    """A backend whose ``now`` returns or raises ``knows``, and whose ``later`` responds."""

    def __init__(self, knows: Response | GatewayError | None = None) -> None:
        self.knows = knows
        self.calls: list[str] = []

    async def ask(self, request: Request) -> Response:
        self.calls.append("ask")
        return Response({})

    def now(self, request: Request) -> Response | None:
        self.calls.append("now")
        if isinstance(self.knows, GatewayError):
            raise self.knows
        return self.knows

    def later(self, request: Request, arrive: Arrive) -> Callable[[], GatewayError | None]:
        self.calls.append("later")
        arrive(Response({}))
        return lambda: None


REQUEST = Request("GET", "/", {})


def bounded(branch: Branch, capacity: int) -> Branch:
    rate = rate_of(1e-6, capacity)
    assert rate is not None
    return BackendLimit(Buckets(), b"", rate, Denials())(branch)


def part_of(branch: Branch) -> Part:
    """What a branch returns without a task."""
    assert branch.later is not None
    parts: list[Part] = []
    withdraw = branch.later(REQUEST, parts.append)
    assert withdraw() is None
    [part] = parts
    return part


def test_a_backend_above_its_limit_is_not_called() -> None:
    backend = RecordingBackend(Response({}))
    branch = bounded(Branch(None, backend.now, backend.later, may_repeat=True, reads_body=False), 3)
    assert branch.now is not None
    assert [type(branch.now(REQUEST)) for _ in range(3)] == [Response] * 3
    with pytest.raises(RateLimitExceeded):
        branch.now(REQUEST)
    assert isinstance(part_of(branch), RateLimitExceeded)
    assert backend.calls == ["now"] * 3
    assert (branch.may_repeat, branch.reads_body) == (True, False)


async def test_a_backend_above_its_limit_is_not_called_in_a_task() -> None:
    backend = RecordingBackend()
    ask = coroutine_of(bounded(Branch(backend.ask), 1))
    await ask(REQUEST)
    with pytest.raises(RateLimitExceeded, match="rate limit exceded"):
        await ask(REQUEST)
    assert backend.calls == ["ask"]


def test_a_request_that_waits_for_its_backend_uses_one_token() -> None:
    backend = RecordingBackend(knows=None)
    branch = bounded(Branch(None, backend.now, backend.later), 1)
    assert branch.now is not None
    assert [branch.now(REQUEST) for _ in range(3)] == [None] * 3
    assert [type(part_of(branch)) for _ in range(2)] == [Response, RateLimitExceeded]


def test_a_failed_request_uses_a_token_too() -> None:
    backend = RecordingBackend(GatewayError("no"))
    branch = bounded(Branch(None, backend.now, backend.later), 2)
    assert branch.now is not None
    for _ in range(2):
        with pytest.raises(GatewayError, match="no"):
            branch.now(REQUEST)
    with pytest.raises(RateLimitExceeded):
        branch.now(REQUEST)


def limit_headers(reply: Reply) -> tuple[str, str]:
    """The limit and the remaining requests that a response reports."""
    assert 0 < int(reply.headers["ratelimit-reset"]) <= 600
    return reply.headers["ratelimit-limit"], reply.headers["ratelimit-remaining"]


async def test_responses_of_an_endpoint_report_the_requests_left() -> None:
    async with limited(max_rate=2, capacity=2, headers=True) as app:
        assert limit_headers(await ask(app)) == ("2", "1")
        assert limit_headers(await ask(app)) == ("2", "0")
        refused = await ask(app)
        assert (refused.status, limit_headers(refused)) == (503, ("2", "0"))
        assert 0 < int(refused.headers["retry-after"]) <= 300
        assert "ratelimit-limit" not in (await ask(app, "/free")).headers


async def test_the_headers_describe_the_limit_with_the_fewest_requests_left() -> None:
    async with limited(
        max_rate=5,
        capacity=5,
        client_max_rate=3,
        client_capacity=3,
        strategy="param",
        key="id",
        headers=True,
    ) as app:
        assert limit_headers(await ask(app, "/a/1")) == ("3", "2")
        assert limit_headers(await ask(app, "/a/2")) == ("3", "2")
        assert limit_headers(await ask(app, "/a/3")) == ("3", "2")
        assert limit_headers(await ask(app, "/a/4")) == ("5", "1")


async def test_responses_of_a_service_report_the_requests_left() -> None:
    async with limited({"max_rate": 2, "capacity": 2, "headers": True}) as app:
        assert "ratelimit-limit" not in (await ask(app, "/__health")).headers
        assert limit_headers(await ask(app, "/free")) == ("2", "1")
        assert limit_headers(await ask(app, "/nowhere")) == ("2", "0")
        refused = await ask(app)
        assert (refused.status, limit_headers(refused)) == (503, ("2", "0"))


async def test_the_headers_of_an_endpoint_replace_those_of_the_service() -> None:
    service = {"max_rate": 9, "capacity": 9, "headers": True}
    async with limited(service, max_rate=2, capacity=2, headers=True) as app:
        assert limit_headers(await ask(app)) == ("2", "1")
        assert limit_headers(await ask(app, "/free")) == ("9", "7")


async def test_without_the_key_headers_responses_have_no_such_headers() -> None:
    async with limited({"max_rate": 9}, max_rate=1) as app:
        replies = [await ask(app), await ask(app)]
        assert [reply.status for reply in replies] == [200, 503]
        assert not any(name.startswith("ratelimit") for each in replies for name in each.headers)
