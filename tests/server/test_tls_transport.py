"""TLS between a server's sockets and our protocol: handshakes, farewells, and what is no TLS."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncGenerator
from contextlib import suppress

import pytest
from anyio import to_thread
from msgspec.structs import replace

from .client import client_tls, connect_blocking, get, server_tls, serving
from .test_http1 import LIMITS, SETTINGS, Application, anyio_backend, app, until_decided

__all__ = ["anyio_backend", "app"]

pytestmark = pytest.mark.anyio


@pytest.fixture
async def port(app: Application) -> AsyncGenerator[int]:
    limited = replace(SETTINGS, tls=server_tls(), limits=replace(LIMITS, connections=2))
    async with serving(app, limited) as (port, _):
        yield port


def plain(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def until_closed(client: socket.socket) -> bytes:
    received = b""
    with suppress(ConnectionResetError):
        while data := client.recv(65536):
            received += data
    client.close()
    return received


class Client:
    """A client whose TLS can be told to end before its connection does."""

    def __init__(self, port: int) -> None:
        self.socket = plain(port)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = client_tls().wrap_bio(self._incoming, self._outgoing)
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._flush()
                self._incoming.write(self.socket.recv(65536))
        self._flush()

    def _flush(self) -> None:
        self.socket.sendall(self._outgoing.read())

    def send(self, data: bytes) -> None:
        self._tls.write(data)
        self._flush()

    def say_farewell(self) -> None:
        with suppress(ssl.SSLWantReadError):
            self._tls.unwrap()
        self._flush()

    def receive_until(self, end: bytes) -> bytes:
        received = b""
        while not received.endswith(end):
            try:
                received += self._tls.read(65536)
            except ssl.SSLWantReadError:
                data = self.socket.recv(65536)
                if not data:
                    break
                self._incoming.write(data)
        return received


async def test_who_says_farewell_before_the_answer_has_gone(app: Application, port: int) -> None:
    """As with a FIN: nobody waits for an answer whose asker has ended."""
    app.waits = True
    client = await to_thread.run_sync(Client, port)
    await to_thread.run_sync(client.send, get())
    await app.begun.wait()
    await to_thread.run_sync(client.say_farewell)
    assert await until_decided(app) == [False]
    client.socket.close()


async def test_who_reads_and_says_farewell_at_once_has_it(app: Application, port: int) -> None:
    def ask() -> None:
        client = Client(port)
        client.send(get())
        client.receive_until(b"xxxxx")
        client.say_farewell()
        client.socket.close()

    for _ in range(20):
        await to_thread.run_sync(ask)
    assert await until_decided(app, 20) == [True] * 20


async def test_who_does_not_speak_tls_is_told(port: int) -> None:
    def ask() -> bytes:
        client = plain(port)
        client.sendall(get())
        return until_closed(client)

    answer = await to_thread.run_sync(ask)
    assert answer.startswith(b"HTTP/1.0 400 Bad Request\r\n")
    assert answer.endswith(b"Client sent an HTTP request to an HTTPS server.\n")


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x00\x05hello",
        b"\x16\x03\x01\xff\xff" + b"\x00" * 70_000,
        b"\x80\x2e\x01\x03\x01",
        b"\x15\x03\x03\x00\x02\x02\x28",
        bytes(range(256)) * 20,
    ],
)
async def test_nonsense_ends_its_connection_alone(app: Application, port: int, sent: bytes) -> None:
    def ask() -> None:
        client = plain(port)
        with suppress(OSError):
            client.sendall(sent)
        until_closed(client)
        with connect_blocking(port) as other:
            other.sendall(get())
            assert b"200" in other.recv(1000)

    await to_thread.run_sync(ask)


async def test_nonsense_after_the_handshake_is_a_client_that_has_gone(
    app: Application, port: int
) -> None:
    app.waits = True
    client = await to_thread.run_sync(Client, port)
    await to_thread.run_sync(client.send, get())
    await app.begun.wait()
    client.socket.sendall(b"nonsense" * 10)
    assert await until_decided(app) == [False]
    await to_thread.run_sync(until_closed, client.socket)


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01"])
async def test_a_handshake_has_a_time(port: int, sent: bytes) -> None:
    def ask() -> bytes:
        client = plain(port)
        client.sendall(sent)
        return until_closed(client)

    assert await to_thread.run_sync(ask) == b""


async def test_handshakes_have_a_number(port: int) -> None:
    waiting = [await to_thread.run_sync(plain, port) for _ in range(2)]
    refused = await to_thread.run_sync(plain, port)
    assert await to_thread.run_sync(until_closed, refused) == b""
    for client in waiting:
        client.close()
