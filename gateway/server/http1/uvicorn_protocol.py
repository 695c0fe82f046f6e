"""uvicorn's HTTP protocol with the limits that it lacks, and one sweeper for all of them."""

from __future__ import annotations

import asyncio
from contextvars import Context
from functools import lru_cache
from typing import Any, NamedTuple, cast
from urllib.parse import unquote

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from ..settings import Limits
from ..unsent import Unsent
from .exchange import Http1Cycle, WriteCoalescer
from .head_cache import END, MAX_REPLACED_HEADS, CachedHead, know
from .peer import Peer
from .request_head import (
    MAX_FIELDS,
    MAX_TARGET,
    TOKEN,
    has_many_parts,
    host_of,
    is_host,
    line_refusal,
    refusal,
    without_upgrade,
)

BLANKS = b" \t"
"""The parser leaves them behind a value (RFC 9110, 5.5)."""
BREAKS = b"\r\n"

TICK = 0.5
"""Seconds between looks at the connections: the precision of every time limit."""


ASGI = {"version": "3.0", "spec_version": "2.3"}

MAX_CHUNK_OVERHEAD = 9
"""Bytes that a body may take for each of its own, in the smallest chunks: 6. What stands behind it
(trailers) has the limit of headers."""

LARGE_HEAD = 1024
"""Bytes of a head below which nothing in it is looked at for its number."""

MAX_KEPT_TARGET_BYTES = 512
"""Bytes of a target that is kept, parsed, for the next request like it."""

WORK_OF_A_TURN = 32 * 1024
"""Bytes of a chunked body that are parsed before others have their turn. Chunks of one byte cost
the parser 0.3 us a byte; each piece handed to it counts PIECE bytes more."""
PIECE = 64


class Target(NamedTuple):
    """What a request line asks for. ``path``: decoded."""

    path: str
    raw_path: bytes
    query: bytes


def _parse_target(target: bytes) -> Target:
    if b"#" in target:  # no fragment is ever sent: it belongs to the path, or the query
        target = target.replace(b"#", b"%23")
    url = httptools.parse_url(target)
    raw_path = url.path or b"/"  # a whole URL may have none
    path = raw_path.decode("latin-1")
    return Target(unquote(path) if "%" in path else path, raw_path, url.query or b"")


_known_target = lru_cache(1024)(_parse_target)


class ConnectionSweeper:
    """Loop time, coarse: read on every request, set twice a second."""

    def __init__(self, limits: Limits, unsent: Unsent) -> None:
        self.limits = limits
        self.unsent = unsent
        self.burst = WriteCoalescer()
        self.now = 0.0

    async def run(self, connections: set[Any]) -> None:
        """Look after all connections, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            self.now = loop.time()
            for connection in tuple(connections):
                connection.check_time(self.now)
            await asyncio.sleep(TICK)


class HttpProtocol(HttpToolsProtocol):
    """One connection.

    It waits for something: a request's headers, its body, the application, or the next request.
    ``_deadline`` is when that has taken too long (0: never), ``_refusal`` the status then.
    ``cycle``: the request that the application has, or had last. ``_rest``: bytes that are looked
    at when it is answered, and the answer taken; nothing is read as long as there are some.
    ``_begun``: the beginning of a head. ``_known``: the last head, when it may come again.

    The parser gets whole heads, and a body up to where a message may end: so no request begins
    within a piece, and what a request costs is bounded.
    """

    peer: Peer
    parser: httptools.HttpRequestParser | None  # type: ignore[assignment]
    cycle: Http1Cycle | None  # type: ignore[assignment]  # what uvicorn itself asks of it, it has

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        sweeper: ConnectionSweeper,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.sweeper = sweeper
        self.burst = sweeper.burst
        self.limits = sweeper.limits
        self.answer_time = sweeper.limits.answer_time
        self._deadline = 0.0
        self._refusal = 408
        self._is_in_headers = False
        self._body_bytes = 0
        self._raw_bytes = 0
        self._announced = 0
        self._method = b""
        self._plain_scope: dict[str, Any] | None = None
        self._known: CachedHead | None = None
        self._replaced = 0
        self._rest = b""
        self._begun = bytearray()
        self._seam = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast(asyncio.Transport, transport))
        descriptor = transport.get_extra_info("socket").fileno()
        self.peer = Peer(descriptor, lambda: not transport.is_closing())
        self._expect(self.limits.header_time, 408)
        if len(self.connections) > self.limits.connections:
            self._refuse(503)

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        return self.server_state.default_headers

    def connection_lost(self, exc: Exception | None) -> None:
        self.connections.discard(self)
        self.sweeper.unsent.wait(self, 0)
        self.flow.resume_writing()
        exchange = self.cycle
        if exchange is not None and (exchange.is_undecided or not exchange.response_complete):
            exchange.lost()
        if exc is None:
            self.transport.close()
        self._stop_reading()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Stay open while it is in doubt whether an answer arrived; otherwise close."""
        exchange = self.cycle
        self.peer.has_ended = True
        if exchange is None or not exchange.is_undecided:
            return False
        exchange.keep_alive = False
        return True

    def shutdown(self) -> None:
        """No further request: close when there is none, and what was answered is written."""
        exchange = self.cycle
        if exchange is None or (exchange.response_complete and not exchange.is_undecided):
            self.loop.call_soon(self.transport.close)  # behind the burst
        else:
            exchange.keep_alive = False

    # What the client has not taken.

    def pause_writing(self) -> None:
        """It does not take what it asked for, so nothing more is read of it."""
        self.flow.pause_writing()
        self.flow.pause_reading()
        self.sweeper.unsent.wait(self, self.unsent())

    def resume_writing(self) -> None:
        self.flow.resume_writing()
        self.sweeper.unsent.wait(self, 0)
        self._go_on()

    def unsent(self) -> int:
        return self.transport.get_write_buffer_size()

    def cut_off(self) -> None:
        self.transport.abort()

    # What the client sends.

    def data_received(self, data: bytes) -> None:
        if self._rest:  # read before reading was paused
            self._rest += data
        else:
            self._take(data)

    def _take(self, data: bytes) -> None:
        """Take what may be taken now; the rest waits for ``_go_on``."""
        work = WORK_OF_A_TURN
        while data and self.parser is not None:
            exchange = self.cycle
            if exchange is not None and exchange.more_body:
                if work <= 0:
                    self.loop.call_soon(self._go_on)
                    break
                size = self._body_size(data)
                work -= PIECE + (size if self._announced == 0 else 0)
                piece, data = (data[:size], data[size:]) if size < len(data) else (data, b"")
                self._take_body(piece)
            elif exchange is not None and not (exchange.response_complete and exchange.keep_alive):
                if not exchange.keep_alive:  # it is the last one (RFC 9112, 9.6)
                    return
                break
            elif self.flow.write_paused:
                break
            else:
                known = self._known
                if (
                    known is None
                    or self._begun
                    or len(data) < known.size
                    or not data.startswith(known.head)
                ):
                    data = self._take_head(data)
                else:
                    data = self._take_known(known, data)
        if data and self.parser is not None:
            self._rest = data
            self.flow.pause_reading()

    def _go_on(self) -> None:
        """What made the rest wait may be over."""
        rest, self._rest = self._rest, b""
        if rest:
            self._take(rest)
        exchange = self.cycle
        if exchange is None or exchange.response_complete or len(exchange.body) <= HIGH_WATER_LIMIT:
            self.resume_reading()

    def resume_reading(self) -> None:
        if not self._rest and not self.flow.write_paused:
            self.flow.resume_reading()

    def _take_known(self, known: CachedHead, data: bytes) -> bytes:
        """Begin the request whose head is the last one's again; returns what is behind it."""
        size, body_at = known.size, len(known.head)
        self._raw_bytes, self._body_bytes = 0, size - body_at
        scope = known.scope.copy()
        scope["state"] = self.app_state.copy()
        exchange = self._begin(scope, True, False)
        exchange.take_body(data[body_at:size])
        exchange.end_body()
        self._deadline = 0.0
        return data[size:]

    def _take_head(self, data: bytes) -> bytes:
        """Parse a head, when all of it is here; returns what is behind it."""
        begun = self._begun
        if begun:
            seen = max(len(begun) - len(END), 0)
            begun += data
            data = b""
            if (end := begun.find(END, seen)) >= 0:
                data = bytes(begun)
                begun.clear()
        else:
            data = data.lstrip(BREAKS)  # RFC 9112, 2.2
            if (end := data.find(END)) < 0:
                begun += data
                self._expect(self.limits.header_time, 408)
        if end >= 0:
            end += len(END)
            head, data = (data[:end], data[end:]) if end < len(data) else (data, b"")
            self._parse_head(head)
            return data
        if len(begun) > self.limits.header_bytes:
            self._refuse(431)
        elif begun and not TOKEN.match(begun, 0, 1):
            self._refuse(400)
        return b""

    def _parse_head(self, head: bytes) -> None:
        if len(head) > self.limits.header_bytes:
            self._refuse(431)
            return
        line = head[: head.find(b"\r")]
        if len(head) > LARGE_HEAD and (
            len(line) > MAX_TARGET or head.count(b"\n") > MAX_FIELDS + 2 or has_many_parts(head)
        ):
            self._refuse(431)
            return
        if status := line_refusal(line):
            self._refuse(status)
            return
        self._method = b""
        try:
            self._feed(head)
        except httptools.HttpParserUpgrade:  # it has not begun, and the parser skips its body
            self._anew(without_upgrade(head))
        except httptools.HttpParserInvalidMethodError:
            self._method, _, rest = head.partition(b" ")
            self._anew(without_upgrade(b"POST " + rest))
        except httptools.HttpParserError:
            self._refuse(400)
        scope, self._plain_scope = self._plain_scope, None
        if self._is_in_headers and self.parser is not None:  # the parser sees its end elsewhere
            self._refuse(400)
        elif scope is not None:
            self._replaced += 1
            self._known = know(head, scope, self.headers, self._announced)

    def _anew(self, head: bytes) -> None:
        """Parse it, changed, as if it were the first one of the connection."""
        if self.parser is None:
            return  # refused
        self.parser = httptools.HttpRequestParser(self)
        try:
            self._feed(head)
        except (httptools.HttpParserUpgrade, httptools.HttpParserError):
            self._refuse(400)

    def _feed(self, data: bytes) -> None:
        assert self.parser is not None
        self.parser.feed_data(data)

    def _body_size(self, data: bytes) -> int:
        """How much of ``data`` may be of the body: up to where the message ends, if it does."""
        if self._announced:
            return self._announced - self._body_bytes
        seam = self._seam + data[: len(END) - 1]
        end = seam.find(END)
        size = end - len(self._seam) if end >= 0 else data.find(END, 0, WORK_OF_A_TURN)
        size = size + len(END) if end >= 0 or size >= 0 else WORK_OF_A_TURN
        self._seam = (self._seam + data[:size])[-len(END) + 1 :]
        return size

    def _take_body(self, data: bytes) -> None:
        self._raw_bytes += len(data)
        try:
            self._feed(data)
        except httptools.HttpParserError:
            self._refuse(400)
            return
        if self._raw_bytes > self.limits.header_bytes + MAX_CHUNK_OVERHEAD * self._body_bytes:
            self._refuse(431)

    # What the parser tells.

    def on_message_begin(self) -> None:
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._is_in_headers = True
        self._plain_scope = None
        self._announced = self._body_bytes = self._raw_bytes = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._is_in_headers:
            return  # behind the body: nobody asks for it
        name, value = name.lower(), value.rstrip(BLANKS)
        self.headers.append((name, value))
        if name == b"content-length":
            self._announced = int(value)
        elif name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True

    def on_headers_complete(self) -> None:
        parser = self.parser
        assert parser is not None
        version = parser.get_http_version()
        method = self._method or parser.get_method()
        if status := 405 if method == b"CONNECT" else refusal(self.headers, version, self.limits):
            self._refuse(status)
            return
        if parser.should_upgrade():
            return  # _parse_head parses it once more
        target = self.url
        is_origin_form = target.startswith(b"/")
        if not is_origin_form and (host := host_of(target)) is not None:
            if not is_host(host):
                self._refuse(400)
                return
            self.headers[:] = [header for header in self.headers if header[0] != b"host"]
            self.headers.append((b"host", host))
        self._is_in_headers = False
        self._seam = b""
        parts = (
            _known_target(target) if len(target) <= MAX_KEPT_TARGET_BYTES else _parse_target(target)
        )
        scope: Any = {
            "type": "http",
            "asgi": ASGI,
            "http_version": version,
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "root_path": self.root_path,
            "headers": self.headers,
            "state": self.app_state.copy(),
            "method": method.decode("ascii"),
            "path": parts.path,
            "raw_path": parts.raw_path,
            "query_string": parts.query,
        }
        keep_alive = version != "1.0" and parser.should_keep_alive()
        if not keep_alive:
            self._known = None
        elif (
            self._replaced < MAX_REPLACED_HEADS
            and is_origin_form
            and not self.expect_100_continue
            and not self._method
        ):
            self._plain_scope = scope
        self._expect(self.limits.body_time, 408)
        self._begin(scope, keep_alive, self.expect_100_continue)

    def _begin(self, scope: Any, keep_alive: bool, expects_continue: bool) -> Http1Cycle:
        is_head, knows_chunks = scope["method"] == "HEAD", scope["http_version"] != "1.0"
        exchange = self.cycle = Http1Cycle(
            self, is_head, keep_alive, expects_continue, knows_chunks
        )
        scope["extensions"] = {"gateway.connection": exchange}
        run = exchange.run_asgi(self.app, scope, self.tasks)
        # Not by the loop: it would make up a name.
        exchange.task = asyncio.Task(run, loop=self.loop, name="request", context=Context())
        self.tasks.add(exchange.task)
        return exchange

    def on_body(self, body: bytes) -> None:
        if self.parser is None:
            return
        self._body_bytes += len(body)
        if self._body_bytes > self.limits.body_bytes:
            self._refuse(413)
        elif (exchange := self.cycle) is not None and not exchange.response_complete:
            exchange.take_body(body)

    def on_message_complete(self) -> None:
        exchange = self.cycle
        if self._is_in_headers or self.parser is None or exchange is None:
            return
        exchange.end_body()
        if exchange.response_complete:
            self._expect(self.limits.idle_time, 0)
        else:
            self._deadline = 0.0  # now the application has it; its time is the endpoint's

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self._receiving is None:
            self._expect(self.limits.idle_time, 0)
        if self.flow.read_paused:
            self.loop.call_soon(self._go_on)  # behind the burst

    @property
    def _receiving(self) -> Http1Cycle | None:
        """The request whose body is not complete yet."""
        exchange = self.cycle
        return exchange if exchange is not None and exchange.more_body else None

    # Limits.

    def check_time(self, now: float) -> None:
        """Called by the sweeper. What a client has not read yet has a time of its own."""
        exchange = self.cycle
        if exchange is not None and exchange.is_undecided:
            return  # left() keeps it
        if 0 < self._deadline < now:
            if self.transport.get_write_buffer_size():
                if self._deadline + self.answer_time - self.limits.idle_time < now:
                    self.transport.abort()
            elif self._refusal:
                self._refuse(self._refusal)
            else:
                self.transport.close()

    def _expect(self, seconds: float, refusal: int) -> None:
        self._deadline = self.sweeper.now + seconds + TICK
        self._refusal = refusal

    def _refuse(self, status: int) -> None:
        """Answer with a bare status, unless an answer has begun, and close."""
        if self.parser is None:
            return  # refused already
        self._stop_reading()
        self._known = None
        self._deadline = 0.0
        refused = self._receiving
        if refused is None or not refused.response_started:
            head = STATUS_LINE[status] + b"content-length: 0\r\nconnection: close\r\n"
            retry = b"retry-after: 1\r\n" if status == 503 else b""
            self.burst.write(self.transport, head + retry + b"\r\n")
        if refused is not None and not refused.response_complete:
            refused.lost()
        self.loop.call_soon(self.transport.close)  # behind the burst

    def _stop_reading(self) -> None:
        """What still comes belongs to no request."""
        self.parser = None
        self._rest = b""
        self._begun.clear()
