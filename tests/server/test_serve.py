"""What every server does, over real sockets: http1, and hypercorn on both async libraries."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

import pytest
from anyio import BrokenResourceError, Event, fail_after, sleep
from msgspec.structs import replace
from sniffio import current_async_library

from gateway.core.asgi import Receive, Scope, Send
from gateway.errors import GatewayError
from gateway.router.lifespan import answer_lifespan
from gateway.server import Limits, ServeSettings, serve
from gateway.server.serve import chosen_server
from gateway.server.settings import ServerName

from .client import connect, get, receive_all, receive_until, server_tls, serving, status_of

pytestmark = pytest.mark.anyio

LIMITS = Limits(header_bytes=20_000, body_bytes=1000, answer_time=1)
SETTINGS = ServeSettings(limits=LIMITS, grace=1)


SERVERS = [("asyncio", "http1"), ("asyncio", "hypercorn"), ("trio", "hypercorn")]


@pytest.fixture(params=SERVERS, ids="-".join)
def pair(request: pytest.FixtureRequest) -> tuple[str, ServerName]:
    pair: tuple[str, ServerName] = request.param
    return pair


@pytest.fixture
def anyio_backend(pair: tuple[str, ServerName]) -> str:
    return pair[0]


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
def settings(request: pytest.FixtureRequest, pair: tuple[str, ServerName]) -> ServeSettings:
    return replace(SETTINGS, server=pair[1], tls=server_tls() if request.param else None)


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await answer_lifespan(receive, send)
        return
    headers = [(b"content-length", b"5")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"hello"})


async def test_a_connection_is_kept_for_the_next_request(settings: ServeSettings) -> None:
    async with serving(hello, settings) as (port, _):
        client = await connect(port)
        for _ in range(3):
            await client.send(get())
            assert status_of(await receive_until(client, b"hello")) == 200
        await client.aclose()


async def test_requests_may_be_sent_before_the_answers(settings: ServeSettings) -> None:
    async with serving(hello, settings) as (port, _):
        client = await connect(port)
        await client.send(get() * 3 + get("/", "Connection: close"))
        assert (await receive_all(client)).count(b"hello") == 4


@pytest.mark.parametrize(
    "request_", [get("/", "Connection: close"), get(version="1.0")], ids=["close", "1.0"]
)
async def test_a_connection_that_is_not_kept_is_closed(
    settings: ServeSettings, request_: bytes
) -> None:
    async with serving(hello, settings) as (port, _):
        client = await connect(port)
        await client.send(request_)
        assert (await receive_all(client)).endswith(b"hello")


@pytest.mark.parametrize("is_trickled", [False, True])
async def test_headers_have_a_limit(settings: ServeSettings, is_trickled: bool) -> None:
    async with serving(hello, settings) as (port, _):
        client = await connect(port)
        if is_trickled:
            await client.send(b"GET / HTTP/1.1\r\nHost: x\r\n")
            with suppress(BrokenResourceError):  # closed in the middle
                for number in range(40):
                    await client.send(b"X-%d: %b\r\n" % (number, b"y" * 1000))
        else:
            await client.send(get("/", "X-Big: " + "y" * 30_000))
        # 0: the refusal was overtaken by the reset that unread bytes cause.
        assert status_of(await receive_all(client)) in (0, 400, 431)


async def test_a_client_that_never_reads_does_not_hold_up_a_stop(settings: ServeSettings) -> None:
    size = 20_000_000

    async def large(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await hello(scope, receive, send)
            return
        headers = [(b"content-length", b"%d" % size)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"x" * size})

    if settings.server == "hypercorn" and current_async_library() == "asyncio":
        # hypercorn tells the loop what became of the connection: ETIMEDOUT.
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: logging.getLogger("test").info("%s", context)
        )
    with fail_after(15):
        async with serving(large, settings) as (port, stop):
            client = await connect(port)
            await client.send(get())
            await client.receive()
            stop.set()
    await client.aclose()


async def test_a_body_that_announces_too_much_is_refused(settings: ServeSettings) -> None:
    async with serving(hello, settings) as (port, _):
        client = await connect(port)
        await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2000\r\n\r\n")
        assert status_of(await receive_all(client)) == 413


async def test_nonsense_is_a_400(settings: ServeSettings) -> None:
    async with serving(hello, settings) as (port, _):
        client = await connect(port)
        await client.send(b"nonsense\r\n\r\n")
        assert status_of(await receive_all(client)) == 400


async def test_a_running_request_ends_before_the_stop(settings: ServeSettings) -> None:
    begun = Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            begun.set()
            await sleep(0.3)
        await hello(scope, receive, send)

    async with serving(slow, settings) as (port, stop):
        client = await connect(port)
        await client.send(get())
        await begun.wait()
        stop.set()
        assert (await receive_all(client)).endswith(b"hello")


async def test_the_port_is_taken(settings: ServeSettings) -> None:
    async with serving(hello, settings) as (port, _):
        taken = replace(settings, host="127.0.0.1", port=port)
        with pytest.raises(GatewayError, match="cannot listen"):
            await serve(hello, taken, stop=Event())


def test_http1_has_an_old_name() -> None:
    assert chosen_server(replace(SETTINGS, server="uvicorn"), "asyncio") == "http1"


async def test_http1_is_for_asyncio(anyio_backend: str) -> None:
    if anyio_backend == "trio":
        with pytest.raises(GatewayError, match="only runs on asyncio"):
            await serve(hello, replace(SETTINGS, server="http1"), stop=Event())


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET / HTTP/1.1\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n", 400),
        (b"GET / HTTP/1.0\r\n", 200),
        (b"GET /\r\n", 400),
    ],
)
async def test_a_request_is_for_one_host(settings: ServeSettings, head: bytes, status: int) -> None:
    async with serving(hello, settings) as (port, _):
        client = await connect(port)
        await client.send(head + b"Connection: close\r\n\r\n")
        assert status_of(await receive_all(client)) == status
