"""One connection to a backend: bytes out, one answer in. HTTP/1.1, as KrakenD speaks to backends.

Knows nothing of pools, redirects or meaning. All of it runs on the asyncio side.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container, Sequence
from typing import NamedTuple, Protocol, cast

from httptools import HttpParserError, HttpResponseParser
from httptools.parser.errors import HttpParserUpgrade

from ..errors import BackendFailure
from .stream import HIGH, LOW, BodyStream

MAX_HEADER_BYTES = 1_000_000
"""Of an answer; Go's client takes ten times as much, no backend sends it."""
MAX_FIELDS = 1_000
"""Header fields of an answer, as many as of a request: CEL, templates and scripts look at each."""

BLANKS = b" \t"
"""The parser leaves them behind a value (RFC 9110, 5.5)."""

Headers = Sequence[tuple[bytes, bytes]]


class HttpResponse(NamedTuple):
    """What a backend answered. ``is_whole``: everything it announced has come.

    Names of ``headers`` are in lower case. ``url``: where a redirect has led, without credentials;
    empty when there was none. ``stream``: the body, when it is still coming (``body`` is empty).
    """

    status: int
    headers: Headers
    body: bytes
    is_whole: bool = True
    url: str = ""
    stream: BodyStream | None = None


class PendingRequest(Protocol):
    """A request on its way, and who waits for its answer. One of the two is called, once."""

    head: bytes
    body: bytes
    is_head: bool
    """An answer to HEAD has no body, whatever its headers announce."""
    connection: BackendConnection | None
    """Kept by the connection that it is on."""
    streams: Container[int]
    """Statuses with which a body is handed on while it is coming: only ``began`` is called then,
    as often as there is something, and ``ended``."""

    def answered(self, answer: HttpResponse) -> None: ...

    def began(self, answer: HttpResponse) -> None: ...

    def more(self, piece: bytes) -> None: ...

    def ended(self, failure: BackendFailure | None) -> None:
        """The body; ``failure``: it broke off."""

    def failed(self, error: BackendFailure, is_retriable: bool) -> None:
        """``is_retriable``: the connection had been used before, and not a byte came back."""


class BackendConnection(asyncio.Protocol):
    """One connection. ``released`` is told of it when it can be used again, ``gone`` when not.

    ``header_time``: seconds until the headers of an answer must be here; 0: no limit.
    """

    def __init__(
        self,
        released: Callable[[BackendConnection], None],
        gone: Callable[[BackendConnection], None],
        max_body_bytes: int,
        header_time: float = 0.0,
    ) -> None:
        self._released = released
        self._gone = gone
        self._max_body_bytes = max_body_bytes
        self._header_time = header_time
        self._timer: asyncio.TimerHandle | None = None
        self._exchange: PendingRequest | None = None
        self._parser = HttpResponseParser(self)
        self._is_used = False
        self.is_closed = False
        self.idle_since = 0.0

    # What the pool says.

    def send(self, exchange: PendingRequest) -> None:
        """Write a request; only while nothing else is on its way."""
        self._exchange = exchange
        exchange.connection = self
        self._status = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._chunks: list[bytes] = []
        self._received = self._body_bytes = 0
        self._has_headers = self._is_framed = self._is_done = self._is_spoiled = False
        self._problem = ""
        self._is_streaming = False
        self._unread = 0
        self._transport.write(exchange.head + exchange.body)
        if self._header_time:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._header_time, self._fail, "no answer in time")

    def drop(self) -> None:
        """Nobody waits for the answer any more: the connection is of no use."""
        self._end()
        self.close()

    def close(self) -> None:
        self.is_closed = True
        self._transport.abort()

    # What the transport says.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._exchange is None:  # nobody asked: this must not become the next answer
            self.close()
            return
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            self._fail("the backend switched the protocol")
        except HttpParserError as error:
            if self._is_done:
                self._is_spoiled = True
            else:
                self._fail(f"malformed answer: {error}")
        if self._is_streaming:
            self._hand_on()
        if self._is_done:
            self._finish()
        elif self._problem:
            self._fail(self._problem)
        elif self._has_headers:
            if self._may_stream() and not self._is_streaming and self._exchange is not None:
                self._is_streaming = True
                self._exchange.began(HttpResponse(self._status, self._headers, b""))
                self._hand_on()
        elif self._received > MAX_HEADER_BYTES:
            self._fail("the headers of the answer are too large")

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_closed = True
        if self._exchange is not None:
            if self._is_streaming:
                self._end_stream("unexpected EOF" if self._is_framed else "")
            elif self._has_headers:
                answer = self._taken(is_whole=not self._is_framed)
                if (exchange := self._end()) is not None:
                    exchange.answered(answer)
            else:
                is_retriable = self._is_used and not self._received
                self._fail(str(exc or "EOF"), is_retriable)
        self._gone(self)

    # What the parser says.

    def on_message_begin(self) -> None:
        if self._is_done:
            raise HttpParserError("more than one answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._has_headers:  # what comes behind the body is not for anybody here
            self._headers.append((name.lower(), value.rstrip(BLANKS)))

    def on_headers_complete(self) -> None:
        self._status = self._parser.get_status_code()
        if self._status < 200:
            return
        self._has_headers = True
        self._stop_timer()
        if len(self._headers) > MAX_FIELDS:
            self._problem = f"the answer has more than {MAX_FIELDS} header fields"
            return
        for name, value in self._headers:
            if name == b"content-length":
                self._is_framed = True
                is_too_large = int(value) > self._max_body_bytes and not self._may_stream()
                if is_too_large and not self._is_to_head():
                    self._problem = self._too_large()
            elif name == b"transfer-encoding" and b"chunked" in value.lower():
                self._is_framed = True
        if self._is_to_head():
            self._is_done = self._is_spoiled = True

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        if self._body_bytes > self._max_body_bytes and not self._may_stream():
            self._problem = self._too_large()
        elif not self._is_done:
            self._chunks.append(body)

    def on_message_complete(self) -> None:
        if self._has_headers:
            self._is_done = True
            self._is_spoiled = self._is_spoiled or not self._parser.should_keep_alive()
        else:  # an interim answer (1xx): the real one follows
            self._headers = []

    # What becomes of it.

    def _is_to_head(self) -> bool:
        return self._exchange is not None and self._exchange.is_head

    def _too_large(self) -> str:
        return f"the answer has more than {self._max_body_bytes} bytes"

    def _may_stream(self) -> bool:
        return self._exchange is not None and self._status in self._exchange.streams

    def _hand_on(self) -> None:
        """What has come of a body; the connection is not read from while its reader is behind."""
        if self._chunks and self._exchange is not None:
            piece = b"".join(self._chunks)
            self._chunks.clear()
            self._unread += len(piece)
            if self._unread > HIGH and not self._is_done:
                self._transport.pause_reading()
            self._exchange.more(piece)

    def taken(self, size: int) -> None:
        """Its reader has taken so many bytes."""
        self._unread -= size
        if self._unread < LOW and not self.is_closed:
            self._transport.resume_reading()

    def _end_stream(self, problem: str) -> None:
        exchange = self._end()
        if exchange is not None:
            exchange.ended(BackendFailure(problem) if problem else None)

    def _finish(self) -> None:
        if self._problem:
            self._fail(self._problem)
            return
        answer = HttpResponse(0, (), b"") if self._is_streaming else self._taken(is_whole=True)
        is_streaming = self._is_streaming
        exchange = self._end()
        if self._is_spoiled:
            self.close()
        else:
            self._is_used = True
            self._released(self)  # which may send the next request at once
        if exchange is not None and is_streaming:
            exchange.ended(None)
        elif exchange is not None:
            exchange.answered(answer)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end(self) -> PendingRequest | None:
        self._stop_timer()
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.connection = None
        return exchange

    def _taken(self, is_whole: bool) -> HttpResponse:
        chunks = self._chunks
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        return HttpResponse(self._status, self._headers, body, is_whole)

    def _fail(self, problem: str, is_retriable: bool = False) -> None:
        self.close()
        if self._is_streaming:
            self._end_stream(problem)
        elif (exchange := self._end()) is not None:
            exchange.failed(BackendFailure(problem), is_retriable)
