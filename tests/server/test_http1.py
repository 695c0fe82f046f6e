"""The limits that only our protocol keeps, and whether an answer has left."""

from __future__ import annotations

import gc
import socket
import struct
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from anyio import Event, aclose_forcefully, create_task_group, sleep, to_thread
from anyio.lowlevel import checkpoint
from msgspec.structs import replace

from gateway.core.asgi import Receive, Scope, Send
from gateway.server import Limits, ServeSettings
from gateway.server.http1.cycle import Http1Cycle
from gateway.server.http1.server_state import SWEEP_INTERVAL

from .client import (
    connect,
    connect_blocking,
    get,
    note_arrival,
    receive_all,
    receive_until,
    server_tls,
    serving,
    status_of,
    until,
)

pytestmark = pytest.mark.anyio

LIMITS = Limits(
    header_time=0.2,
    body_bytes=1000,
    body_time=0.2,
    answer_time=0.5,
    idle_time=0.3,
    connections=5,
)
SETTINGS = ServeSettings(server="http1", limits=LIMITS, grace=1)


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param}


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
def settings(request: pytest.FixtureRequest) -> ServeSettings:
    return replace(SETTINGS, tls=server_tls()) if request.param else SETTINGS


class Application:
    """Answers with ``size`` bytes and writes down whether they left."""

    def __init__(self) -> None:
        self.size = 5
        self.left: list[bool] = []
        self.begun = Event()
        self.gone = Event()
        self.waits = False
        self.asks = True
        self.headers: list[tuple[bytes, bytes]] = []
        self.connections: list[Any] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        connection = scope["extensions"]["gateway.connection"]
        self.begun.set()
        self.connections.append(connection)
        if self.waits:
            connection.watch(self.gone.set)
            await self.gone.wait()
        if scope["method"] == "POST":
            while (message := await receive()).get("more_body"):
                pass
            if message["type"] == "http.disconnect":
                return
        headers = [(b"content-length", b"%d" % self.size), *self.headers]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"x" * self.size})
        if self.asks:
            await note_arrival(connection, self.left.append)
        else:
            self.left.append(True)


@pytest.fixture
async def app() -> Application:
    return Application()


@pytest.fixture
async def port(app: Application, settings: ServeSettings) -> AsyncGenerator[int]:
    async with serving(app, settings) as (port, _):
        yield port


async def until_decided(app: Application, number: int = 1) -> list[bool]:
    await until(lambda: len(app.left) >= number)
    return app.left


async def test_a_client_that_reads_has_the_response(app: Application, port: int) -> None:
    client = await connect(port)
    for _ in range(3):
        await client.send(get())
        await receive_until(client, b"xxxxx")
    assert await until_decided(app, 3) == [True] * 3


@pytest.mark.parametrize("close", ["", "Connection: close"])
async def test_a_client_that_reads_and_closes_at_once_has_the_response(
    app: Application, settings: ServeSettings, close: str
) -> None:
    patient = replace(LIMITS, header_time=30.0, answer_time=30.0, idle_time=30.0)

    def ask(port: int) -> None:
        with connect_blocking(port) as client:
            client.sendall(get("/", close) if close else get())
            while b"xxxxx" not in client.recv(1000):
                pass

    async with serving(app, replace(settings, limits=patient)) as (port, _):
        for _ in range(150):
            await to_thread.run_sync(ask, port)
        assert await until_decided(app, 150) == [True] * 150


@pytest.mark.parametrize("is_reset", [False, True])
async def test_a_client_that_closes_before_does_not_have_the_response(
    app: Application, port: int, is_reset: bool
) -> None:
    def ask() -> socket.socket:
        client = connect_blocking(port)
        if is_reset:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.sendall(get())
        return client

    app.waits = True
    client = await to_thread.run_sync(ask)
    await app.begun.wait()
    client.close()
    assert await until_decided(app) == [False]


async def test_the_application_is_called_back_when_a_client_goes(
    app: Application, port: int
) -> None:
    app.waits = True
    client = await connect(port)
    await client.send(get())
    await sleep(0.1)
    assert not app.gone.is_set()
    await client.aclose()
    await app.gone.wait()


@pytest.mark.parametrize("anyio_backend", [("asyncio", {"use_uvloop": True})])
async def test_a_client_that_goes_while_pieces_are_written_is_no_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ended = Event()

    async def endless(scope: Scope, receive: Receive, send: Send) -> None:
        connection = scope["extensions"]["gateway.connection"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while not connection.is_gone:
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
            await checkpoint()
        ended.set()

    async with serving(endless, SETTINGS) as (port, _):
        client = await connect(port)
        await client.send(get())
        await client.receive()
        await aclose_forcefully(client)
        await ended.wait()
    assert caplog.messages == []


async def test_a_client_that_reads_too_slowly_does_not_have_the_response(
    app: Application, port: int
) -> None:
    app.size = 20_000_000
    client = await connect(port)
    await client.send(get())
    assert await until_decided(app) == [False]


async def test_a_client_that_reads_a_large_response_has_it(
    app: Application, settings: ServeSettings
) -> None:
    app.size = 20_000_000
    patient = replace(settings, limits=replace(LIMITS, answer_time=30.0))
    async with serving(app, patient) as (port, _):
        client = await connect(port)
        async with create_task_group() as tasks:
            await client.send(get("/", "Connection: close"))
            tasks.start_soon(receive_all, client)
            assert await until_decided(app) == [True]


@pytest.mark.parametrize("is_asked", [True, False])
async def test_an_answer_may_be_read_for_longer_than_a_connection_may_idle(
    app: Application, settings: ServeSettings, is_asked: bool
) -> None:
    app.size, app.asks = 8_000_000, is_asked
    patient = replace(settings, limits=replace(LIMITS, answer_time=30.0))
    async with serving(app, patient) as (port, _):
        client = await connect(port)
        await client.send(get())
        await sleep(3 * LIMITS.idle_time + 2 * SWEEP_INTERVAL)
        assert len(await receive_until(client, b"x" * 1000, app.size)) > app.size
        assert await until_decided(app) == [True]


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\n"])
async def test_headers_have_a_time(port: int, sent: bytes) -> None:
    client = await connect(port)
    if sent:
        await client.send(sent)
    assert status_of(await receive_all(client)) == 408


async def test_a_body_has_a_time(port: int) -> None:
    client = await connect(port)
    await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
    assert status_of(await receive_all(client)) == 408


async def test_a_chunked_body_has_a_size(port: int) -> None:
    client = await connect(port)
    await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    await client.send((b"100\r\n" + b"x" * 256 + b"\r\n") * 8)
    assert status_of(await receive_all(client)) == 413


async def test_an_idle_connection_is_closed(app: Application, port: int) -> None:
    client = await connect(port)
    await client.send(get())
    assert (await receive_all(client)).endswith(b"xxxxx")


async def test_connections_have_a_number(port: int) -> None:
    clients = [await connect(port) for _ in range(5)]
    refused = await connect(port)
    assert status_of(await receive_all(refused)) == 503
    for client in clients:
        await client.aclose()


async def test_a_header_cannot_be_smuggled(app: Application, port: int) -> None:
    app.headers = [(b"x-a", b"1\r\nx-b: 2")]
    client = await connect(port)
    await client.send(get("/", "Connection: close"))
    answer = await receive_all(client)
    assert b"x-b" not in answer
    assert status_of(answer) in (0, 500)


async def test_an_exchange_leaves_nothing_to_the_garbage_collector(
    app: Application, port: int
) -> None:
    gc.collect()
    client = await connect(port)
    gc.disable()
    try:
        for number in range(5):
            await client.send(get())
            await receive_until(client, b"xxxxx")
            await until_decided(app, number + 1)
        app.connections.clear()
        # The connection knows the last one.
        assert sum(isinstance(each, Http1Cycle) for each in gc.get_objects()) <= 1
    finally:
        gc.enable()
