"""One connection to a backend: it writes a request and reads a response. HTTP/1.1, as in KrakenD.

It knows nothing of pools and redirects, nor what a response means. It runs on the asyncio side.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container, Sequence
from typing import NamedTuple, Protocol, cast

from httptools import HttpParserError, HttpResponseParser
from httptools.parser.errors import HttpParserUpgrade

from ..errors import BackendFailure
from .stream import HIGH_WATER, LOW_WATER, BodyStream

MAX_HEADER_BYTES = 1_000_000
"""Bytes of the headers of a response. Go's client reads ten times as much."""
MAX_FIELDS = 1_000
"""Header fields of a response, as many as of a request: CEL, templates and scripts read each."""

WHITESPACE = b" \t"
"""The parser leaves it after a value (RFC 9110, 5.5)."""

Headers = Sequence[tuple[bytes, bytes]]


class HttpResponse(NamedTuple):
    """The response of a backend. ``is_whole``: every byte that it announced has arrived.

    Names of ``headers`` are in lower case. ``url``: after a redirect, the last URL without
    credentials; otherwise empty. ``stream``: a body that still arrives; ``body`` is then empty.
    """

    status: int
    headers: Headers
    body: bytes
    is_whole: bool = True
    url: str = ""
    stream: BodyStream | None = None


class PendingRequest(Protocol):
    """A request that waits for its response. ``completed`` or ``failed`` is called, once."""

    head: bytes
    body: bytes
    is_head: bool
    """A response to HEAD has no body, whatever length its headers announce."""
    connection: BackendConnection | None
    """The connection on which the request was sent; the connection sets it."""
    streams: Container[int]
    """For these statuses the body is passed on while it arrives: ``began`` is called, then ``more``
    for each piece, then ``ended``."""

    def completed(self, response: HttpResponse) -> None: ...

    def began(self, response: HttpResponse) -> None: ...

    def more(self, piece: bytes) -> None: ...

    def ended(self, failure: BackendFailure | None) -> None:
        """The body has ended. ``failure``: before its end."""

    def failed(self, error: BackendFailure, is_retriable: bool) -> None:
        """``is_retriable``: the connection was used before, and no byte of a response came."""


class BackendConnection(asyncio.Protocol):
    """``released`` is called when the connection can be used again, ``lost`` when it is closed.

    ``header_time``: seconds until the headers of a response must have arrived; 0: no limit.
    ``dns_time``, ``tls_time``: seconds that these took when it was opened; 0: nothing was to do, or
    it is not measured.
    """

    dns_time = 0.0
    tls_time = 0.0

    def __init__(
        self,
        released: Callable[[BackendConnection], None],
        lost: Callable[[BackendConnection], None],
        max_body_bytes: int,
        header_time: float = 0.0,
    ) -> None:
        self._released = released
        self._lost = lost
        self._max_body_bytes = max_body_bytes
        self._header_time = header_time
        self._timer: asyncio.TimerHandle | None = None
        self._request: PendingRequest | None = None
        self._parser = HttpResponseParser(self)
        self._is_used = False
        self.is_closed = False
        self.idle_since = 0.0

    # Called by the pool.

    def send(self, request: PendingRequest) -> None:
        """Write a request. The response to the last one must be complete."""
        self._request = request
        request.connection = self
        self._status = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._chunks: list[bytes] = []
        self._received = self._body_bytes = 0
        self._has_headers = self._is_framed = self._is_done = self._is_unusable = False
        self._problem = ""
        self._is_streaming = False
        self._unread = 0
        self._transport.write(request.head + request.body)
        if self._header_time:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._header_time, self._fail, "no response in time")

    def drop(self) -> None:
        """The response is not wanted any more: close the connection, which cannot be used again."""
        self._end()
        self.close()

    def close(self) -> None:
        self.is_closed = True
        self._transport.abort()

    @property
    def body_bytes(self) -> int:
        """Bytes of the response's body that have arrived."""
        return self._body_bytes

    # Called by the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._request is None:  # these bytes must not become the next response
            self.close()
            return
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            self._fail("the backend switched the protocol")
        except HttpParserError as error:
            if self._is_done:
                self._is_unusable = True
            else:
                self._fail(f"malformed response: {error}")
        if self._is_streaming:
            self._pass_on()
        if self._is_done:
            self._finish()
        elif self._problem:
            self._fail(self._problem)
        elif self._has_headers:
            if self._may_stream() and not self._is_streaming and self._request is not None:
                self._is_streaming = True
                self._request.began(HttpResponse(self._status, self._headers, b""))
                self._pass_on()
        elif self._received > MAX_HEADER_BYTES:
            self._fail("the headers of the response are too large")

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_closed = True
        if self._request is not None:
            if self._is_streaming:
                self._end_stream("unexpected EOF" if self._is_framed else "")
            elif self._has_headers:
                response = self._whole_response(is_whole=not self._is_framed)
                if (request := self._end()) is not None:
                    request.completed(response)
            else:
                is_retriable = self._is_used and not self._received
                self._fail(str(exc or "EOF"), is_retriable)
        self._lost(self)

    # Called by the parser.

    def on_message_begin(self) -> None:
        if self._is_done:
            raise HttpParserError("more than one response")

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._has_headers:  # trailers are ignored
            self._headers.append((name.lower(), value.rstrip(WHITESPACE)))

    def on_headers_complete(self) -> None:
        self._status = self._parser.get_status_code()
        if self._status < 200:
            return
        self._has_headers = True
        self._stop_timer()
        if len(self._headers) > MAX_FIELDS:
            self._problem = f"the response has more than {MAX_FIELDS} header fields"
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
            self._is_done = self._is_unusable = True

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        if self._body_bytes > self._max_body_bytes and not self._may_stream():
            self._problem = self._too_large()
        elif not self._is_done:
            self._chunks.append(body)

    def on_message_complete(self) -> None:
        if self._has_headers:
            self._is_done = True
            self._is_unusable = self._is_unusable or not self._parser.should_keep_alive()
        else:  # an interim response (1xx): the real one follows
            self._headers = []

    # The response.

    def _is_to_head(self) -> bool:
        return self._request is not None and self._request.is_head

    def _too_large(self) -> str:
        return f"the response has more than {self._max_body_bytes} bytes"

    def _may_stream(self) -> bool:
        return self._request is not None and self._status in self._request.streams

    def _pass_on(self) -> None:
        """Pass on what has arrived of a body. Stop reading while its reader is too far behind."""
        if self._chunks and self._request is not None:
            piece = b"".join(self._chunks)
            self._chunks.clear()
            self._unread += len(piece)
            if self._unread > HIGH_WATER and not self._is_done:
                self._transport.pause_reading()
            self._request.more(piece)

    def taken(self, size: int) -> None:
        """The reader of the body has taken ``size`` bytes."""
        self._unread -= size
        if self._unread < LOW_WATER and not self.is_closed:
            self._transport.resume_reading()

    def _end_stream(self, problem: str) -> None:
        request = self._end()
        if request is not None:
            request.ended(BackendFailure(problem) if problem else None)

    def _finish(self) -> None:
        if self._problem:
            self._fail(self._problem)
            return
        response = (
            HttpResponse(0, (), b"") if self._is_streaming else self._whole_response(is_whole=True)
        )
        is_streaming = self._is_streaming
        request = self._end()
        if self._is_unusable:
            self.close()
        else:
            self._is_used = True
            self._released(self)  # the pool may send the next request at once
        if request is not None and is_streaming:
            request.ended(None)
        elif request is not None:
            request.completed(response)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end(self) -> PendingRequest | None:
        self._stop_timer()
        request, self._request = self._request, None
        if request is not None:
            request.connection = None
        return request

    def _whole_response(self, is_whole: bool) -> HttpResponse:
        chunks = self._chunks
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        return HttpResponse(self._status, self._headers, body, is_whole)

    def _fail(self, problem: str, is_retriable: bool = False) -> None:
        self.close()
        if self._is_streaming:
            self._end_stream(problem)
        elif (request := self._end()) is not None:
            request.failed(BackendFailure(problem), is_retriable)
