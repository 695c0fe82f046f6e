"""HTTP clients of every kind: those that wait for their responses, and those that leave."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from contextlib import suppress

from msgspec import Struct

from ..faults import unread

MAX_WAIT = 15.0
"""Seconds until a client gives up. The endpoints have a timeout of five."""

MAX_IDLE = 2.0
"""Seconds. Gateways close idle connections later than that."""

RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Response(Struct, frozen=True):
    """``is_kept``: the connection can be used again."""

    status: int
    body: bytes
    is_kept: bool


class Manner(Struct, frozen=True):
    """How a client reads: ``size`` bytes, then a pause of ``pause`` seconds, and so on.

    ``patience``: seconds after its request until it leaves. ``reads``: False for a client that
    reads nothing before it leaves. ``is_reset``: it leaves by a reset. ``buffer``: bytes of its
    receive buffer; 0: the kernel decides.
    """

    patience: float = MAX_WAIT
    size: int = 65536
    pause: float = 0.0
    reads: bool = True
    is_reset: bool = False
    buffer: int = 0


PATIENT = Manner()


class Exchange(Struct):
    """``response``: None when there was no complete one. ``connection``: open, and good for another
    request. ``has_left``: the client left before it had read the response."""

    response: Response | None = None
    connection: socket.socket | None = None
    has_left: bool = False


def parse(data: bytes | bytearray) -> Response | None:
    """None while the response is not complete."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    status, *lines = bytes(data[:end]).lower().split(b"\r\n")
    headers = dict(line.split(b": ", 1) for line in lines)
    body = end + 4 + int(headers.get(b"content-length", b"0"))
    if len(data) < body:
        return None
    is_kept = headers.get(b"connection") != b"close"
    return Response(int(status.split()[1]), bytes(data[end + 4 : body]), is_kept)


class Target:
    """A gateway, and the idle connections to it. Callers bound the number of requests at once.

    ``unanswered``: requests whose connection ended, or was refused, without a complete response.
    """

    def __init__(self, port: int) -> None:
        self.unanswered = 0
        self._port = port
        self._idle: list[tuple[socket.socket, float]] = []

    async def send(self, request: bytes) -> Exchange:
        """As a client that waits for its response, and keeps its connection."""
        exchange = await self._exchange(self._pop_idle(), request, PATIENT)
        if exchange.connection is not None:
            self._idle.append((exchange.connection, time.monotonic()))
        return exchange

    async def send_alone(self, request: bytes, manner: Manner) -> Exchange:
        """On a connection for this request only.

        A response that is complete in a client's own buffer counts as received, because only the
        client can know that it was never read.
        """
        exchange = await self._exchange(None, request, manner)
        if exchange.connection is not None:
            exchange.connection.close()
        return exchange

    def close(self) -> None:
        for client, _ in self._idle:
            client.close()
        self._idle.clear()

    def _pop_idle(self) -> socket.socket | None:
        """The connection that was used last, if the gateway cannot be about to close it."""
        while self._idle:
            client, since = self._idle.pop()
            try:
                client.recv(1, socket.MSG_PEEK)
            except BlockingIOError:
                if time.monotonic() - since < MAX_IDLE:
                    return client
            except OSError:
                pass
            client.close()
        return None

    async def _exchange(
        self, client: socket.socket | None, request: bytes, manner: Manner
    ) -> Exchange:
        data = bytearray()
        try:
            async with asyncio.timeout(MAX_WAIT):
                client = client or await _connect(self._port, manner)
                await asyncio.get_running_loop().sock_sendall(client, request)
            async with asyncio.timeout(manner.patience):
                response = await _read(client, data, manner)
        except (OSError, EOFError) as error:
            left = None if client is None else _leave(client, data, manner)
            has_left = isinstance(error, TimeoutError)
            self.unanswered += left is None and not has_left
            return Exchange(left, has_left=has_left)
        if response.is_kept:
            return Exchange(response, client)
        client.close()
        return Exchange(response)


async def _connect(port: int, manner: Manner) -> socket.socket:
    client = socket.socket()
    client.setblocking(False)
    if manner.buffer:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, manner.buffer)
    try:
        await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", port))
    except BaseException:
        client.close()
        raise
    return client


async def _read(client: socket.socket, data: bytearray, manner: Manner) -> Response:
    """Append to ``data`` until the response is complete. Raises EOFError."""
    if not manner.reads:
        await asyncio.sleep(MAX_WAIT)
    while (response := parse(data)) is None:
        more = await asyncio.get_running_loop().sock_recv(client, manner.size)
        if not more:
            raise EOFError
        data += more
        if manner.pause:
            await asyncio.sleep(manner.pause)
    return response


def _leave(client: socket.socket, data: bytearray, manner: Manner) -> Response | None:
    data += unread(client)
    if manner.is_reset:
        with suppress(OSError):
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    client.close()
    return parse(data)
