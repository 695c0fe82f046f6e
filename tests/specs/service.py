"""The services that the configuration of KrakenD's integration specs asks."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from typing import Any
from urllib.parse import parse_qs, urlsplit

DELAY = 0.2
"""Seconds before ``/delayed/`` answers: more than the timeout of the endpoint that asks it."""
JSON = "application/json"
XML = "application/xml; charset=utf-8"
USER = b"""<?xml version="1.0" encoding="UTF-8"?>
<user type="admin"><name>Elliot</name><social>
<facebook>https://facebook.com</facebook>
<twitter>https://twitter.com</twitter>
<youtube>https://youtube.com</youtube>
</social></user>"""
FEED = '<rss version="2.0"><channel><title>showRSS {} feed</title></channel></rss>'
KEYS = {
    "sim1": ("A128KW", "GawgguFyGrWKav7AX4VKUg"),
    "sim2": (
        "HS256",
        "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow",
    ),
}
"""The keys that signed the tokens of the specs, by their ``kid``."""


class Service(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    path_only: str
    query: dict[str, list[str]]
    body: bytes

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        self.path_only = parts.path
        self.query = parse_qs(parts.query, keep_blank_values=True)
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        for prefix, answer in ANSWERS.items():
            if parts.path == prefix or (prefix.endswith("/") and parts.path.startswith(prefix)):
                answer(self)
                return
            if f"{parts.path}/" == prefix:
                self.redirect(301, prefix)
                return
        self.reply(b"404 page not found\n", "text/plain; charset=utf-8", 404)

    do_POST = do_PUT = do_GET  # noqa: N815

    def redirect(self, status: int, target: str) -> None:
        query = urlsplit(self.path).query
        location = f"{target}?{query}" if query else target
        self.reply(b"", "text/html; charset=utf-8", status, Location=location)

    def reply(
        self, body: bytes, content_type: str = JSON, status: int = 200, **headers: str
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        if content_type == JSON:
            self.send_header("Set-Cookie", "test1=test1")
            self.send_header("Set-Cookie", "test2=test2")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """The gateway's log is enough."""


def _echo(asked: Service) -> None:
    headers: dict[str, list[str]] = {}
    for name, value in asked.headers.items():
        headers.setdefault("-".join(part.capitalize() for part in name.split("-")), []).append(
            value
        )
    for name in ("Host", "X-Forwarded-For"):
        headers.pop(name, None)
    shown: dict[str, Any] = {"path": asked.path_only, "query": asked.query, "headers": headers}
    shown["foo"] = 42
    if asked.query.get("dump_body") == ["1"]:
        shown["body"] = asked.body.decode()
    asked.reply(json.dumps(shown, sort_keys=True, separators=(",", ":")).encode() + b"\n")


def _collection(asked: Service) -> None:
    items = [{"i": place, "path": asked.path_only} for place in range(10)]
    asked.reply(json.dumps(items).encode())


def _delayed(asked: Service) -> None:
    time.sleep(DELAY)
    _echo(asked)


def _redirect(asked: Service) -> None:
    asked.redirect(int(asked.query["status"][0]), "/param_forwarding/")


def _xml(asked: Service) -> None:
    asked.reply(USER, XML)


def _keys(asked: Service) -> None:
    keys = [{"kty": "oct", "kid": kid, "alg": alg, "k": k} for kid, (alg, k) in KEYS.items()]
    asked.reply(json.dumps({"keys": keys}).encode())


def _feed(asked: Service) -> None:
    name = "schedule" if asked.path_only.startswith("/user/schedule/") else "personal"
    asked.reply(FEED.format(name).encode(), "application/rss+xml")


def _with_client(answer: Callable[[Service], None]) -> Callable[[Service], None]:
    """400 unless the gateway says which client of this machine asks."""

    def checked(asked: Service) -> None:
        try:
            is_local = ip_address(asked.headers.get("X-Forwarded-For", "")).is_loopback
        except ValueError:
            is_local = False
        if is_local:
            answer(asked)
        else:
            asked.reply(b"invalid X-Forwarded-For\n", "text/plain; charset=utf-8", 400)

    return checked


ANSWERS: Mapping[str, Callable[[Service], None]] = {
    "/param_forwarding/": _with_client(_echo),
    "/xml": _with_client(_xml),
    "/collection/": _with_client(_collection),
    "/delayed/": _with_client(_delayed),
    "/redirect/": _with_client(_redirect),
    "/jwk/symmetric": _keys,
    "/user/": _feed,
}
"""By the path, or where it ends with a slash by its beginning."""


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """The gateway hangs up at the end of its deadline: no traceback for that."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def serving() -> Generator[int]:
    """The services on a free port of this machine."""
    server = Server(("127.0.0.1", 0), Service)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
