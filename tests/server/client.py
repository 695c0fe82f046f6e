"""A client that does exactly what it is told, byte by byte; over TLS where the server speaks it."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
from anyio import Event, aclose_forcefully, connect_tcp, create_task_group, fail_after, sleep
from anyio.abc import ByteStream

from gateway.config.structs import Tls, TlsKey
from gateway.server import ServeSettings, serve
from gateway.server.sockets import open_sockets
from gateway.tls.server import ServerTls

FOLDER = Path(__file__).parents[1] / "http" / "certificates"
KEY = TlsKey(public_key=str(FOLDER / "localhost.pem"), private_key=str(FOLDER / "localhost.key"))


def server_tls() -> ServerTls:
    """For "localhost"."""
    return ServerTls(Tls(keys=(KEY,), min_version="TLS12"))


def client_tls() -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=FOLDER / "ca.pem")
    context.check_hostname = False
    return context


def open_free_sockets(host: str, settings: ServeSettings) -> list[socket.socket]:
    """On a port that is free for UDP as well, where HTTP/3 wants it: other tests run beside."""
    while True:
        sockets = open_sockets(host, 0, answer_time=settings.limits.answer_time)
        if not settings.http3:
            return sockets
        with socket.socket(sockets[0].family, socket.SOCK_DGRAM) as udp, suppress(OSError):
            udp.bind(sockets[0].getsockname())
            return sockets
        for each in sockets:
            each.close()


class Arriving:
    """Passes on what is decided. ``is_sent``: only the client's acknowledgement is missing."""

    def __init__(self, decided: Callable[[bool], object]) -> None:
        self.decided = decided
        self.is_sent = False

    def sent(self) -> None:
        self.is_sent = True


async def note_arrival(connection: Any, note: Callable[[bool], object]) -> None:
    """What the router does when the response is written. ``note`` gets whether it has arrived."""
    waiting = connection.when_arrived(Arriving(note))
    if waiting is not None:
        note(await waiting)


@asynccontextmanager
async def serving(
    app: Any, settings: ServeSettings, host: str = "127.0.0.1"
) -> AsyncGenerator[tuple[int, Event]]:
    """Serve ``app``; yield its port and the event that stops it."""
    sockets = open_free_sockets(host, settings)
    port: int = sockets[0].getsockname()[1]
    if settings.tls is not None:
        _secured.add(port)
    stop, started = Event(), Event()

    async def run() -> None:
        await serve(app, settings, stop=stop, sockets=sockets, started=started.set)

    try:
        with fail_after(30):
            async with create_task_group() as tasks:
                tasks.start_soon(run)
                await started.wait()
                yield port, stop
                stop.set()
    finally:
        _secured.discard(port)
        while _clients:
            await aclose_forcefully(_clients.pop())


_clients: list[ByteStream] = []
_secured: set[int] = set()


async def connect(port: int, protocol: str = "http/1.1") -> ByteStream:
    """A connection; closed at the latest when the server is."""
    client: ByteStream
    if port in _secured:
        context = client_tls()
        context.set_alpn_protocols([protocol])
        client = await connect_tcp(
            "127.0.0.1", port, ssl_context=context, tls_standard_compatible=False
        )
    else:
        client = await connect_tcp("127.0.0.1", port)
    _clients.append(client)
    return client


def connect_blocking(port: int, receive_buffer: int = 0) -> socket.socket:
    """For threads, and for those who close without a close_code. ``receive_buffer``: of the
    kernel, in bytes; 0: as usual."""
    client = socket.socket()
    if receive_buffer:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    client.connect(("127.0.0.1", port))
    return client_tls().wrap_socket(client) if port in _secured else client


async def until(condition: Callable[[], object]) -> None:
    """Wait for it, at most 10 s."""
    with fail_after(10):
        while not condition():
            await sleep(0.01)


async def receive_all(client: ByteStream) -> bytes:
    """Until the server closes."""
    received = b""
    with fail_after(10):
        while True:
            try:
                received += await client.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return received


async def receive_until(client: ByteStream, end: bytes, size: int = 0) -> bytes:
    """Until the end of it, at the earliest after ``size`` bytes."""
    received = bytearray()
    with fail_after(10):
        while len(received) <= size or not received.endswith(end):
            received += await client.receive()
    return bytes(received)


def get(path: str = "/", *headers: str, version: str = "1.1") -> bytes:
    return "\r\n".join((f"GET {path} HTTP/{version}", "Host: x", *headers, "", "")).encode()


def status_of(answer: bytes) -> int:
    return int(answer.split()[1]) if answer else 0
