"""A connection that is timed is opened as the event loop opens one that is not."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop

from gateway.http.connection import BackendConnection
from gateway.http.dial import dial_timed
from gateway.http.targets import Origin

LOOPS: list[Callable[[], asyncio.AbstractEventLoop]] = [
    asyncio.new_event_loop,
    uvloop.new_event_loop,
]


@pytest.fixture(params=LOOPS, ids=["asyncio", "uvloop"])
def runner(request: pytest.FixtureRequest) -> Iterator[asyncio.Runner]:
    with asyncio.Runner(loop_factory=request.param) as runner:
        yield runner


class Server:
    """It closes each connection at once. ``accepted``: how many there were. ``address``: as
    ``getaddrinfo`` has it."""

    accepted = 0
    address: tuple[Any, ...]

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        writer.close()

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[Server]:
        async with await asyncio.start_server(self._accept, "127.0.0.1", 0) as server:
            self.address = address(server.sockets[0].getsockname()[1])
            yield self


def address(port: int) -> tuple[Any, ...]:
    return socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", port)


def unused() -> tuple[Any, ...]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return address(free.getsockname()[1])


async def dialed(addresses: list[tuple[Any, ...]], tls: ssl.SSLContext | None) -> BackendConnection:
    """A connection to a host with these addresses."""

    async def resolve(host: str, port: int, **_: object) -> list[tuple[Any, ...]]:
        """Also of an address: uvloop asks for it, too."""
        return [each for each in addresses if host == "backend.test" or each[4] == (host, port)]

    loop = asyncio.get_running_loop()
    loop.getaddrinfo = resolve  # type: ignore[assignment, method-assign]

    def make() -> BackendConnection:
        return BackendConnection(lambda _: None, lambda _: None, 1000)

    origin = Origin("https" if tls else "http", "backend.test", 1, "backend.test:1")
    transport, connection = await dial_timed(make, origin, tls)
    connected = transport.get_extra_info("socket")
    assert connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    transport.abort()
    return connection


def test_after_tcp_has_connected_no_other_address_is_tried(runner: asyncio.Runner) -> None:
    async def run() -> None:
        async with Server().opened() as first, Server().opened() as second:
            with pytest.raises(ConnectionResetError):
                await dialed([first.address, second.address], ssl.create_default_context())
            assert (first.accepted, second.accepted) == (1, 0)

    runner.run(run())


def test_an_address_that_refuses_is_followed_by_the_next(runner: asyncio.Runner) -> None:
    async def run() -> None:
        async with Server().opened() as server:
            connection = await dialed([unused(), server.address], None)
            assert connection.dns_time > 0

    runner.run(run())


def test_the_last_address_may_refuse_too(runner: asyncio.Runner) -> None:
    async def run() -> None:
        with pytest.raises(ConnectionRefusedError):
            await dialed([unused(), unused()], None)

    runner.run(run())
