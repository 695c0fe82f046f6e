"""A client that does exactly what it is told, byte by byte."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
from anyio import Event, aclose_forcefully, connect_tcp, create_task_group, fail_after
from anyio.abc import SocketStream

from gateway.server import ServeSettings, serve
from gateway.server.sockets import open_sockets


@asynccontextmanager
async def serving(app: Any, settings: ServeSettings) -> AsyncGenerator[tuple[int, Event]]:
    """Serve ``app``; yield its port and the event that stops it."""
    sockets = open_sockets("127.0.0.1", 0, answer_time=settings.limits.answer_time)
    port = sockets[0].getsockname()[1]
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
        while _clients:
            await aclose_forcefully(_clients.pop())


_clients: list[SocketStream] = []


async def connect(port: int) -> SocketStream:
    """A connection; closed at the latest when the server is."""
    client = await connect_tcp("127.0.0.1", port)
    _clients.append(client)
    return client


async def receive_all(client: SocketStream) -> bytes:
    """Until the server closes."""
    received = b""
    with fail_after(10):
        while True:
            try:
                received += await client.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return received


async def receive_until(client: SocketStream, end: bytes) -> bytes:
    received = b""
    with fail_after(10):
        while not received.endswith(end):
            received += await client.receive()
    return received


def get(path: str = "/", *headers: str, version: str = "1.1") -> bytes:
    return "\r\n".join((f"GET {path} HTTP/{version}", "Host: x", *headers, "", "")).encode()


def status_of(answer: bytes) -> int:
    return int(answer.split()[1]) if answer else 0
