"""The backend of the HTTP cases: what it does is chosen by the request's path.

``<b64>`` is URL-safe base64 of the exact bytes to send. GET, POST ... are all the same to it.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote

USER_AGENT = "tester/1"
ECHOED = (
    "accept",
    "accept-language",
    "authorization",
    "content-type",
    "cookie",
    "host",
    "if-none-match",
    "origin",
    "referer",
    "user-agent",
)
HEADERS = (
    ("X-Mock-One", "1"),
    ("X-Mock-Multi", "a"),
    ("X-Mock-Multi", "b"),
    ("Set-Cookie", "one=1; Path=/"),
    ("Set-Cookie", "two=2; HttpOnly"),
    ("Cache-Control", "max-age=77"),
    ("ETag", '"mock"'),
    ("Link", "</>; rel=self"),
)
JSON = "application/json"

_PRODUCT = re.compile(r"^\S+ Version \S+$")

Args = Sequence[str]


class Mock(BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    server_version = "mock"
    sys_version = ""
    timeout = 60
    body: bytes
    query: str

    def log_message(self, *args: Any) -> None:
        """Say nothing."""

    def respond(self) -> None:
        self.body = self._read_body()
        target, _, self.query = self.path.partition("?")
        name, *args = target.split("/")[1:]
        action = ACTIONS.get(name)
        if action is None:
            self.answer(404, {"mock": "no such path"})
            return
        try:
            action(self, args)
        except (ValueError, IndexError) as error:
            self.answer(404, {"mock": "bad path", "why": str(error)})

    def answer(
        self,
        status: int,
        body: bytes | dict[str, Any] | list[Any] = b"",
        content_type: str = JSON,
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
        self.send_response(status)
        if content_type and (data or status == 200):
            self.send_header("Content-Type", content_type)
        for name, value in headers:
            self.send_header(name, value)
        has_body = status not in (204, 304)
        if has_body:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if has_body and self.command != "HEAD":
            self.wfile.write(data)

    def count(self, key: str, more: int = 1) -> int:
        server = self.server
        assert isinstance(server, MockServer)
        with server.lock:
            server.calls[key] += more
            return server.calls[key]

    def _read_body(self) -> bytes:
        if "chunked" not in (self.headers.get("Transfer-Encoding") or "").lower():
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(chunks)


for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"):
    setattr(Mock, f"do_{method}", Mock.respond)


class MockServer(ThreadingHTTPServer):
    """``calls``: how often each key was asked for."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Mock)
        self.calls: Counter[str] = Counter()
        self.lock = threading.Lock()
        self.address = f"127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A gateway that does not wait for an answer is no news."""


@contextmanager
def open_mock() -> Generator[MockServer]:
    server = MockServer()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


# What the paths do.


def _echo(mock: Mock, args: Args) -> None:
    """The request as it came. Any product's ``Name Version x`` is ``<gateway>``."""
    query: dict[str, list[str]] = {}
    for key, value in parse_qsl(mock.query, keep_blank_values=True):
        query.setdefault(key, []).append(value)
    headers = {
        name: ["<gateway>" if _PRODUCT.match(value) else value for value in values]
        for name in {name.lower() for name in mock.headers}
        if name in ECHOED or name.startswith("x-")
        for values in [mock.headers.get_all(name, [])]
    }
    agent = headers.get("user-agent", [""])[0]
    if not agent.startswith(("<gateway>", "tester/", "client/")):
        headers["user-agent"] = ["<library>"]
    document = {
        "method": mock.command,
        "path": mock.path.partition("?")[0],
        "query": query,
        "headers": headers,
        "body": _as_text(mock.body),
    }
    mock.answer(200, document)


def _len(mock: Mock, args: Args) -> None:
    document = {
        "length": len(mock.body),
        "sha1": hashlib.sha1(mock.body).hexdigest(),
        "content_length": mock.headers.get("Content-Length"),
        "chunked": "Transfer-Encoding" in mock.headers,
    }
    mock.answer(200, document)


def _collection(mock: Mock, args: Args) -> None:
    numbers = range(1, int(args[0]) + 1)
    mock.answer(200, [{"id": number, "name": f"item-{number}"} for number in numbers])


def _status(mock: Mock, args: Args) -> None:
    """``/status/<code>[/<b64 body>[/<b64 type>]]``"""
    body = decode(args[1]) if len(args) > 1 else b""
    content_type = decode(args[2]).decode() if len(args) > 2 else JSON
    mock.answer(int(args[0]), body, content_type)


def _delay(mock: Mock, args: Args) -> None:
    time.sleep(int(args[0]) / 1000)
    mock.answer(200, decode(args[1]))


def _delay_status(mock: Mock, args: Args) -> None:
    time.sleep(int(args[0]) / 1000)
    mock.answer(int(args[1]))


def _redirect(mock: Mock, args: Args) -> None:
    to = decode(args[1]).decode() if len(args) > 1 else dict(parse_qsl(mock.query))["to"]
    mock.answer(int(args[0]), b"", "", [("Location", to)])


def _gzip(mock: Mock, args: Args) -> None:
    packed = gzip.compress(decode(args[0]), mtime=0)
    mock.answer(200, packed, headers=[("Content-Encoding", "gzip")])


def _chunked(mock: Mock, args: Args) -> None:
    data = decode(args[0])
    half = len(data) // 2
    mock.send_response(200)
    mock.send_header("Content-Type", JSON)
    mock.send_header("Transfer-Encoding", "chunked")
    mock.end_headers()
    for piece in (data[:half], data[half:]):
        if piece:
            mock.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            mock.wfile.flush()
    mock.wfile.write(b"0\r\n\r\n")


def _short(mock: Mock, args: Args) -> None:
    """Ten bytes less than announced."""
    data = decode(args[0])
    mock.send_response(200)
    mock.send_header("Content-Type", JSON)
    mock.send_header("Content-Length", str(len(data) + 10))
    mock.end_headers()
    mock.wfile.write(data)
    mock.close_connection = True


def _close(mock: Mock, args: Args) -> None:
    mock.close_connection = True
    mock.connection.close()


def _seq(mock: Mock, args: Args) -> None:
    """``/seq/<key>/<c1,c2,...>``: the n-th call gets the n-th status, then the last one."""
    statuses = unquote(args[1]).split(",")
    number = mock.count(args[0])
    mock.answer(int(statuses[min(number, len(statuses)) - 1]), {"call": number})


def _cached(mock: Mock, args: Args) -> None:
    age = [("Cache-Control", f"public, max-age={int(args[1])}")]
    mock.answer(200, {"count": mock.count(args[0])}, headers=age)


def _obj(mock: Mock, args: Args) -> None:
    mock.answer(200, {args[0]: {"id": args[0], "tags": ["a", "b"], "n": 1}})


ACTIONS: dict[str, Callable[[Mock, Args], None]] = {
    "ready": lambda mock, args: mock.answer(200, b"ok", "text/plain"),
    "echo": _echo,
    "raw": lambda mock, args: mock.answer(200, {"target": mock.path}),
    "len": _len,
    "json": lambda mock, args: mock.answer(200, decode(args[0])),
    "text": lambda mock, args: mock.answer(200, decode(args[0]), "text/plain; charset=utf-8"),
    "xml": lambda mock, args: mock.answer(200, decode(args[0]), "application/xml"),
    "type": lambda mock, args: mock.answer(200, decode(args[1]), decode(args[0]).decode()),
    "kv": lambda mock, args: mock.answer(200, {unquote(args[0]): unquote(args[1])}),
    "obj": _obj,
    "collection": _collection,
    "status": _status,
    "delay": _delay,
    "delaystatus": _delay_status,
    "redirect": _redirect,
    "headers": lambda mock, args: mock.answer(200, b'{"ok":true}', headers=HEADERS),
    "headers-status": lambda mock, args: mock.answer(
        int(args[0]), b'{"ok":false}', headers=HEADERS
    ),
    "gzip": _gzip,
    "chunked": _chunked,
    "short": _short,
    "close": _close,
    "empty": lambda mock, args: mock.answer(200),
    "seq": _seq,
    "count": lambda mock, args: mock.answer(200, {"count": mock.count(args[0])}),
    "cached": _cached,
    "hits": lambda mock, args: mock.answer(200, {"hits": mock.count(args[0], 0)}),
}


def decode(text: str) -> bytes:
    text = unquote(text)
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _as_text(data: bytes) -> str | dict[str, str]:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(data).decode()}
