"""An HTTP backend that needs little CPU and records the number of each message that it receives.

python -m bench.backend PORT
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from http.client import HTTPConnection
from typing import cast

import httptools
import uvloop
from msgspec import json

from gateway.demo.broker import free_port

from .messages import NUMBER, message

RESPONSE = message(0, 1_000_000_000)
COUNT, NUMBERS = b"/__count", b"/__numbers"


class _Backend(asyncio.Protocol):
    def __init__(self, received: list[int]) -> None:
        self._received = received
        self._parser = httptools.HttpRequestParser(self)
        self._path = b""
        self._body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.abort()

    def on_url(self, url: bytes) -> None:
        self._path += url

    def on_body(self, chunk: bytes) -> None:
        self._body += chunk

    def on_message_complete(self) -> None:
        path, body, self._path, self._body = self._path, self._body, b"", b""
        response = RESPONSE
        if body:
            self._received += [int(number) for number in NUMBER.findall(body)]
        elif path == COUNT:
            response = json.encode(len(self._received))
        elif path == NUMBERS:
            response = json.encode(self._received)
            self._received.clear()
        self._transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
            % (len(response), response)
        )


async def _serve(port: int) -> None:
    received: list[int] = []
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Backend(received), "127.0.0.1", port)
    await server.serve_forever()


class Backend:
    """The harness's side of the process."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    def count(self) -> int:
        """Messages since the last call of :meth:`take`."""
        return json.decode(self._get(COUNT), type=int)

    def take(self) -> list[int]:
        """Return the numbers of these messages, and forget them."""
        return json.decode(self._get(NUMBERS), type=list[int])

    def _get(self, path: bytes) -> bytes:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request("GET", path.decode())
        body = connection.getresponse().read()
        connection.close()
        return body


@contextmanager
def open_backend() -> Generator[Backend]:
    backend = Backend(free_port())
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.backend", str(backend.port)], start_new_session=True
    )
    try:
        for _ in range(500):
            try:
                backend.count()
                break
            except OSError:
                time.sleep(0.02)
        yield backend
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
