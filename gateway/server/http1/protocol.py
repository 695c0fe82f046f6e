"""Reads the requests of one connection: HTTP/1.1 on httptools."""

from __future__ import annotations

import asyncio
from contextvars import Context

import httptools

from ...core.asgi import ASGIApp, Scope
from ...core.direct import DirectHead
from .connection import LimitedConnection
from .cycle import Cycle, Http1Cycle
from .direct_cycle import DirectCycle
from .flow_control import HIGH_WATER_LIMIT
from .head_cache import END, MAX_REPLACED_HEADS, CachedHead, cacheable_head
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
from .request_target import MAX_KEPT_TARGET_BYTES, parse_target, parse_target_cached
from .server_state import ServerState

WHITESPACE = b" \t"
"""The parser leaves it after a value (RFC 9110, 5.5)."""
LINE_BREAKS = b"\r\n"

ASGI = {"version": "3.0", "spec_version": "2.3"}

MAX_CHUNK_OVERHEAD = 9
"""Bytes that a chunked body may take for each of its own bytes; the smallest chunks take 6.
Trailers have the limit of headers."""

MAX_UNCOUNTED_HEAD_BYTES = 1024
"""Bytes of a head that is too short to break a limit: nothing in it is counted."""

MAX_CHUNKED_BYTES_PER_TURN = 32 * 1024
"""Bytes of a chunked body that are parsed before other connections have their turn. Chunks of one
byte cost the parser 0.3 us a byte; each piece counts as PIECE_COST bytes more."""
PIECE_COST = 64
PIPELINED_COST = 2048
"""A request behind one that was responded to in the same turn counts as so many bytes."""


class HttpProtocol(LimitedConnection):
    """The parser gets whole heads, and a body up to where its message may end.

    So no request begins within a piece that the parser gets, and the cost of a request is bounded.

    Of the request that is read now: ``_body_bytes``: bytes of its body until now; ``_raw_bytes``:
    bytes that carried them (with the lengths of chunks, and trailers); ``_content_length``: 0 also
    if the body is chunked; ``_method``: the method if it is unknown to the parser, which gets POST
    in its place. ``_body_tail``: the last bytes of a chunked body, where its end may begin.

    ``_cached``: the last head, if the next request with the same bytes needs no parser.
    ``_replaced_heads``: how often it was replaced. ``_cacheable_scope``: the scope of the head that
    is parsed now, if it may be cached. ``_has_pipelined``: bytes came that had to wait, so a
    request proves nothing about the response before it.
    """

    __slots__ = (
        "_body_bytes",
        "_body_tail",
        "_cacheable_scope",
        "_cached",
        "_content_length",
        "_direct_cycle",
        "_direct_head",
        "_has_pipelined",
        "_is_chunked",
        "_is_in_headers",
        "_method",
        "_raw_bytes",
        "_replaced_heads",
        "expect_100_continue",
        "headers",
        "url",
    )

    def __init__(self, state: ServerState) -> None:
        super().__init__(state)
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.expect_100_continue = False
        self._is_in_headers = False
        self._body_bytes = 0
        self._raw_bytes = 0
        self._content_length = 0
        self._method = b""
        self._cacheable_scope: Scope | None = None
        self._cached: CachedHead | None = None
        self._replaced_heads = 0
        self._body_tail = b""
        self._has_pipelined = False
        self._direct_cycle: DirectCycle | None = None
        self._direct_head: DirectHead | None = None
        self._is_chunked = False

    def _stop_reading(self) -> None:
        super()._stop_reading()
        self._cached = None

    def data_received(self, data: bytes) -> None:
        undecided = len(self.output.undecided)
        is_proof = undecided and self._proves_arrival(data)
        if self._unread:  # read before reading was paused
            self._unread += data
        else:
            self._take(data)
        # The client waits for its new response, and not for these.
        if is_proof:
            self.output.have_arrived(undecided)
        elif undecided:
            self.output.look()

    def _proves_arrival(self, data: bytes) -> bool:
        """Whether these bytes are a request that the client sent when it had the last response."""
        cycle = self.cycle
        return (
            cycle is not None
            and cycle.keep_alive
            and not cycle.more_body
            and not self._has_pipelined
            and data[:1].isalpha()  # an empty line may belong to the last request
            and self.output.is_empty
        )

    def _take(self, data: bytes) -> None:
        """Read what may be read now; the rest waits for ``_read_on``."""
        budget = MAX_CHUNKED_BYTES_PER_TURN
        while data and self.parser is not None:
            cycle = self.cycle
            if cycle is not None and cycle.more_body:
                if budget <= 0:
                    self.loop.call_soon(self._read_on)
                    break
                size = self._body_size(data)
                budget -= PIECE_COST + (size if self._is_chunked else 0)
                piece, data = (data[:size], data[size:]) if size < len(data) else (data, b"")
                self._take_body(piece)
            elif cycle is not None and not (cycle.response_complete and cycle.keep_alive):
                if not cycle.keep_alive:  # no request follows the last one (RFC 9112, 9.6)
                    return
                break
            elif self.flow.write_paused:
                break
            elif budget <= 0:
                self.loop.call_soon(self._read_on)
                break
            else:
                if self.output.queued != self.output.written:
                    self._has_pipelined = True  # the last response has not left yet
                    budget -= PIPELINED_COST
                cached = self._cached
                if (
                    cached is None
                    or self._partial_head
                    or len(data) < cached.size
                    or not data.startswith(cached.head)
                ):
                    data = self._take_head(data)
                else:
                    data = self._take_cached(cached, data)
        if data and self.parser is not None:
            self._unread = data
            self._has_pipelined = True
            self.flow.pause_reading()

    def pause_writing(self) -> None:
        """The client does not read its responses, so none of its requests is read."""
        self.flow.pause_writing()
        self.flow.pause_reading()
        self.state.unsent.wait(self, self.unsent())

    def resume_writing(self) -> None:
        self.flow.resume_writing()
        self.state.unsent.wait(self, 0)
        self._read_on()

    def _read_on(self) -> None:
        """Read the bytes that had to wait, as far as they need not wait any more."""
        data, self._unread = self._unread, b""
        if data:
            self._take(data)
        cycle = self.cycle
        if cycle is None or cycle.response_complete or len(cycle.body) <= HIGH_WATER_LIMIT:
            self.resume_reading()

    def resume_reading(self) -> None:
        if not self._unread and not self.flow.write_paused:
            self.flow.resume_reading()

    def _take_cached(self, cached: CachedHead, data: bytes) -> bytes:
        """Begin a request with the same head as the last one. Returns the bytes after it."""
        size, body_at = cached.size, len(cached.head)
        self._raw_bytes, self._body_bytes = 0, size - body_at
        self._deadline = 0.0
        direct = cached.direct
        if direct is None:
            cycle: Cycle = self._begin(cached.scope, keep_alive=True, expects_continue=False)
        else:
            cycle = self._begin_direct(direct, cached.scope, keep_alive=True)
        cycle.take_body(data[body_at:size])
        cycle.end_body()
        return data[size:]

    def _take_head(self, data: bytes) -> bytes:
        """Parse a head when it is complete. Returns the bytes after it."""
        partial = self._partial_head
        if partial:
            searched = max(len(partial) - len(END), 0)
            partial += data
            data = b""
            if (end := partial.find(END, searched)) >= 0:
                data = bytes(partial)
                partial.clear()
        else:
            data = data.lstrip(LINE_BREAKS)  # RFC 9112, 2.2
            if (end := data.find(END)) < 0:
                partial += data
                self._expect(self.limits.header_time, 408)
        if end >= 0:
            end += len(END)
            head, data = (data[:end], data[end:]) if end < len(data) else (data, b"")
            self._parse_head(head)
            return data
        if len(partial) > self.limits.header_bytes:
            self._refuse(431)
        elif partial and not TOKEN.match(partial, 0, 1):
            self._refuse(400)
        return b""

    def _parse_head(self, head: bytes) -> None:
        if len(head) > self.limits.header_bytes:
            self._refuse(431)
            return
        line = head[: head.find(b"\r")]
        if len(head) > MAX_UNCOUNTED_HEAD_BYTES and (
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
        except httptools.HttpParserUpgrade:  # the parser would skip its body
            self._parse_again(without_upgrade(head))
        except httptools.HttpParserInvalidMethodError:
            self._method, _, rest = head.partition(b" ")
            self._parse_again(without_upgrade(b"POST " + rest))
        except httptools.HttpParserError:
            self._refuse(400)
        scope, self._cacheable_scope = self._cacheable_scope, None
        if self._is_in_headers and self.parser is not None:  # it found no end
            self._refuse(400)
        elif scope is not None:
            self._replaced_heads += 1
            self._cached = cacheable_head(
                head, scope, self.headers, self._content_length, self._direct_head
            )

    def _parse_again(self, head: bytes) -> None:
        """Parse a changed head by a new parser, as if it were the first one of the connection."""
        if self.parser is None:
            return  # refused already
        self.parser = httptools.HttpRequestParser(self)
        try:
            self._feed(head)
        except (httptools.HttpParserUpgrade, httptools.HttpParserError):
            self._refuse(400)

    def _feed(self, data: bytes) -> None:
        assert self.parser is not None
        self.parser.feed_data(data)

    def _body_size(self, data: bytes) -> int:
        """How many bytes of ``data`` belong to the body.

        A chunked body may end at the first empty line, also at one that began in the piece before.
        """
        if not self._is_chunked:
            return self._content_length - self._body_bytes
        seam = self._body_tail + data[: len(END) - 1]
        end = seam.find(END)
        limit = MAX_CHUNKED_BYTES_PER_TURN
        size = end - len(self._body_tail) if end >= 0 else data.find(END, 0, limit)
        size = size + len(END) if end >= 0 or size >= 0 else limit
        self._body_tail = (self._body_tail + data[:size])[-len(END) + 1 :]
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

    # Callbacks of the parser.

    def on_message_begin(self) -> None:
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._is_in_headers = True
        self._cacheable_scope = None
        self._direct_head = None
        self._is_chunked = False
        self._content_length = self._body_bytes = self._raw_bytes = 0

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._is_in_headers:
            return  # trailers are ignored
        name, value = name.lower(), value.rstrip(WHITESPACE)
        self.headers.append((name, value))
        if name == b"content-length":
            self._content_length = int(value)
        elif name == b"transfer-encoding":
            self._is_chunked = True
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
            return  # _parse_head parses it again, without the upgrade
        target = self.url
        is_origin_form = target.startswith(b"/")
        if not is_origin_form and (host := host_of(target)) is not None:
            if not is_host(host):
                self._refuse(400)
                return
            self.headers[:] = [header for header in self.headers if header[0] != b"host"]
            self.headers.append((b"host", host))
        self._is_in_headers = False
        self._body_tail = b""
        parse = parse_target_cached if len(target) <= MAX_KEPT_TARGET_BYTES else parse_target
        parts = parse(target)
        scope: Scope = {
            "type": "http",
            "asgi": ASGI,
            "http_version": version,
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "root_path": "",
            "headers": self.headers,
            "method": method.decode("ascii"),
            "path": parts.path,
            "raw_path": parts.raw_path,
            "query_string": parts.query,
        }
        keep_alive = version != "1.0" and parser.should_keep_alive()
        if not keep_alive:
            self._cached = None
        elif (
            self._replaced_heads < MAX_REPLACED_HEADS
            and is_origin_form
            and not self.expect_100_continue
            and not self._method
        ):
            self._cacheable_scope = scope
        self._expect(self.limits.body_time, 408)
        direct = self._direct_head = self.state.find_direct(scope)
        if direct is not None and self._may_begin_directly(direct):
            self._begin_direct(direct, scope, keep_alive=keep_alive)
        else:
            self._begin(scope, keep_alive=keep_alive, expects_continue=self.expect_100_continue)

    def _may_begin_directly(self, direct: DirectHead) -> bool:
        """Whether it makes no difference that the request begins only when its body is complete."""
        if self._is_chunked or self.expect_100_continue:
            return False
        size = self._content_length
        return not size or (
            size <= HIGH_WATER_LIMIT and direct.reads_body and not direct.has_guards
        )

    def _begin_direct(self, direct: DirectHead, scope: Scope, *, keep_alive: bool) -> DirectCycle:
        """Start a request without a task. Its head is complete."""
        cycle = self._direct_cycle
        if cycle is None:
            cycle = self._direct_cycle = DirectCycle(self)
        self.cycle = cycle
        cycle.start(direct, scope, is_head=scope["method"] == "HEAD", keep_alive=keep_alive)
        return cycle

    def run(self, app: ASGIApp, scope: Scope, cycle: Cycle) -> None:
        """Continue a direct request in a task."""
        running = self._begin(scope, keep_alive=cycle.keep_alive, expects_continue=False, app=app)
        running.body, cycle.body = cycle.body, b""
        running.end_body()

    def _begin(
        self,
        scope: Scope,
        *,
        keep_alive: bool,
        expects_continue: bool,
        app: ASGIApp | None = None,
    ) -> Http1Cycle:
        """Start the task of a request whose head is complete."""
        is_head, knows_chunks = scope["method"] == "HEAD", scope["http_version"] != "1.0"
        cycle = self.cycle = Http1Cycle(self, is_head, keep_alive, expects_continue, knows_chunks)
        scope = {**scope, "state": {}, "extensions": {"gateway.connection": cycle}}
        state = self.state
        run = cycle.run_asgi(app or state.app, scope, state.tasks)
        # loop.create_task() would make up a name.
        cycle.task = asyncio.Task(run, loop=self.loop, name="request", context=Context())
        state.tasks.add(cycle.task)
        return cycle

    def on_body(self, body: bytes) -> None:
        if self.parser is None:
            return
        self._body_bytes += len(body)
        if self._body_bytes > self.limits.body_bytes:
            self._refuse(413)
        elif (cycle := self.cycle) is not None and not cycle.response_complete:
            cycle.take_body(body)

    def on_message_complete(self) -> None:
        cycle = self.cycle
        if self._is_in_headers or self.parser is None or cycle is None:
            return
        cycle.end_body()
        if cycle.response_complete:
            self._expect(self.limits.idle_time, 0)
        else:
            self._deadline = 0.0  # from now on the endpoint's timeout limits it

    def on_response_complete(self) -> None:
        """Called by the cycle."""
        if self.transport.is_closing():
            return
        if self._receiving is None:
            self._expect(self.limits.idle_time, 0)
        if self.flow.read_paused:
            self.loop.call_soon(self._read_on)  # after the coalesced writes
