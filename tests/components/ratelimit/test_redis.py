"""Limits that several gateways keep in one Redis, and what becomes of them without it."""

from __future__ import annotations

import gc
import logging
import signal
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest
from anyio import fail_after

from bench.process import running
from gateway.app.service import Gateway, open_gateway
from gateway.components.ratelimit.bucket import Rate
from gateway.components.ratelimit.redis import RedisCounters
from gateway.components.ratelimit.settings import RedisPool
from gateway.core.bridge import open_asyncio_side
from gateway.demo.broker import free_port
from gateway.errors import GatewayError

from ...http.test_tls import AUTHORITY, CERTIFICATE, KEY, TRUSTING
from .redis_server import RedisServer, open_redis
from .test_limits import CATALOG_OF_TEST, ask, statuses

pytestmark = [
    pytest.mark.anyio,
    # coredis leaves streams open when it cannot connect.
    pytest.mark.filterwarnings("ignore:Unclosed <MemoryObject:ResourceWarning"),
]


@pytest.fixture
def redis(tmp_path: Path) -> Generator[RedisServer]:
    with open_redis(tmp_path) as server:
        yield server
    gc.collect()


def configuration(address: str, service: bool = False, **limits: Any) -> dict[str, Any]:
    pool = {"name": "counters", "address": address, **limits.pop("pool", {})}
    settings = {"every": "1h", "connection_pool": "counters", **limits}
    backend = {"url_pattern": "/", "host": [f"http://127.0.0.1:{free_port()}"]}
    endpoint: dict[str, Any] = {"endpoint": "/a/{id}", "backend": [backend]}
    extra: dict[str, Any] = {"redis": {"connection_pools": [pool]}}
    if service:
        extra["qos/ratelimit/service/redis"] = settings
    else:
        endpoint["extra_config"] = {"qos/ratelimit/router/redis": settings}
    return {"version": 3, "name": "test", "endpoints": [endpoint], "extra_config": extra}


@asynccontextmanager
async def opened(*configs: dict[str, Any]) -> AsyncGenerator[list[Gateway]]:
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(open_gateway(config, catalog=CATALOG_OF_TEST))
            for config in configs
        ]


async def until_connected(*gateways: Gateway, is_connected: bool = True) -> None:
    with fail_after(15):
        for gateway in gateways:
            while state(gateway)["connected"] != is_connected:
                await anyio.sleep(0.01)


def state(gateway: Gateway) -> Any:
    [redis] = [each for each in gateway.readiness()["resources"] if each["kind"] == "redis"]
    return redis


async def test_two_gateways_share_one_limit(redis: RedisServer) -> None:
    config = configuration(redis.address, max_rate=1, capacity=5)
    async with opened(config, config) as (one, other):
        await until_connected(one, other)
        answered = [*await statuses(one.asgi, 3), *await statuses(other.asgi, 3)]
        assert answered == [200, 200, 200, 200, 200, 503]
        assert await statuses(one.asgi, 1) == [503]


async def test_two_gateways_share_one_limit_for_each_client(redis: RedisServer) -> None:
    limits: dict[str, Any] = {"client_max_rate": 1, "strategy": "header", "key": "X-Token"}
    config = configuration(redis.address, **limits, max_rate=1, capacity=3)
    async with opened(config, config) as (one, other):
        await until_connected(one, other)
        assert await statuses(one.asgi, 2, x_token="a") == [200, 429]
        assert await statuses(other.asgi, 2, x_token="a") == [429, 429]
        assert await statuses(other.asgi, 1) == [429]
        assert await statuses(other.asgi, 1, x_token="b") == [200]
        assert await statuses(other.asgi, 1, x_token="c") == [200]
        assert await statuses(other.asgi, 1, x_token="d") == [503]


async def test_two_gateways_share_one_limit_for_the_service(redis: RedisServer) -> None:
    config = configuration(redis.address, service=True, max_rate=1, capacity=2)
    async with opened(config, config) as (one, other):
        await until_connected(one, other)
        assert await statuses(one.asgi, 1, "/nowhere") == [404]
        assert await statuses(other.asgi, 2) == [200, 503]
        assert await statuses(one.asgi, 1, "/__health") == [200]


async def test_gateways_with_other_names_do_not_share_limits(redis: RedisServer) -> None:
    config = configuration(redis.address, max_rate=1, capacity=1)
    async with opened(config, {**config, "name": "another"}) as (one, other):
        await until_connected(one, other)
        assert await statuses(one.asgi, 2) == [200, 503]
        assert await statuses(other.asgi, 2) == [200, 503]


async def test_a_burst_gets_exactly_the_tokens_of_the_bucket(redis: RedisServer) -> None:
    config = configuration(redis.address, max_rate=1, capacity=100)
    found: Counter[int] = Counter()
    async with opened(config) as (gateway,):
        await until_connected(gateway)

        async def one() -> None:
            found[(await ask(gateway.asgi)).status] += 1

        async with anyio.create_task_group() as clients:
            for _ in range(250):
                clients.start_soon(one)
    assert found == {200: 100, 503: 150}


async def test_a_token_comes_back_by_the_clock_of_redis(redis: RedisServer) -> None:
    config = configuration(redis.address, max_rate=10, capacity=1, every="1s")
    async with opened(config) as (gateway,):
        await until_connected(gateway)
        assert await statuses(gateway.asgi, 1) == [200]
        with fail_after(10):
            while (await ask(gateway.asgi)).status != 200:
                await anyio.sleep(0.02)


async def test_without_redis_each_gateway_has_its_own_limit_and_warns_once(
    redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    config = configuration(redis.address, max_rate=1, capacity=2)
    with caplog.at_level(logging.INFO, "gateway"):
        async with opened(config, config) as (one, other):
            await until_connected(one, other)
            redis.stop()
            assert await statuses(one.asgi, 3) == [200, 200, 503]
            assert await statuses(other.asgi, 3) == [200, 200, 503]
            await anyio.sleep(1)  # for attempts that fail as well
            redis.start()
            await until_connected(one, other)
            assert await statuses(one.asgi, 1) == [200]
            assert await statuses(other.asgi, 2) == [200, 503]
    texts = [each.getMessage() for each in caplog.records if each.name == "gateway.ratelimit"]
    assert [text for text in texts if "not connected" in text] == texts[:2]
    assert [text for text in texts if "connected again" in text] == texts[2:]
    assert len(texts) == 4


async def test_a_gateway_starts_without_redis_and_finds_it_later(redis: RedisServer) -> None:
    redis.stop()
    async with opened(configuration(redis.address, max_rate=1, capacity=1)) as (gateway,):
        assert await statuses(gateway.asgi, 2) == [200, 503]
        assert gateway.readiness()["ready"]
        redis.start()
        await until_connected(gateway)
        assert await statuses(gateway.asgi, 2) == [200, 503]


async def test_a_redis_that_does_not_respond_counts_as_disconnected(redis: RedisServer) -> None:
    async with opened(configuration(redis.address, max_rate=1, capacity=1)) as (gateway,):
        await until_connected(gateway)
        redis.signal(signal.SIGSTOP)
        assert await statuses(gateway.asgi, 2) == [200, 503]
        assert not state(gateway)["connected"]
        redis.signal(signal.SIGCONT)
        await until_connected(gateway)


async def test_a_client_that_leaves_during_a_check_does_not_disturb_others(
    redis: RedisServer,
) -> None:
    async with opened(configuration(redis.address, max_rate=1, capacity=5)) as (gateway,):
        await until_connected(gateway)
        redis.signal(signal.SIGSTOP)
        async with anyio.create_task_group() as clients:
            for _ in range(3):
                clients.start_soon(ask, gateway.asgi)
            await anyio.lowlevel.checkpoint()
            clients.cancel_scope.cancel()
        redis.signal(signal.SIGCONT)
        assert await statuses(gateway.asgi, 1) == [200]
        assert state(gateway)["connected"]


async def test_without_on_failure_allow_every_request_is_refused_while_redis_is_down(
    redis: RedisServer,
) -> None:
    redis.stop()
    limits: dict[str, Any] = {"max_rate": 5, "on_failure_allow": False}
    async with opened(configuration(redis.address, **limits)) as (gateway,):
        assert await statuses(gateway.asgi, 2) == [503, 503]
        redis.start()
        await until_connected(gateway)
        assert await statuses(gateway.asgi, 1) == [200]


async def test_a_password_is_used_and_never_shown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_PASSWORD", "a/b@c")
    limits: dict[str, Any] = {"max_rate": 1, "capacity": 1}
    with open_redis(tmp_path, "--requirepass", "a/b@c") as redis:
        good = configuration(redis.address, pool={"password": "${REDIS_PASSWORD}"}, **limits)
        bad = configuration(redis.address, pool={"password": "wrong-one"}, **limits)
        async with opened(good, bad) as (right, wrong):
            await until_connected(right)
            assert await statuses(right.asgi, 2) == [200, 503]
            assert await statuses(wrong.asgi, 2) == [200, 503]
            with fail_after(10):
                while "not connected" not in caplog.text:
                    await anyio.sleep(0.01)
    assert "a/b@c" not in caplog.text
    assert "wrong-one" not in caplog.text


async def test_the_certificate_of_a_redis_with_tls_is_verified(tmp_path: Path) -> None:
    port = free_port()
    options = (
        *("--tls-port", str(port), "--tls-auth-clients", "no"),
        *("--tls-cert-file", CERTIFICATE, "--tls-key-file", KEY, "--tls-ca-cert-file", AUTHORITY),
    )
    limits: dict[str, Any] = {"max_rate": 1, "capacity": 1}
    with open_redis(tmp_path, *options):
        good = configuration(f"localhost:{port}", pool={"tls": TRUSTING}, **limits)
        bad = configuration(f"localhost:{port}", pool={"tls": {}}, **limits)
        async with opened(good, bad) as (trusting, careful):
            await until_connected(trusting)
            assert await statuses(trusting.asgi, 2) == [200, 503]
            assert await statuses(careful.asgi, 2) == [200, 503]
            assert not state(careful)["connected"]
    gc.collect()


async def test_with_an_unknown_pool_each_gateway_has_its_own_limit() -> None:
    config = configuration("nowhere", max_rate=1, capacity=1, connection_pool="other")
    async with opened(config, config) as (one, other):
        assert await statuses(one.asgi, 2) == [200, 503]
        assert await statuses(other.asgi, 2) == [200, 503]


async def test_the_error_names_a_missing_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gateway.components.ratelimit.redis", None)
    with pytest.raises(GatewayError, match="hutch-gateway\\[redis\\]"):
        async with opened(configuration("127.0.0.1", max_rate=1)):
            pass


async def test_an_invalid_address_is_an_error() -> None:
    with pytest.raises(GatewayError, match='127\\.0\\.0\\.1:x" is not an address'):
        async with opened(configuration("127.0.0.1:x", max_rate=1)):
            pass


def test_workers_share_one_limit(redis: RedisServer, tmp_path: Path) -> None:
    config = configuration(redis.address, max_rate=1, capacity=6)
    with running(config, tmp_path) as one, running(config, tmp_path) as other:
        for gateway in (one, other):
            while '"connected":true' not in httpx.get(gateway.url + "/__ready").text:
                pass
        found = Counter(
            httpx.get(gateway.url + "/a/1").status_code
            for _ in range(10)
            for gateway in (one, other)
        )
    assert found == {500: 6, 503: 14}


@pytest.mark.parametrize(
    "error",
    [
        ValueError("not a number"),
        TypeError(),
        AssertionError("out of step"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
        ExceptionGroup("", [IndexError("pop"), OSError("gone")]),
    ],
)
async def test_any_error_of_the_client_library_only_ends_the_connection(
    error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tries, again = 0, anyio.Event()

    async def fail(counters: RedisCounters) -> None:
        nonlocal tries
        tries += 1
        if tries == 2:
            again.set()
        raise error

    monkeypatch.setattr(RedisCounters, "_serve", fail)
    config = configuration("127.0.0.1:1", max_rate=1, capacity=2)
    async with opened(config) as (gateway,):
        with fail_after(20):
            await again.wait()
        assert await statuses(gateway.asgi, 3) == [200, 200, 503]
    assert len([text for text in caplog.messages if "not connected" in text]) == 1


@pytest.mark.parametrize(
    "results", [None, 1, b"x", [], [0, 0], [b"1"], ["0"], [None], [-1], [3], [True], [[0]], {0: 0}]
)
async def test_a_result_that_the_script_cannot_return_ends_the_connection(results: object) -> None:
    rate = Rate(1, 1)
    check = [(b"a", rate), (b"b", rate)]

    async def run_script(keys: object, arguments: object) -> object:
        return results

    async with open_asyncio_side() as side, anyio.create_task_group() as tasks:
        counters = RedisCounters(RedisPool(address="127.0.0.1:1"), side)
        counters.is_up = True
        got: list[int | None] = []

        async def take() -> None:
            got.append(await counters.take(check))

        tasks.start_soon(take)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(ConnectionError, match="not one of the script") as caught:
            await counters._check_batch(run_script)
        counters._disconnected(caught.value)
    assert got == [None]
