"""uvicorn's HTTP protocol with the limits that it lacks, and one clock for all of them."""

from __future__ import annotations

import asyncio
from collections import deque
from contextvars import Context
from functools import lru_cache
from typing import Any, NamedTuple, cast
from urllib.parse import unquote

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from ..logs import get_logger
from .exchange import Burst, Exchange
from .known_head import MOST_REPLACED, KnownHead, know
from .peer import Peer
from .settings import Limits

log = get_logger("gateway.server")

BLANKS = b" \t"
"""The parser leaves them behind a value (RFC 9110, 5.5)."""

TICK = 0.5
"""Seconds between looks at the connections: the precision of every time limit."""


ASGI = {"version": "3.0", "spec_version": "2.3"}

LARGEST_SHARE = 9
"""Bytes that a body may take for each of its own, in the smallest chunks: 6. What stands behind it
(trailers) has the limit of headers."""

LARGEST_KNOWN = 512
"""Bytes of a target that is kept, parsed, for the next request like it."""


class Target(NamedTuple):
    """What a request line asks for. ``path``: decoded."""

    path: str
    raw_path: bytes
    query: bytes


def _parse_target(target: bytes) -> Target:
    if b"#" in target:  # no fragment is ever sent: it belongs to the path, or the query
        target = target.replace(b"#", b"%23")
    url = httptools.parse_url(target)
    path = url.path.decode("latin-1")
    return Target(unquote(path) if "%" in path else path, url.path, url.query or b"")


_known_target = lru_cache(1024)(_parse_target)


class Clock:
    """Loop time, coarse: read on every request, set twice a second."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.burst = Burst()
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
    ``active``: the request that the application has, or had last. ``waiting``: requests behind it,
    with their scopes; the next is last. ``_known``: the last head, when it may come again.
    """

    peer: Peer
    active: Exchange | None = None
    cycle: Exchange | None  # type: ignore[assignment]  # what uvicorn itself asks of it, it has

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        clock: Clock,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.clock = clock
        self.burst = clock.burst
        self.limits = clock.limits
        self.answer_time = clock.limits.answer_time
        self._deadline = 0.0
        self._refusal = 408
        self._is_in_headers = False
        self._header_bytes = 0
        self._body_bytes = 0
        self._raw_bytes = 0
        self._announced = 0
        self._hosts = 0
        self._heads = 0
        self._plain_scope: dict[str, Any] | None = None
        self._known: KnownHead | None = None
        self._replaced = 0
        self.waiting: deque[tuple[Exchange, Any]] = deque()

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
        self.flow.resume_writing()
        for exchange in (self.active, self.cycle):
            if exchange is not None and (exchange.is_undecided or not exchange.response_complete):
                exchange.lost()
        for waiting, _ in self.waiting:
            waiting.lost()
        if exc is None:
            self.transport.close()
        self.parser = None  # type: ignore[assignment]

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

    def data_received(self, data: bytes) -> None:
        parser = self.parser
        if parser is None:  # refused: what still comes is nobody's
            return
        is_between = not self._is_in_headers and (self.cycle is None or not self.cycle.more_body)
        if is_between and self._known is not None:
            data = self._take_known(self._known, data)
            if not data:
                return
        heads = self._heads
        if self._is_in_headers:
            self._header_bytes += len(data)
        else:
            self._header_bytes = len(data)
            self._raw_bytes += len(data)
        try:
            parser.feed_data(data)
        except httptools.HttpParserError:
            self._refuse(400)
            return
        except httptools.HttpParserUpgrade:
            log.debug("a request to switch the protocol is answered as any other")
            self._plain_scope = None
        if self._is_in_headers:
            if self._header_bytes > self.limits.header_bytes:
                self._refuse(431)
        elif self._raw_bytes > self.limits.header_bytes + LARGEST_SHARE * self._body_bytes:
            self._refuse(431)
        elif self._plain_scope is not None and is_between and self._heads == heads + 1:
            self._replaced += 1  # the only head in the data, which begins with it
            self._known = know(data, self._plain_scope, self.headers, self._announced)
            self._plain_scope = None

    def _take_known(self, known: KnownHead, data: bytes) -> bytes:
        """Begin the requests whose head is the last one's again; returns what is behind them."""
        head, size = known.head, known.size
        body_at, end = len(head), size
        while len(data) >= end and data.startswith(head, end - size):
            self._raw_bytes, self._body_bytes = 0, size - len(head)
            scope = known.scope.copy()
            scope["state"] = self.app_state.copy()
            exchange = self._begin(scope, True, False)
            exchange.take_body(data[body_at:end])
            exchange.end_body()
            self._deadline = 0.0
            body_at, end = body_at + size, end + size
        return data[end - size :]

    # What the parser tells.

    def on_message_begin(self) -> None:
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._is_in_headers = True
        self._heads += 1
        self._plain_scope = None
        self._announced = self._body_bytes = self._hosts = 0
        self._expect(self.limits.header_time, 408)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._is_in_headers:
            return  # behind the body: nobody asks for it
        name, value = name.lower(), value.rstrip(BLANKS)
        self.headers.append((name, value))
        if name == b"content-length":
            self._announced = int(value)
        elif name == b"host":
            self._hosts += 1
        elif name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True

    def on_headers_complete(self) -> None:
        parser = self.parser
        if parser is None:
            return
        if self._header_bytes > self.limits.header_bytes and self._are_headers_too_large():
            self._refuse(431)
            return
        version = parser.get_http_version()
        if self._hosts != 1 and (self._hosts or version != "1.0"):  # RFC 9112, 3.2
            self._refuse(400)
            return
        self._is_in_headers = False
        self._raw_bytes = 0
        target = self.url
        if not target.startswith(b"/"):
            self._take_host_of(target)
        parts = _known_target(target) if len(target) <= LARGEST_KNOWN else _parse_target(target)
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
            "method": parser.get_method().decode("ascii"),
            "path": parts.path,
            "raw_path": parts.raw_path,
            "query_string": parts.query,
        }
        keep_alive = version != "1.0" and parser.should_keep_alive()
        if not keep_alive:
            self._known = None
        elif (
            self._replaced < MOST_REPLACED
            and target.startswith(b"/")
            and not self.expect_100_continue
        ):
            self._plain_scope = scope
        if self._announced > self.limits.body_bytes:
            self._refuse(413)
            return
        self._expect(self.limits.body_time, 408)
        self._begin(scope, keep_alive, self.expect_100_continue)

    def _begin(self, scope: Any, keep_alive: bool, expects_continue: bool) -> Exchange:
        previous = self.cycle
        is_head, knows_chunks = scope["method"] == "HEAD", scope["http_version"] != "1.0"
        exchange = self.cycle = Exchange(self, is_head, keep_alive, expects_continue, knows_chunks)
        scope["extensions"] = {"gateway.connection": exchange}
        if previous is None or previous.response_complete:
            self._start(exchange, scope)
        else:
            self.flow.pause_reading()
            self.waiting.appendleft((exchange, scope))
        return exchange

    def _start(self, exchange: Exchange, scope: Any) -> None:
        self.active = exchange
        run = exchange.run_asgi(self.app, scope, self.tasks)
        # Not by the loop: it would make up a name.
        exchange.task = asyncio.Task(run, loop=self.loop, name="request", context=Context())
        self.tasks.add(exchange.task)

    def _take_host_of(self, target: bytes) -> None:
        """A whole URL as the target: its host beats the header (RFC 9112, 3.2.2)."""
        scheme, separator, rest = target.partition(b"://")
        if separator and scheme.isalpha():
            host = rest.split(b"/", 1)[0].split(b"?", 1)[0].rpartition(b"@")[2]
            self.headers[:] = [header for header in self.headers if header[0] != b"host"]
            self.headers.append((b"host", host))

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
        if self.parser is None or exchange is None:
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
        if self.waiting:
            self._start(*self.waiting.pop())
        elif not self._is_in_headers and self._receiving is None:
            self._expect(self.limits.idle_time, 0)
        if not self.waiting and self.flow.read_paused:  # else there would be ever more of them
            self.flow.resume_reading()
            if self._is_in_headers:
                self._expect(self.limits.header_time, 408)
            elif self._receiving is not None:
                self._expect(self.limits.body_time, 408)

    @property
    def _receiving(self) -> Exchange | None:
        """The request whose body is not complete yet."""
        exchange = self.cycle
        if exchange is None or not exchange.more_body or self._is_in_headers:
            return None
        return exchange

    # Limits.

    def check_time(self, now: float) -> None:
        """Called by the clock. What a client has not read yet has a time of its own."""
        exchange = self.cycle
        if self.waiting:
            return  # nothing is read meanwhile: what is not here yet cannot be late
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
        self._deadline = self.clock.now + seconds + TICK
        self._refusal = refusal

    def _are_headers_too_large(self) -> bool:
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        return size > self.limits.header_bytes

    def _refuse(self, status: int) -> None:
        """Answer with a bare status, unless an answer has begun, and close.

        A request before it that has no answer yet gets it, as the last one.
        """
        self.parser = None  # type: ignore[assignment]  # nothing more is read
        self._known = None
        self._deadline = 0.0
        for waiting, _ in self.waiting:
            waiting.lost()
        self.waiting.clear()
        refused, active = self._receiving, self.active
        if active is not None and active is not refused and not active.response_complete:
            active.keep_alive = False
            return
        if refused is None or not refused.response_started:
            head = STATUS_LINE[status] + b"content-length: 0\r\nconnection: close\r\n"
            retry = b"retry-after: 1\r\n" if status == 503 else b""
            self.burst.write(self.transport, head + retry + b"\r\n")
        if refused is not None and not refused.response_complete:
            refused.lost()
        self.loop.call_soon(self.transport.close)  # behind the burst
