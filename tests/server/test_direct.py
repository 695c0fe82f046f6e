"""A request without a task gets the same bytes as one with a task."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import suppress
from random import Random
from time import monotonic

import anyio
import pytest
from anyio import BrokenResourceError, EndOfStream, Event, create_task_group, to_thread
from anyio.lowlevel import checkpoint
from msgspec.structs import replace

from gateway.config.structs import Endpoint
from gateway.core.asgi import ASGIApp
from gateway.core.bridge import Wheel
from gateway.core.pipe import within
from gateway.core.proxy import Arrive, Branch, Pipe, Request, Response, Withdraw
from gateway.router.endpoint import Route
from gateway.server import Limits, ServeSettings, serve
from gateway.server.settings import ServerName

from ..router.support import Taken, application
from .client import connect, connect_blocking, get, open_free_sockets, receive_all, serving, until
from .direct_app import PATHS, build_application

LOOPS = [("asyncio", {"use_uvloop": each}) for each in (False, True)]

LIMITS = Limits(body_bytes=1000, body_time=5, answer_time=5, header_time=5, idle_time=5)
SETTINGS = ServeSettings(limits=LIMITS, grace=1)

HEADERS = (
    "Origin: https://a.test",
    "Origin: https://b.test",
    "User-Agent: bot",
    "X-Refused: 1",
    "X-Wait: 1",
    "X-Limited: 1",
    "X-Other: 1",
    "Expect: 100-continue",
)
METHODS = ("GET", "GET", "GET", "POST", "POST", "HEAD", "OPTIONS", "DELETE")


def requests(random: Random) -> Iterator[bytes]:
    """The requests of one connection, the last of which closes it."""
    repeated = b""
    for left in range(random.randrange(1, 6), -1, -1):
        if repeated and left and random.random() < 0.4:
            yield repeated
            continue
        method = random.choice(METHODS)
        version = "1.0" if random.random() < 0.05 else "1.1"
        lines = [f"{method} {random.choice(PATHS)}{random.choice(('', '?a=1'))} HTTP/{version}"]
        lines += ["Host: x", *(each for each in HEADERS if random.random() < 0.12)]
        body = b""
        if method == "POST" or random.random() < 0.05:
            body = b"b" * random.choice((0, 1, 10, 900))
            if random.random() < 0.2 and version == "1.1":
                lines.append("Transfer-Encoding: chunked")
                body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
            else:
                lines.append(f"Content-Length: {len(body)}")
        if not left:
            lines.append("Connection: close")
        repeated = "\r\n".join([*lines, "", ""]).encode() + body
        yield repeated


def pieces(random: Random, data: bytes) -> Iterator[bytes]:
    """The bytes as they are sent: all at once, or cut anywhere."""
    while data:
        size = random.choice((len(data), len(data), random.randrange(1, len(data) + 1)))
        yield data[:size]
        data = data[size:]


async def responses(port: int, sent: list[bytes]) -> bytes:
    client = await connect(port)
    with suppress(BrokenResourceError, EndOfStream):  # refused, and closed
        for piece in sent:
            await client.send(piece)
            await checkpoint()
    received = await receive_all(client)
    return re.sub(rb"date: [^\r]*", b"date: -", received)


def with_tasks_only(app: ASGIApp) -> ASGIApp:
    async def asgi(scope, receive, send):  # type: ignore[no-untyped-def]
        await app(scope, receive, send)

    return asgi


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", LOOPS)
@pytest.mark.parametrize("seed", range(5))
async def test_the_same_bytes_with_and_without_a_task(
    seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(100)
    random = Random(seed)
    app = build_application(Wheel(asyncio.get_running_loop()))
    assert app.direct is not None
    async with (
        serving(app, SETTINGS) as (direct, _),
        serving(with_tasks_only(app), SETTINGS) as (asgi, _),
    ):
        for _ in range(100):
            sent = list(pieces(random, b"".join(requests(random))))
            found: dict[int, bytes] = {}

            async def ask(port: int) -> None:
                found[port] = await responses(port, sent)  # noqa: B023

            async with create_task_group() as tasks:
                tasks.start_soon(ask, direct)
                tasks.start_soon(ask, asgi)
            assert found[direct] == found[asgi], sent


SERVER_HEADERS = (b"connection", b"content-length", b"date", b"server", b"transfer-encoding")
"""Headers that servers write in their own ways."""


def meaning(response: bytes) -> tuple[int, list[bytes], bytes]:
    """Status, headers and body of a response, without what servers may write in their own ways."""
    head, _, body = response.partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    headers = [each for each in lines if each.partition(b":")[0].lower() not in SERVER_HEADERS]
    chunks = b"".join(re.findall(rb"(?:^|\r\n)[0-9a-f]+\r\n([^\r]+)", body))
    is_chunked = b"transfer-encoding: chunked" in head.lower()
    return int(status.split()[1]), headers, chunks if is_chunked else body


async def meanings(server: ServerName, sent: list[bytes]) -> list[tuple[int, list[bytes], bytes]]:
    has_timers = server == "http1"
    app = build_application(Wheel(asyncio.get_running_loop()) if has_timers else None)
    async with serving(app, replace(SETTINGS, server=server)) as (port, _):
        return [meaning(await responses(port, [each])) for each in sent]


@pytest.mark.parametrize("seed", range(3))
def test_trio_responds_alike(seed: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(100)
    random = Random(seed)
    sent = [[*requests(random)][-1] for _ in range(150)]
    sent = [each for each in sent if b"HTTP/1.1" in each and b"Expect" not in each]
    direct = anyio.run(meanings, "http1", sent)
    assert anyio.run(meanings, "hypercorn", sent, backend="trio") == direct


class Waiting:
    """An endpoint that never responds, and what became of its requests."""

    def __init__(self) -> None:
        self.asked = 0
        self.messages: list[Taken] = []
        settings = Endpoint(endpoint="/a", method="GET", timeout=30)
        self.app = application(
            Route("GET", settings, within(Branch(later=self._later, reads_body=False))),
            timers=Wheel(asyncio.get_running_loop()),
            clock=asyncio.get_running_loop().time,
        )

    def _later(self, request: Request, arrive: Arrive) -> Withdraw:
        message = Taken()
        request.taken.append(message)
        self.messages.append(message)
        return lambda: None

    @property
    def ends(self) -> list[str]:
        return [message.end for message in self.messages]


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", LOOPS)
async def test_a_client_that_leaves_gives_its_messages_back() -> None:
    waiting = Waiting()
    async with serving(waiting.app, SETTINGS) as (port, _):
        client = await connect(port)
        await client.send(get("/a"))
        await until(lambda: waiting.messages)
        await client.aclose()
        await until(lambda: waiting.ends == ["given back"])


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", LOOPS)
async def test_a_stop_responds_to_a_request_that_waits() -> None:
    waiting = Waiting()
    async with serving(waiting.app, replace(SETTINGS, grace=0.05)) as (port, stop):
        client = await connect(port)
        await client.send(get("/a"))
        await until(lambda: waiting.messages)
        stop.set()
        received = await receive_all(client)
        assert received.startswith(b"HTTP/1.1 503 ")
        assert b"connection: close" in received
        assert waiting.ends == ["given back"]


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", LOOPS)
async def test_cancelling_the_server_gives_every_message_back() -> None:
    waiting, started = Waiting(), Event()
    sockets = open_free_sockets("127.0.0.1", SETTINGS)
    port: int = sockets[0].getsockname()[1]

    async def run() -> None:
        await serve(waiting.app, SETTINGS, stop=Event(), sockets=sockets, started=started.set)

    async with create_task_group() as tasks:
        tasks.start_soon(run)
        await started.wait()
        clients = [await connect(port) for _ in range(3)]
        for client in clients:
            await client.send(get("/a"))
        await until(lambda: len(waiting.messages) == 3)
        tasks.cancel_scope.cancel()
    assert waiting.ends == 3 * ["given back"]
    for client in clients:
        await client.aclose()


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", LOOPS)
async def test_many_requests_at_once_on_one_connection_leave_others_their_turn() -> None:
    app = build_application(Wheel(asyncio.get_running_loop()))
    async with serving(app, SETTINGS) as (port, _):
        crowd, other = await connect(port), await connect(port)
        number = 2000
        await crowd.send(number * get("/now") + get("/now", "Connection: close"))
        await other.send(get("/now"))
        await other.receive()
        received = await receive_all(crowd)
        assert received.count(b"HTTP/1.1 200 ") == number + 1


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", LOOPS)
async def test_a_client_that_always_asks_again_is_not_cut_off() -> None:
    """The gateway responds to the next request before it decides about the last response: there
    is always a response on its way."""
    limits = Limits(answer_time=0.3)
    message = Taken()

    def now(request: Request) -> Response:
        return Response({}, messages=(message,))

    route = Route("GET", Endpoint(endpoint="/"), Pipe(now=now, later=lambda request, arrive: now))  # type: ignore[arg-type,return-value]
    loop = asyncio.get_running_loop()
    app = application(route, timers=Wheel(loop), clock=loop.time)
    async with serving(app, replace(SETTINGS, limits=limits)) as (port, _):
        client = await to_thread.run_sync(connect_blocking, port)
        client.settimeout(10)

        def ask_for_a_second() -> None:
            end = monotonic() + 1
            while monotonic() < end:
                client.sendall(get())
                assert client.recv(1000).startswith(b"HTTP/1.1 200 ")

        await to_thread.run_sync(ask_for_a_second)
        client.close()
    assert message.is_sent
