"""Answers of ``no-op`` while they are still coming: real backends, real servers, real clients."""

from __future__ import annotations

import gzip
import socket
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest
from anyio import aclose_forcefully, fail_after, to_thread
from anyio.abc import SocketStream
from h2.connection import H2Connection
from h2.events import DataReceived, Event, StreamEnded, StreamReset

from gateway import open_gateway
from gateway.server import ServeSettings
from gateway.server.settings import ServerName

from ..server.client import connect, get, receive_all, receive_until
from ..server.client import serving as serving_app
from .service import Connection, Service, answering, serving

pytestmark = pytest.mark.anyio

MEBIBYTE = 1024 * 1024
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
CLOSE = "Connection: close"


STACKS: list[tuple[str, ServerName]] = [
    ("asyncio", "http1"),
    ("asyncio", "hypercorn"),
    ("trio", "hypercorn"),
]


@pytest.fixture(params=STACKS, ids="-".join)
def stack(request: pytest.FixtureRequest) -> tuple[str, ServerName]:
    pair: tuple[str, ServerName] = request.param
    return pair


@pytest.fixture
def anyio_backend(stack: tuple[str, ServerName]) -> str:
    return stack[0]


@pytest.fixture
def server(stack: tuple[str, ServerName]) -> ServerName:
    return stack[1]


def configuration(url: str, **root: Any) -> dict[str, Any]:
    backend = {"url_pattern": "/b", "host": [url]}
    endpoint = {"endpoint": "/", "output_encoding": "no-op", "backend": [backend]}
    return {"version": 3, "timeout": "10s", "endpoints": [endpoint], **root}


@asynccontextmanager
async def client_of(config: Any, server: ServerName) -> AsyncGenerator[Callable[[], Any]]:
    """What connects to a gateway that runs this configuration."""
    async with open_gateway(config) as gateway:
        async with serving_app(gateway.asgi, ServeSettings(server=server, grace=1)) as (port, _):
            yield lambda: connect(port)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Reluctant:
    """A backend that sends its second piece only when it is told to."""

    def __init__(self, first: bytes, second: bytes) -> None:
        self._pieces = first, second
        self.go_on = threading.Event()

    def __call__(self, service: Service, connection: Connection, request: bytes) -> bool:
        connection.sendall(self._pieces[0])
        self.go_on.wait(10)
        connection.sendall(self._pieces[1])
        return True


async def test_a_piece_is_handed_on_before_the_next_one_is_there(server: ServerName) -> None:
    backend = Reluctant(CHUNKED + chunk(b"one"), chunk(b"two") + b"0\r\n\r\n")
    with serving(backend) as service:
        async with client_of(configuration(service.url), server) as new:
            client: SocketStream = await new()
            await client.send(get("/", CLOSE))
            began = await receive_until(client, b"one\r\n")
            backend.go_on.set()
            rest = await receive_all(client)
    assert began.startswith(b"HTTP/1.1 200")
    assert b"x-krakend-completed: false" in began.lower()
    assert rest == b"3\r\ntwo\r\n0\r\n\r\n"


@pytest.mark.parametrize("status", [b"600", b"799", b"999"])
async def test_a_status_beyond_http_is_handed_on(server: ServerName, status: bytes) -> None:
    answer = b"HTTP/1.1 %b Odd\r\nContent-Length: 2\r\n\r\nhi" % status
    with serving(answering(answer)) as service:
        async with client_of(configuration(service.url), server) as new:
            client: SocketStream = await new()
            await client.send(get("/", CLOSE))
            received = await receive_all(client)
    assert received.startswith(b"HTTP/1.1 %b" % status)
    assert received.endswith(b"\r\n\r\nhi")


PASSED: dict[str, Any] = {
    "qos/circuit-breaker": {"interval": 60, "timeout": 10, "max_errors": 1},
    "qos/ratelimit/proxy": {"max_rate": 1000, "capacity": 1000},
    "validation/cel": [
        {"check_expr": "req_method == 'GET'"},
        {"check_expr": "resp_metadata_status == 200"},
    ],
}


async def test_breakers_limits_and_expressions_hand_on_what_they_do_not_look_at(
    server: ServerName,
) -> None:
    backend = Reluctant(CHUNKED + chunk(b"one"), chunk(b"two") + b"0\r\n\r\n")
    with serving(backend) as service:
        config = configuration(service.url)
        endpoint = config["endpoints"][0]
        endpoint["extra_config"] = {"validation/cel": PASSED["validation/cel"]}
        endpoint["backend"][0]["extra_config"] = PASSED
        async with client_of(config, server) as new:
            client: SocketStream = await new()
            await client.send(get("/", CLOSE))
            began = await receive_until(client, b"one\r\n")
            backend.go_on.set()
            rest = await receive_all(client)
    assert began.startswith(b"HTTP/1.1 200")
    assert rest == b"3\r\ntwo\r\n0\r\n\r\n"


async def test_an_answer_behind_them_may_be_larger_than_those_that_are_kept(
    server: ServerName,
) -> None:
    answer = CHUNKED + chunk(b"x" * MEBIBYTE) * 3 + b"0\r\n\r\n"
    with serving(answering(answer)) as service:
        config = configuration(service.url, extra_config={"gateway": {"max_answer_bytes": 1000}})
        config["endpoints"][0]["backend"][0]["extra_config"] = PASSED
        async with client_of(config, server) as new:
            client: SocketStream = await new()
            await client.send(get("/", CLOSE))
            received = await receive_all(client)
    assert received.count(b"x") >= 3 * MEBIBYTE


async def test_a_breaker_behind_a_stream_opens_all_the_same(server: ServerName) -> None:
    with serving(answering(b"no HTTP", stays_open=False)) as service:
        config = configuration(service.url)
        config["endpoints"][0]["backend"][0]["extra_config"] = {
            "qos/circuit-breaker": {"interval": 60, "timeout": 60, "max_errors": 0}
        }
        async with client_of(config, server) as new:
            for _ in range(3):
                client: SocketStream = await new()
                await client.send(get("/", CLOSE))
                assert (await receive_all(client)).startswith(b"HTTP/1.1 500")
    assert service.accepted == 1


async def test_a_known_length_is_sent_and_both_connections_are_kept(
    server: ServerName,
) -> None:
    body = b"x" * MEBIBYTE
    answer = HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body
    with serving(answering(answer)) as service:
        async with client_of(configuration(service.url), server) as new:
            client: SocketStream = await new()
            for _ in range(2):
                await client.send(get())
                received = await receive_until(client, b"\r\n\r\n" + body)
                assert b"content-length: %d\r\n" % len(body) in received.lower()
                assert b"transfer-encoding" not in received.lower()
    assert service.accepted == 1


async def test_an_answer_may_be_larger_than_those_that_are_kept(server: ServerName) -> None:
    limits = {"gateway": {"max_answer_bytes": 1000}}
    answer = CHUNKED + chunk(b"x" * MEBIBYTE) * 3 + b"0\r\n\r\n"
    with serving(answering(answer)) as service:
        config = configuration(service.url, extra_config=limits)
        async with client_of(config, server) as new:
            client: SocketStream = await new()
            await client.send(get("/", CLOSE))
            received = await receive_all(client)
    assert received.count(b"x") >= 3 * MEBIBYTE
    assert received.endswith(b"0\r\n\r\n")


async def test_a_backend_is_not_read_from_while_its_reader_is_behind(server: ServerName) -> None:
    sent: list[int] = []
    is_held_up = threading.Event()

    def endless(service: Service, connection: Connection, request: bytes) -> bool:
        connection.settimeout(0.5)
        connection.sendall(CHUNKED)
        piece = chunk(b"x" * 65536)
        try:
            while sum(sent) < 256 * MEBIBYTE:
                sent.append(connection.send(piece))
        except TimeoutError:
            is_held_up.set()
        return False

    with serving(endless) as service:
        async with client_of(configuration(service.url), server) as new:
            client: SocketStream = await new()
            await client.send(get("/", CLOSE))
            assert await to_thread.run_sync(is_held_up.wait, 20)
            await aclose_forcefully(client)
    assert sum(sent) < 32 * MEBIBYTE  # buffers of the kernel, and a little of ours


async def test_a_client_that_leaves_ends_the_answer_of_the_backend(server: ServerName) -> None:
    backend = Reluctant(CHUNKED + chunk(b"one"), b"")
    with serving(backend) as service:
        async with client_of(configuration(service.url), server) as new:
            client: SocketStream = await new()
            await client.send(get())
            await receive_until(client, b"one\r\n")
            await client.aclose()
            backend.go_on.set()
            assert await to_thread.run_sync(service.closed.wait, 5)


@pytest.mark.parametrize(
    "rest",
    [
        CHUNKED + chunk(b"one"),
        CHUNKED + chunk(b"one") + b"zz\r\n",
        HEAD + b"Content-Length: 10\r\n\r\none",
        HEAD + b"Content-Encoding: gzip\r\nContent-Length: 20\r\n\r\n" + gzip.compress(b"a")[:20],
        HEAD + b"Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(b"no gzip"),
    ],
)
async def test_an_answer_that_breaks_off_is_never_taken_for_whole(
    server: ServerName, rest: bytes
) -> None:
    head, blank, body = rest.partition(b"\r\n\r\n")

    def breaking(service: Service, connection: Connection, request: bytes) -> bool:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(head + blank)
        connection.sendall(body)
        return False

    with serving(breaking) as service:
        async with client_of(configuration(service.url), server) as new:
            client: SocketStream = await new()
            await client.send(get("/", CLOSE))
            received = await receive_all(client)
    is_failure = received.startswith(b"HTTP/1.1 500")
    told = received.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
    is_short = bool(told) and int(told) > len(received.partition(b"\r\n\r\n")[2])
    is_unended = not told and not received.endswith(b"0\r\n\r\n")
    assert is_failure or is_short or is_unended


async def test_the_endpoints_deadline_holds_for_the_body(server: ServerName) -> None:
    backend = Reluctant(CHUNKED + chunk(b"one"), b"")
    with serving(backend) as service:
        async with client_of(configuration(service.url, timeout="300ms"), server) as new:
            client: SocketStream = await new()
            await client.send(get())
            received = await receive_all(client)
            backend.go_on.set()
    assert b"one" in received
    assert not received.endswith(b"0\r\n\r\n")


async def test_gzip_that_the_gateway_requested_is_unpacked_while_it_arrives(
    server: ServerName,
) -> None:
    body = Random(1).randbytes(2 * MEBIBYTE)  # more than one read takes, packed or not
    packed = gzip.compress(body, 1)
    answer = HEAD + b"Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
    backend = Reluctant(answer + chunk(packed[:100]), chunk(packed[100:]) + b"0\r\n\r\n")
    backend.go_on.set()
    with serving(backend) as service:
        async with client_of(configuration(service.url), server) as new:
            client: SocketStream = await new()
            await client.send(get("/", CLOSE))
            received = await receive_all(client)
    assert b"accept-encoding: gzip" in service.requests[0].lower()
    head, _, chunks = received.partition(b"\r\n\r\n")
    assert b"content-encoding" not in head.lower()
    assert b"".join(_pieces(chunks)) == body


def _pieces(chunks: bytes) -> list[bytes]:
    pieces = []
    while chunks:
        size, _, chunks = chunks.partition(b"\r\n")
        pieces.append(chunks[: int(size, 16)])
        chunks = chunks[int(size, 16) + 2 :]
    return pieces


async def test_a_client_of_http_1_0_gets_no_chunks(server: ServerName) -> None:
    backend = Reluctant(CHUNKED + chunk(b"one"), chunk(b"two") + b"0\r\n\r\n")
    backend.go_on.set()
    with serving(backend) as service:
        async with client_of(configuration(service.url), server) as new:
            client: SocketStream = await new()
            await client.send(get(version="1.0"))
            received = await receive_all(client)
    assert received.endswith(b"\r\n\r\nonetwo")
    assert b"transfer-encoding" not in received.lower()


async def test_a_stage_that_reads_responses_gets_them_whole(server: ServerName) -> None:
    backend = Reluctant(CHUNKED + chunk(b"one"), chunk(b"two") + b"0\r\n\r\n")
    backend.go_on.set()
    with serving(backend) as service:
        config = configuration(service.url)
        config["endpoints"][0]["concurrent_calls"] = 2
        async with client_of(config, server) as new:
            client: SocketStream = await new()
            await client.send(get("/", CLOSE))
            received = await receive_all(client)
    assert received.endswith(b"\r\n\r\nonetwo")
    assert b"content-length: 6" in received.lower()


@pytest.mark.parametrize("stack", STACKS[1:], ids="-".join, indirect=True)
async def test_over_http_2_an_answer_that_breaks_off_is_a_stream_that_is_reset(
    server: ServerName,
) -> None:
    backend = Reluctant(CHUNKED + chunk(b"one"), b"zz\r\n")
    with serving(backend) as service:
        async with client_of(configuration(service.url), server) as new:
            client: SocketStream = await new()
            http = H2Connection()
            http.initiate_connection()
            request = {":method": "GET", ":path": "/", ":scheme": "http", ":authority": "x"}
            http.send_headers(1, list(request.items()), end_stream=True)
            await client.send(http.data_to_send())
            seen: list[type[Event]] = []
            with fail_after(10):
                while StreamReset not in seen:
                    events = http.receive_data(await client.receive())
                    seen += [type(event) for event in events]
                    if DataReceived in seen:
                        backend.go_on.set()
    assert StreamEnded not in seen
