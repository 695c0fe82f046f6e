"""Several requests on one connection, several connections in one burst: whose answer is whose."""

from __future__ import annotations

import gc
from collections.abc import AsyncGenerator

import pytest
from anyio import create_task_group, sleep
from anyio.lowlevel import checkpoint
from msgspec.structs import replace

from gateway.core.asgi import AsgiResponse, Receive, Scope, Send, send_answer
from gateway.server.http1.cycle import Http1Cycle
from gateway.server.http1.server_state import SWEEP_INTERVAL

from .client import connect, get, receive_all, receive_until, serving, status_of, until
from .test_http1 import LIMITS, SETTINGS, Application, until_decided

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """uvloop as in production: what is closed of it refuses to be written to."""
    return "asyncio", {"use_uvloop": request.param}


@pytest.fixture
async def app() -> Application:
    return Application()


@pytest.fixture
async def port(app: Application) -> AsyncGenerator[int]:
    async with serving(app, SETTINGS) as (port, _):
        yield port


async def test_a_client_that_is_lost_costs_no_other_its_answer(
    app: Application, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Answers that leave in one burst, while the connection of the first is being closed."""
    app.waits = True
    lost, other = await connect(port), await connect(port)
    for number, client in enumerate((lost, other), 1):
        await client.send(get())
        await until(lambda: len(app.connections) == number)  # noqa: B023
    app.gone.set()
    app.connections[0].transport.abort()
    await receive_until(other, b"xxxxx")
    assert sorted(await until_decided(app, 2)) == [False, True]
    assert caplog.records == []


async def test_who_goes_while_the_answer_leaves_has_it_not_and_is_no_error(
    app: Application, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    app.size = 20_000_000
    client = await connect(port)
    await client.send(get())
    await client.receive()
    await client.aclose()
    assert await until_decided(app) == [False]
    assert caplog.records == []


TOO_MUCH = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2000\r\n\r\n"


@pytest.mark.parametrize(
    ("behind", "status"),
    [
        (TOO_MUCH, 413),
        (
            b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            + (b"100\r\n" + b"x" * 256 + b"\r\n") * 8,
            413,
        ),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX-Large: " + b"x" * 1_100_000, 431),
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost:", 408),
    ],
    ids=["announced", "chunked", "header", "nonsense", "late"],
)
async def test_what_is_refused_is_refused_behind_the_answer_before_it(
    app: Application, port: int, behind: bytes, status: int
) -> None:
    app.waits = True
    client = await connect(port)
    await client.send(get())
    await until(lambda: app.connections)
    async with create_task_group() as tasks:
        tasks.start_soon(client.send, behind)  # what is large is read when it is its turn
        await sleep(0.1)
        assert not app.gone.is_set()
        app.gone.set()
    first, _, second = (await receive_all(client)).partition(b"xxxxx")
    assert (status_of(first), status_of(second)) == (200, status)
    assert await until_decided(app) == [True]


async def test_a_request_behind_one_that_is_refused_is_not_asked(
    app: Application, port: int
) -> None:
    client = await connect(port)
    await client.send(TOO_MUCH + b"x" * 2000 + get())
    assert status_of(await receive_all(client)) == 413
    assert app.connections == []


async def test_a_refusal_comes_behind_the_answer_before_it(app: Application, port: int) -> None:
    client = await connect(port)
    await client.send(get() + TOO_MUCH)
    answer = await receive_all(client)
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.count(b"HTTP/1.1") <= 2


async def test_the_first_of_several_requests_is_told_when_the_client_goes(
    app: Application, port: int
) -> None:
    app.waits = True
    client = await connect(port)
    await client.send(get())
    await until(lambda: app.connections)
    await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
    await sleep(0.05)
    app.connections[0].transport.abort()
    await until(app.gone.is_set)


async def test_requests_that_are_sent_ahead_are_looked_at_one_by_one(
    app: Application, port: int
) -> None:
    client = await connect(port)
    app.waits = True
    await client.send(get())
    await until(lambda: app.connections)
    exchange = app.connections[0]
    async with create_task_group() as tasks:

        async def send_ahead() -> None:
            for _ in range(20):
                await client.send(get() * 1000)

        tasks.start_soon(send_ahead)
        await until(lambda: exchange._connection.flow.read_paused)
        assert exchange._connection.cycle is exchange
        gc.collect()
        assert sum(isinstance(each, Http1Cycle) for each in gc.get_objects()) == 1
        app.waits = False
        app.gone.set()
        received, rest = 0, b""
        while received < 20_001:
            data = rest + await client.receive()
            received += data.count(b"HTTP/1.1 ")
            rest = data[-8:]  # one byte less than what is counted, which pieces may divide
    assert await until_decided(app, 20_001) == [True] * 20_001


async def test_of_requests_that_are_sent_ahead_none_is_asked_while_an_answer_is_not_taken(
    app: Application,
) -> None:
    app.size, app.asks = 1_000_000, False
    patient = replace(SETTINGS, limits=replace(LIMITS, answer_time=30.0))
    async with serving(app, patient) as (port, _):
        client = await connect(port)
        await client.send(get() * 1000)
        await until(lambda: app.connections and app.connections[-1]._connection.flow.write_paused)
        await until(lambda: app.connections[-1].response_complete)
        asked = len(app.connections)
        assert app.connections[-1]._connection.flow.read_paused
        for _ in range(200):
            await checkpoint()
        assert len(app.connections) == asked < 100


@pytest.mark.parametrize(
    ("begun", "rest"),
    [(b"GET / HTTP/1.1\r\nHo", b"st: x\r\n\r\n"), (TOO_MUCH.replace(b"2000", b"4") + b"ab", b"cd")],
)
async def test_what_is_not_read_because_others_wait_is_not_late(
    app: Application, port: int, begun: bytes, rest: bytes
) -> None:
    app.waits = True
    async with await connect(port) as client:
        await client.send(get() * 2 + begun)
        await until(lambda: app.connections)
        await sleep(LIMITS.header_time + LIMITS.body_time + 3 * SWEEP_INTERVAL)
        app.waits = False
        app.gone.set()
        await client.send(rest)
        received = b""
        while received.count(b"HTTP/1.1 200 ") < 3:
            received += await client.receive()


@pytest.mark.parametrize("name", [b"x-original-content-length", b"x-connection"])
async def test_a_header_that_only_ends_like_another_is_not_taken_for_it(
    app: Application, port: int, name: bytes
) -> None:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        value = b"close" if name == b"x-connection" else b"100"
        await send_answer(send, AsgiResponse(200, [(name, value)], b"hello"))

    async with serving(answer, SETTINGS) as (port, _):
        client = await connect(port)
        for _ in range(2):
            await client.send(get())
            received = await receive_until(client, b"hello")
            assert b"\r\ncontent-length: 5\r\n" in received


async def test_who_sends_a_body_after_the_answer_is_idle_then(app: Application, port: int) -> None:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await send_answer(send, AsgiResponse(401, [], b""))

    async with serving(answer, SETTINGS) as (port, _):
        client = await connect(port)
        await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n")
        await receive_until(client, b"\r\n\r\n")
        await client.send(b"hello")
        assert await receive_all(client) == b""


async def test_what_stands_behind_a_body_has_the_limit_of_headers(
    app: Application,
) -> None:
    small = replace(SETTINGS, limits=replace(LIMITS, header_bytes=10_000, body_time=30.0))
    async with serving(app, small) as (port, _):
        client = await connect(port)
        await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n")
        await sleep(0.1)
        await client.send(b"x-a: " + b"x" * 20_000)
        assert status_of(await receive_all(client)) == 431


async def test_an_answer_of_the_last_moment_is_written_before_the_stop(app: Application) -> None:
    app.waits = True
    async with serving(app, SETTINGS) as (port, _):
        client = await connect(port)
        await client.send(get())
        await until(lambda: app.connections)
        exchange = app.connections[0]
        exchange.send_whole(200, [], b"xxxxx")
        exchange._connection.shutdown()
        assert (await receive_all(client)).endswith(b"xxxxx")
