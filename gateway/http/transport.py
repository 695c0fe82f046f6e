"""A request to a backend and its answer, over all redirects: what HTTP-only namespaces wrap.

A :data:`Transport` is to an HTTP exchange what a proxy is to a branch. Runs where the gateway runs;
waits without a task.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

from ..core.asgi import STATUSES
from ..core.helpers import Helpers
from ..core.tasks import called_back
from ..errors import BackendFailure, GatewayError, HelperFailure
from ..telemetry.logs import get_logger
from .client import HttpClient
from .connection import HttpResponse
from .request_head import REDIRECTS, BackendRequest, redirected, write_head
from .responses import find, unpack, unpacked
from .targets import hide_query

log = get_logger("gateway.http")

Result: TypeAlias = HttpResponse | GatewayError
Arrive: TypeAlias = Callable[[Result], None]
Withdraw: TypeAlias = Callable[[], None]
Transport: TypeAlias = Callable[[BackendRequest, Arrive], Withdraw]
"""Sends a request; ``arrive`` is called once with what came, perhaps at once. Returns what
withdraws it: after that ``arrive`` is not called. Raises :class:`GatewayError` instead of calling
it when the request cannot be sent."""

TransportStage: TypeAlias = Callable[[Transport], Transport]
"""Wraps the transport of one backend."""

MAX_REQUESTS = 10
"""Go sends so many for one: the tenth redirect is not followed."""

MAX_INLINE_BYTES = 4 * 1024 * 1024
"""Bytes that are unpacked on the event loop: 10 ms."""

STREAMED = frozenset(STATUSES) - frozenset(REDIRECTS)
"""Statuses whose bodies may be handed on while they come: whoever follows a redirect drops its."""

OF_PACKED = (b"content-encoding", b"content-length")

CHOICES = (b"accept-encoding", b"range")
"""Who sends them wants the answer as it is."""


async def exchange(transport: Transport, outgoing: BackendRequest) -> HttpResponse:
    """Send, and wait: for what the gateway asks on its own account. Raises GatewayError."""
    return await called_back(partial(transport, outgoing))


class Redirecting:
    """The innermost transport: sends, follows redirects, unpacks.

    ``accepts_gzip``: ask for it where the client made no choice. ``unpacks_all``: also what was
    not asked for. ``max_bytes``: of an unpacked answer. ``closes``: no connection is used twice.
    ``streams``: an answer arrives when its headers have come, its body as a stream. ``helpers``:
    what unpacks to more than :data:`MAX_INLINE_BYTES` is unpacked there.
    """

    def __init__(
        self,
        client: HttpClient,
        *,
        accepts_gzip: bool,
        unpacks_all: bool,
        resends_body: bool,
        max_bytes: int,
        closes: bool,
        streams: bool = False,
        helpers: Helpers | None = None,
    ) -> None:
        self._client = client
        self._accepts_gzip = accepts_gzip
        self._unpacks_all = unpacks_all
        self._resends_body = resends_body
        self._max_bytes = max_bytes
        self._helpers = helpers
        self._most = max_bytes if helpers is None else min(max_bytes, MAX_INLINE_BYTES)
        self._streams = STREAMED if streams else ()
        self._lines = b"\r\nConnection: close\r\n\r\n" if closes else b"\r\n\r\n"
        self._lines_with_gzip = b"\r\nAccept-Encoding: gzip" + self._lines

    def __call__(self, outgoing: BackendRequest, arrive: Arrive) -> Withdraw:
        call = RedirectedRequest(self, arrive)
        call.send(outgoing)
        return call.withdraw

    def send(self, outgoing: BackendRequest, call: RedirectedRequest) -> Withdraw:
        """One hop, for ``call`` to be told."""
        call.asks_gzip = self._accepts_gzip and not any(
            name in CHOICES for name, _ in outgoing.headers
        )
        fixed = self._lines_with_gzip if call.asks_gzip else self._lines
        head = write_head(outgoing, fixed)
        origin = outgoing.host.origin
        return self._client.send(
            origin, outgoing.method, head, outgoing.body, call.arrived, self._streams
        )

    def next(self, outgoing: BackendRequest, answer: HttpResponse) -> BackendRequest | None:
        """Where a redirect leads."""
        return redirected(outgoing, answer, self._resends_body)

    def finished(self, answer: HttpResponse, asked_gzip: bool) -> HttpResponse | None:
        """The last answer, unpacked; None: :meth:`unpack_later`. Raises :class:`BackendFailure`."""
        is_ours = asked_gzip or self._unpacks_all
        if is_ours and find(answer.headers, b"content-encoding") == b"gzip":
            if answer.stream is not None:
                answer.stream.unpack_gzip()
                headers = [header for header in answer.headers if header[0] not in OF_PACKED]
                return answer._replace(headers=headers)
            if answer.body:
                body, is_whole = unpack(answer.body, self._most)
                if self._most < len(body) and self._most < self._max_bytes:
                    return None
                return unpacked(answer, body, is_whole, self._max_bytes)
        return answer

    def unpack_later(self, answer: HttpResponse, arrive: Arrive) -> Withdraw:
        """Unpack a large answer without waiting. Returns what ends it."""
        assert self._helpers is not None
        limit = self._max_bytes

        def arrived(result: Any) -> None:
            try:
                if isinstance(result, HelperFailure):
                    raise BackendFailure(str(result))
                body, is_whole = result
                arrive(unpacked(answer, body, is_whole, limit))
            except BackendFailure as error:
                arrive(error)

        return self._helpers.start(arrived, unpack, answer.body, limit)


class RedirectedRequest:
    """One request to a backend, over all its redirects."""

    __slots__ = ("_arrive", "_hops", "_outgoing", "_sender", "_withdraw", "asks_gzip")

    def __init__(self, sender: Redirecting, arrive: Arrive) -> None:
        self._sender = sender
        self._arrive = arrive
        self._hops = 0
        self._withdraw: Withdraw | None = None
        self.asks_gzip = False

    def send(self, outgoing: BackendRequest) -> None:
        self._outgoing = outgoing
        self._withdraw = self._sender.send(outgoing, self)

    def withdraw(self) -> None:
        """Nobody waits any more."""
        if self._withdraw is not None:
            self._withdraw()

    def arrived(self, part: HttpResponse | BackendFailure) -> None:
        """The answer of one host: it may be a redirect. Never raises."""
        try:
            result = self._result(part)
        except GatewayError as error:
            result = error
        except Exception:  # this runs in the connection's callback: nobody else may suffer
            log.exception("%s: while reading the answer", hide_query(self._outgoing.url))
            result = GatewayError("internal error")
        if result is not None:
            self._arrive(result)

    def _result(self, part: HttpResponse | BackendFailure) -> Result | None:
        if isinstance(part, BackendFailure):
            return self._failure(str(part))
        outgoing = self._sender.next(self._outgoing, part)
        if outgoing is None:
            answer = self._sender.finished(part, self.asks_gzip)
            if answer is None:
                self._withdraw = self._sender.unpack_later(part, self._unpacked)
                return None
            return self._named(answer)
        self._hops += 1
        if self._hops == MAX_REQUESTS:
            location = find(part.headers, b"location").decode("latin-1")
            return self._failure(f"stopped after {MAX_REQUESTS} redirects", location)
        self.send(outgoing)
        return None

    def _unpacked(self, result: Result) -> None:
        self._withdraw = None
        self._arrive(self._named(result) if isinstance(result, HttpResponse) else result)

    def _named(self, answer: HttpResponse) -> HttpResponse:
        return answer._replace(url=self._outgoing.url) if self._hops else answer

    def _failure(self, reason: str, url: str = "") -> BackendFailure:
        """In the words of Go's client."""
        method = self._outgoing.method.capitalize()
        return BackendFailure(f'{method} "{hide_query(url or self._outgoing.url)}": {reason}')
