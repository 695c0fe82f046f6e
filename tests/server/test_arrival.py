"""A response has arrived when the client's kernel has acknowledged its last byte.

A test waits until the gateway's kernel has taken a whole response before the client leaves: nothing
of it waits in the process any more. What the client's kernel has acknowledged is known as well,
because its receive buffer is small.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncGenerator, Callable
from functools import partial
from typing import Any

import pytest
from anyio import Event, sleep, to_thread
from msgspec.structs import replace

from gateway.core.asgi import Receive, Scope, Send
from gateway.router.lifespan import answer_lifespan
from gateway.server import Limits, ServeSettings
from gateway.server.settings import ServerName

from .client import connect_blocking, get, note_arrival, server_tls, serving, until
from .servers import anyio_backend, pair

__all__ = ["anyio_backend", "pair"]

pytestmark = pytest.mark.anyio

SIZE = 262_144
"""Bytes of a response. The gateway's kernel takes them at once, that of the client does not."""
SMALL_BUFFER = 4096
"""The receive buffer of a slow client, in bytes."""


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
def settings(request: pytest.FixtureRequest, pair: tuple[str, ServerName]) -> ServeSettings:
    return ServeSettings(
        server=pair[1],
        limits=Limits(answer_time=30),
        grace=3,
        tls=server_tls() if request.param else None,
    )


class Application:
    """Responds with ``size`` bytes, and remembers by path what has arrived."""

    def __init__(self, size: int = SIZE) -> None:
        self.size = size
        self.connections: list[Any] = []
        self.arrived: dict[str, bool] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await answer_lifespan(receive, send)
            return
        connection = scope["extensions"]["gateway.connection"]
        self.connections.append(connection)
        size = 5 if scope["path"].startswith("/short") else self.size
        note = partial(self.arrived.__setitem__, scope["path"])
        try:
            headers = [(b"content-length", b"%d" % size)]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b"x" * size})
            await note_arrival(connection, note)
        except OSError:  # as the router takes it
            note(False)
        except BaseException:  # cancelled at a stop
            note(False)
            raise


@pytest.fixture
async def app() -> Application:
    return Application()


@pytest.fixture
async def server(app: Application, settings: ServeSettings) -> AsyncGenerator[tuple[int, Event]]:
    async with serving(app, settings) as (port, stop):
        yield port, stop


@pytest.fixture
def port(server: tuple[int, Event]) -> int:
    return server[0]


def ask_slowly(port: int, *headers: str) -> socket.socket:
    """Ask for a response, with a small receive buffer."""
    client = connect_blocking(port, SMALL_BUFFER)
    client.settimeout(10)
    client.sendall(get("/", *headers))
    return client


def read(client: socket.socket, size: int) -> int:
    """Read at least so many bytes, or until the end."""
    count = 0
    while count < size and (data := client.recv(65536)):
        count += len(data)
    return count


def reset(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def end_and_reset(client: socket.socket) -> None:
    client.shutdown(socket.SHUT_RDWR)
    reset(client)


def hang_up(client: socket.socket) -> None:
    client.close()


@pytest.mark.parametrize("leave", [hang_up, reset, end_and_reset])
@pytest.mark.parametrize("close", [(), ("Connection: close",)])
async def test_a_response_that_only_our_kernel_has_did_not_arrive(
    app: Application, port: int, leave: Callable[[socket.socket], None], close: tuple[str, ...]
) -> None:
    client = await to_thread.run_sync(ask_slowly, port, *close)
    await to_thread.run_sync(read, client, 1000)
    await sleep(0.2)
    assert app.arrived == {}
    leave(client)
    await until(lambda: app.arrived)
    assert app.arrived == {"/": False}


@pytest.mark.parametrize("close", [(), ("Connection: close",)])
async def test_a_response_arrives_when_a_slow_client_reads_it(
    app: Application, port: int, close: tuple[str, ...]
) -> None:
    client = await to_thread.run_sync(ask_slowly, port, *close)
    count = await to_thread.run_sync(read, client, 1000)
    await sleep(0.2)
    assert app.arrived == {}
    await to_thread.run_sync(read, client, SIZE - count)
    await until(lambda: app.arrived)
    assert app.arrived == {"/": True}
    client.close()


async def test_a_client_that_has_ended_and_reads_slowly_has_the_response(
    app: Application, pair: tuple[str, ServerName]
) -> None:
    settings = ServeSettings(server=pair[1], limits=Limits(answer_time=30), grace=3)
    async with serving(app, settings) as (port, _):
        client = await to_thread.run_sync(ask_slowly, port)
        count = await to_thread.run_sync(read, client, 1000)
        client.shutdown(socket.SHUT_WR)
        await sleep(0.1)
        assert app.arrived == {}
        await to_thread.run_sync(read, client, SIZE - count)
        await until(lambda: app.arrived)
        assert app.arrived == {"/": True}
        client.close()


async def test_a_response_arrives_although_its_client_is_silent_after_it(
    app: Application, port: int
) -> None:
    client = await to_thread.run_sync(connect_blocking, port)
    client.settimeout(10)
    for number in range(5):
        path = f"/short/{number}"
        await to_thread.run_sync(client.sendall, get(path))
        await to_thread.run_sync(read, client, 20)
        await until(lambda path=path: path in app.arrived)  # type: ignore[misc]
    assert set(app.arrived.values()) == {True}
    client.close()


async def test_a_request_decides_about_the_responses_before_it(app: Application, port: int) -> None:
    client = await to_thread.run_sync(connect_blocking, port)
    client.settimeout(10)

    def ask() -> None:
        for number in range(200):
            client.sendall(get(f"/short/{number}"))
            received = b""
            while not received.endswith(b"xxxxx"):
                received += client.recv(1000)

    await to_thread.run_sync(ask)
    await until(lambda: len(app.arrived) == 200)
    assert set(app.arrived.values()) == {True}
    client.close()


async def test_a_request_of_a_client_that_pipelines_proves_nothing(
    app: Application, port: int
) -> None:
    client = await to_thread.run_sync(connect_blocking, port, SMALL_BUFFER)
    client.settimeout(10)
    await to_thread.run_sync(client.sendall, get("/short/1") + get("/short/2"))
    await until(lambda: len(app.arrived) == 2)
    await to_thread.run_sync(client.sendall, get("/"))
    await until(lambda: len(app.connections) == 3)
    await to_thread.run_sync(read, client, 1000)
    await sleep(0.1)  # the kernel of the server takes the rest of the response
    await to_thread.run_sync(client.sendall, get("/short/3"))
    await sleep(0.1)
    assert "/" not in app.arrived
    reset(client)
    await until(lambda: len(app.arrived) >= 3)
    assert not app.arrived["/"]


async def test_a_later_response_does_not_delay_an_earlier_one(
    app: Application, port: int, pair: tuple[str, ServerName]
) -> None:
    if pair[0] == "trio":
        pytest.skip("hypercorn on Trio does not show how much of a later response is written")
    client = await to_thread.run_sync(connect_blocking, port, SMALL_BUFFER)
    client.settimeout(10)
    await to_thread.run_sync(client.sendall, get("/short") + get("/"))
    await to_thread.run_sync(read, client, 1000)
    await until(lambda: app.arrived)
    await sleep(0.1)
    assert app.arrived == {"/short": True}
    hang_up(client)
    await until(lambda: len(app.arrived) == 2)
    assert app.arrived == {"/short": True, "/": False}


async def test_a_client_that_acknowledges_too_late_is_cut_off(
    app: Application, settings: ServeSettings
) -> None:
    impatient = replace(settings, limits=replace(settings.limits, answer_time=0.5))
    async with serving(app, impatient) as (port, _):
        client = await to_thread.run_sync(ask_slowly, port)
        await until(lambda: app.arrived)
        assert app.arrived == {"/": False}
        with pytest.raises(OSError):  # noqa: PT011  # reset, or TLS without an end
            await to_thread.run_sync(read, client, 2 * SIZE)
            raise ConnectionResetError  # the kernel may hand out what it had before
        client.close()


async def test_a_stop_waits_for_the_last_acknowledgements(
    app: Application, server: tuple[int, Event]
) -> None:
    port, stop = server
    client = await to_thread.run_sync(connect_blocking, port)
    client.settimeout(10)
    await to_thread.run_sync(client.sendall, get("/short"))
    await to_thread.run_sync(read, client, 20)
    stop.set()
    await until(lambda: app.arrived)
    assert app.arrived == {"/short": True}
    client.close()


async def test_a_stop_gives_a_slow_client_only_a_moment(
    app: Application, server: tuple[int, Event]
) -> None:
    port, stop = server
    client = await to_thread.run_sync(ask_slowly, port)
    await to_thread.run_sync(read, client, 1000)
    stop.set()
    await until(lambda: app.arrived)
    assert app.arrived == {"/": False}
    client.close()
