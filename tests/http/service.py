"""A service on a real socket that answers what a test tells it, byte for byte."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from typing import TypeAlias

Connection: TypeAlias = socket.socket
Script: TypeAlias = Callable[["Service", Connection, bytes], bool | None]
"""Answers one request on a connection; False: the connection ends."""


class Service:
    """``requests``: every request as it came; ``accepted``: how many connections there were."""

    def __init__(self, script: Script, tls: ssl.SSLContext | None = None) -> None:
        self._script = script
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.port: int = self._listener.getsockname()[1]
        self.url = f"https://localhost:{self.port}" if tls else f"http://127.0.0.1:{self.port}"
        self.requests: list[bytes] = []
        self.accepted = 0
        self.closed = threading.Event()
        """A connection was closed by the other side."""

    def run(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.accepted += 1
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def stop(self) -> None:
        # A listener that only closes leaves its accept() waiting.
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _serve(self, accepted: socket.socket) -> None:
        with suppress(OSError):
            with self._secured(accepted) as connection:
                self._open.append(connection)
                while request := _read_request(connection):
                    self.requests.append(request)
                    if self._script(self, connection, request) is False:
                        return
        self.closed.set()

    def _secured(self, accepted: socket.socket) -> socket.socket:
        if self._tls is None:
            return accepted
        return self._tls.wrap_socket(accepted, server_side=True)


def _read_request(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        if not (more := connection.recv(65536)):
            return b""
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            while len(body) < int(line.partition(b":")[2]):
                body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


@contextmanager
def serving(script: Script, tls: ssl.SSLContext | None = None) -> Generator[Service]:
    service = Service(script, tls)
    thread = threading.Thread(target=service.run, daemon=True)
    thread.start()
    try:
        yield service
    finally:
        service.stop()
        thread.join(5)


def answering(answer: bytes, *, stays_open: bool = True) -> Script:
    """The same bytes for every request."""

    def script(service: Service, connection: Connection, request: bytes) -> bool:
        connection.sendall(answer)
        return stays_open

    return script


def message(body: bytes = b"{}", status: str = "200 OK", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body
