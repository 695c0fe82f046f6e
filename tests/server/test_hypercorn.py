"""Whether an answer has left, on hypercorn: HTTP/1.1 and HTTP/2, with TLS and without."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import AsyncGenerator

import h2.config
import h2.connection
import h2.events
import h2.settings
import httpx
import pytest
from anyio import Event, sleep, to_thread
from anyio.abc import ByteStream
from msgspec.structs import replace
from sniffio import current_async_library

from gateway.core.asgi import Receive, Scope, Send
from gateway.router.lifespan import answer_lifespan
from gateway.server import Limits, ServeSettings

from .client import (
    client_tls,
    connect,
    connect_blocking,
    get,
    note_arrival,
    receive_all,
    receive_until,
    server_tls,
    serving,
)

pytestmark = pytest.mark.anyio

LIMITS = Limits(header_bytes=20_000, answer_time=0.5)
SETTINGS = ServeSettings(server="hypercorn", limits=LIMITS, grace=1)
REQUEST = [
    (":method", "GET"),
    (":scheme", "https"),
    (":path", "/"),
    (":authority", "x"),
]


class Application:
    """Answers with ``size`` bytes, when it may, and writes down whether they left."""

    def __init__(self) -> None:
        self.size = 5
        self.left: list[bool] = []
        self.begun, self.may_answer = Event(), Event()
        self.may_answer.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await answer_lifespan(receive, send)
            return
        connection = scope["extensions"]["gateway.connection"]
        self.begun.set()
        await self.may_answer.wait()
        headers = [(b"content-length", b"%d" % self.size)]
        try:
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b"x" * self.size})
            await note_arrival(connection, self.left.append)
        except OSError:  # as the router takes it
            self.left.append(False)

    async def decided(self) -> list[bool]:
        while not self.left:
            await sleep(0.01)
        return self.left


@pytest.fixture
async def app() -> Application:
    return Application()


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
def settings(request: pytest.FixtureRequest) -> ServeSettings:
    return replace(SETTINGS, tls=server_tls()) if request.param else SETTINGS


@pytest.fixture
async def port(app: Application, settings: ServeSettings) -> AsyncGenerator[int]:
    async with serving(app, settings) as (port, _):
        yield port


async def test_a_client_that_reads_has_the_response(app: Application, port: int) -> None:
    client = await connect(port)
    await client.send(get())
    await receive_until(client, b"xxxxx")
    assert await app.decided() == [True]


async def test_a_client_that_reads_too_slowly_does_not_have_the_response(
    app: Application, port: int
) -> None:
    if current_async_library() == "asyncio":
        # hypercorn tells the loop what became of the connection: ETIMEDOUT.
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: logging.getLogger("test").info("%s", context)
        )
    app.size = 20_000_000
    client = await connect(port)
    await client.send(get())
    assert await app.decided() == [False]


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

    app.may_answer = Event()
    client = await to_thread.run_sync(ask)
    await app.begun.wait()
    client.close()
    app.may_answer.set()
    assert await app.decided() == [False]


class Http2:
    """One connection of a client that lets so much be sent as it says (``window``)."""

    def __init__(self, stream: ByteStream, window: int = 65_535) -> None:
        self._stream = stream
        self._window = window
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))

    async def ask(self) -> None:
        code = h2.settings.SettingCodes.INITIAL_WINDOW_SIZE
        self._h2.local_settings = h2.settings.Settings(
            client=True, initial_values={code: self._window}
        )
        self._h2.initiate_connection()
        self._h2.send_headers(1, REQUEST, end_stream=True)
        await self._flush()

    async def reset(self) -> None:
        self._h2.reset_stream(1)
        await self._flush()

    async def read(self, size: int) -> bytes:
        """So many bytes of the answer, and what comes with them."""
        body = b""
        while len(body) < size:
            for event in self._h2.receive_data(await self._stream.receive()):
                if isinstance(event, h2.events.DataReceived):
                    body += event.data
                    self._h2.acknowledge_received_data(event.flow_controlled_length, 1)
            await self._flush()
        return body

    async def _flush(self) -> None:
        await self._stream.send(self._h2.data_to_send())


async def test_who_reads_over_http2_has_it(app: Application, port: int) -> None:
    app.size = 300_000
    client = Http2(await connect(port, "h2"))
    await client.ask()
    assert len(await client.read(app.size)) == app.size
    assert await app.decided() == [True]


async def test_what_a_client_does_not_let_us_send_has_not_left(app: Application, port: int) -> None:
    client = Http2(await connect(port, "h2"), window=3)
    await client.ask()
    assert await app.decided() == [False]


async def test_an_answer_that_is_reset_has_not_left(app: Application, port: int) -> None:
    app.size = 20_000
    client = Http2(await connect(port, "h2"), window=10_000)
    await client.ask()
    await client.read(10_000)
    await client.reset()
    assert await app.decided() == [False]


async def test_headers_have_a_limit_over_http2(app: Application, settings: ServeSettings) -> None:
    limited = replace(settings, limits=Limits(header_bytes=1000))
    async with serving(app, limited) as (port, _):
        scheme = "http" if settings.tls is None else "https"
        async with httpx.AsyncClient(http1=False, http2=True, verify=client_tls()) as client:
            for size, status in ((10, 200), (2000, 431)):
                headers = {"x-big": "y" * size}
                answer = await client.get(f"{scheme}://127.0.0.1:{port}/", headers=headers)
                assert (answer.status_code, answer.http_version) == (status, "HTTP/2")


@pytest.mark.parametrize("is_asked", [True, False])
async def test_a_connection_whose_client_has_ended_is_released_at_once(
    app: Application, is_asked: bool
) -> None:
    settings = ServeSettings(server="hypercorn", limits=Limits(idle_time=60), grace=1)
    async with serving(app, settings) as (port, _):
        client = await connect(port)
        if is_asked:
            await client.send(get())
            await client.receive()
        await client.send_eof()
        await receive_all(client)
