"""Serves the assets of the page and documents of :mod:`.documents`, as the management port does."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs, urlsplit

import gateway

from .documents import FULL, Shown, scenes

ASSETS = Path(gateway.__file__).parent / "components" / "page" / "assets"
TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css", ".js": "text/javascript"}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)


class ShownServer(ThreadingHTTPServer):
    """``shown``: what it shows at the moment. ``queries``: of each request of the state.
    ``status``: of the state, if not 200. ``is_silent``: connections end without a response.
    ``now``: the second of its clock; ``runs``: real time passes."""

    daemon_threads = True

    def __init__(self, shown: Shown) -> None:
        super().__init__(("127.0.0.1", 0), ShownHandler)  # any free port
        self.shown = shown
        self.queries: list[str] = []
        self.status = 200
        self.is_silent = False
        self.runs = True
        self.now_at_begin, self._began = FULL, time.monotonic()

    def handle_error(self, request: object, client_address: object) -> None:
        """A browser that closes a connection early is no error."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/"

    @property
    def now(self) -> int:
        passed = int(time.monotonic() - self._began) if self.runs else 0
        return self.now_at_begin + passed


class ShownHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ShownServer

    def do_GET(self) -> None:
        server = self.server
        parts = urlsplit(self.path)
        if server.is_silent:
            self.close_connection = True
        elif parts.path == "/__state.json":
            server.queries.append(parts.query)
            since = parse_qs(parts.query).get("since")
            body = server.shown.state(server.now, int(since[0]) if since else None)
            if server.status == 200:
                self.answer(200, "application/json", body)
            else:
                self.answer(server.status, "text/plain", b"only this machine may open the page")
        elif parts.path == "/__findings.json":
            self.answer(200, "application/json", server.shown.findings())
        else:
            self.asset(parts.path)

    def asset(self, path: str) -> None:
        name = "index.html" if path == "/" else path.removeprefix("/page/")
        file = (ASSETS / name).resolve()
        if file.is_relative_to(ASSETS) and file.is_file():
            self.answer(200, TYPES.get(file.suffix, "text/plain"), file.read_bytes())
        else:
            self.answer(404, "text/plain", b"")

    def answer(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@contextmanager
def open_server(shown: Shown) -> Iterator[ShownServer]:
    with ShownServer(shown) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


if __name__ == "__main__":
    with ShownServer(scenes()[sys.argv[1]]) as shown_server:
        print(f"The page is at {shown_server.url}")
        shown_server.serve_forever()
