"""The services that lura's test configuration asks, by the names that it has for them."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from typing import Any
from urllib.parse import parse_qs, urlsplit

JSON, TEXT = "application/json", "text/plain; charset=utf-8"
PERSON = {"email": "some@email.com", "name": "a"}
POSTS = [
    {"body": "some content", "date": "123456789"},
    {"body": "some other content", "date": "123496789"},
]
NEEDED = {
    "Content-Type": "application/json",
    "Authorization": "bearer AuthorizationToken",
    "X-Y-Z": "x-y-z",
}
SLOW = 1.0
"""Seconds; the endpoint that asks has less."""


class Service(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    answer: Callable[[Any], None]
    redirects_to: str
    body: bytes

    def do_GET(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            type(self).answer(self)
        except ConnectionError:  # the gateway waited no longer
            self.close_connection = True

    do_POST = do_PUT = do_GET  # noqa: N815

    def json(self, document: object) -> None:
        self.reply(200, json.dumps(document, sort_keys=True).encode() + b"\n", JSON)

    def reply(self, status: int, body: bytes, kind: str, **headers: str) -> None:
        self.send_response_only(status)
        headers = {"Content-Type": kind, "Content-Length": str(len(body)), **headers}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def told(self) -> dict[str, list[str]]:
        """The headers, as Go shows them: without Host."""
        names = {name.title() for name in self.headers} - {"Host"}
        return {name: self.headers.get_all(name) or [] for name in names}


def needing(service: Service) -> None:
    """Headers and the body must have come through."""
    got = {name: service.headers.get(name) for name in NEEDED}
    if got != NEEDED or service.body != b'{"foo":"bar"}':
        service.reply(400, f"{got} {service.body!r}".encode(), TEXT)
    else:
        service.json({"path": urlsplit(service.path).path})


def slow(service: Service) -> None:
    time.sleep(SLOW)
    service.json(PERSON)


def query(service: Service) -> None:
    if not ip_address(service.headers.get("X-Forwarded-For", "0.0.0.0")).is_loopback:
        service.reply(400, b"invalid X-Forwarded-For", TEXT)
        return
    parts = urlsplit(service.path)
    headers = service.told()
    del headers["X-Forwarded-For"]
    service.json({"path": parts.path, "query": parse_qs(parts.query), "headers": headers})


def echo(service: Service) -> None:
    service.json(
        {
            "headers": service.told(),
            "body": service.body.decode(),
            "url": service.path,
            "method": service.command,
        }
    )


def redirecting(status: int) -> Callable[[Service], None]:
    return lambda service: service.reply(status, b"", TEXT, Location=service.redirects_to)


ANSWERS: Mapping[str, Callable[[Service], None]] = {
    "b1": needing,
    "b2": lambda service: service.json(POSTS),
    "b3": lambda service: service.json(PERSON),
    "b4": lambda service: service.reply(429, b"sad panda\n", TEXT),
    "b5": slow,
    "b6": query,
    "b7": lambda service: service.json({"path": urlsplit(service.path).path, "random": 42}),
    "b8": redirecting(301),
    "b9": redirecting(302),
    "b11": lambda service: service.json({"headers": service.told()}),
    "b12": echo,
}


@contextmanager
def serving() -> Generator[dict[str, str]]:
    """The URL of each."""
    with ExitStack() as stack:
        urls: dict[str, str] = {}
        for name, answer in ANSWERS.items():
            members = {"answer": answer, "redirects_to": urls.get("b7", ""), "log_message": _silent}
            server = ThreadingHTTPServer(("127.0.0.1", 0), type(name, (Service,), members))
            server.daemon_threads = True
            stack.callback(server.server_close)
            thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
            thread.start()
            stack.callback(server.shutdown)
            urls[name] = f"http://127.0.0.1:{server.server_address[1]}"
        yield urls


def _silent(*_: object) -> None:
    """Nothing is logged."""
