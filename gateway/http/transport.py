"""A request to a backend and its response, over all redirects.

Namespaces that only concern HTTP backends wrap a :data:`Transport`. It runs on the app side and
waits without a task.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from ..core.asgi import STATUSES, find_header
from ..core.helpers import Helpers
from ..core.tasks import called_back
from ..errors import BackendFailure, GatewayError
from ..telemetry.logs import get_logger
from .client import Sender
from .connection import HttpResponse
from .request_head import REDIRECT_STATUSES, BackendRequest, redirected, write_head
from .responses import unpack, unpacked
from .targets import hide_query

log = get_logger("gateway.http")

Result: TypeAlias = HttpResponse | GatewayError
Arrive: TypeAlias = Callable[[Result], None]
Withdraw: TypeAlias = Callable[[], None]
Transport: TypeAlias = Callable[[BackendRequest, Arrive], Withdraw]
"""Sends a request and calls ``arrive`` once with the result, perhaps at once.

Returns a function that withdraws the request: after that ``arrive`` is not called. Raises
:class:`GatewayError` instead when the request cannot be sent."""

TransportStage: TypeAlias = Callable[[Transport], Transport]
"""Wraps the transport of one backend."""

MAX_REQUESTS = 10
"""Requests for one, over redirects. As in Go the tenth redirect is not followed."""

MAX_INLINE_BYTES = 4 * 1024 * 1024
"""Bytes that are unpacked on the event loop, in 10 ms; more are unpacked in a helper process."""

STREAMED_STATUSES = frozenset(STATUSES) - frozenset(REDIRECT_STATUSES)
"""Statuses whose bodies may be passed on while they arrive. The body of a redirect is not used."""

PACKED_BODY_HEADERS = (b"content-encoding", b"content-length")

ENCODING_HEADERS = (b"accept-encoding", b"range")
"""A client that sends them wants the response as it is."""


async def send_and_wait(transport: Transport, outgoing: BackendRequest) -> HttpResponse:
    """For requests of the gateway itself. Raises GatewayError."""
    return await called_back(partial(transport, outgoing))


class Redirecting:
    """The innermost transport: sends, follows redirects, unpacks gzip.

    ``client``: sends each request. ``accepts_gzip``: the backend may send gzip, if the gateway's
    client has not said what it accepts. ``unpacks_all``: unpack gzip also in that case.
    ``max_bytes``: of an unpacked response. ``closes``: no connection is used twice. ``streams``: a
    response arrives when its headers have arrived, and its body is a stream. ``helpers``: they
    unpack what is larger than :data:`MAX_INLINE_BYTES`.
    """

    def __init__(
        self,
        client: Sender,
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
        self._max_inline_bytes = max_bytes if helpers is None else min(max_bytes, MAX_INLINE_BYTES)
        self._streams = STREAMED_STATUSES if streams else ()
        self._lines = b"\r\nConnection: close\r\n\r\n" if closes else b"\r\n\r\n"
        self._lines_with_gzip = b"\r\nAccept-Encoding: gzip" + self._lines

    def __call__(self, outgoing: BackendRequest, arrive: Arrive) -> Withdraw:
        call = RedirectedRequest(self, arrive)
        call.send(outgoing)
        return call.withdraw

    def send(self, outgoing: BackendRequest, call: RedirectedRequest) -> Withdraw:
        """Send one request; ``call`` gets its result."""
        call.has_asked_gzip = self._accepts_gzip and not any(
            name in ENCODING_HEADERS for name, _ in outgoing.headers
        )
        fixed = self._lines_with_gzip if call.has_asked_gzip else self._lines
        head = write_head(outgoing, fixed)
        return self._client.send(outgoing, head, call.arrived, self._streams)

    def next(self, outgoing: BackendRequest, response: HttpResponse) -> BackendRequest | None:
        """The request after a redirect; None: the response is no redirect that is followed."""
        return redirected(outgoing, response, self._resends_body)

    def finished(self, response: HttpResponse, has_asked_gzip: bool) -> HttpResponse | None:
        """The last response, unpacked; None: to be unpacked by :meth:`unpack_later`.

        Raises :class:`BackendFailure`.
        """
        unpacks = has_asked_gzip or self._unpacks_all
        if unpacks and find_header(response.headers, b"content-encoding") == b"gzip":
            if response.stream is not None:
                response.stream.unpack_gzip()
                headers = [
                    header for header in response.headers if header[0] not in PACKED_BODY_HEADERS
                ]
                return response._replace(headers=headers)
            if response.body:
                body, is_whole = unpack(response.body, self._max_inline_bytes)
                if self._max_inline_bytes < len(body) and self._max_inline_bytes < self._max_bytes:
                    return None
                return unpacked(response, body, is_whole, self._max_bytes)
        return response

    def unpack_later(self, response: HttpResponse, arrive: Arrive) -> Withdraw:
        """Unpack a large response in a helper process. Returns a function that ends that."""
        assert self._helpers is not None
        limit = self._max_bytes

        def arrived(result: tuple[bytes, bool] | Exception) -> None:
            try:
                if isinstance(result, Exception):
                    raise BackendFailure(str(result))
                body, is_whole = result
                arrive(unpacked(response, body, is_whole, limit))
            except BackendFailure as error:
                arrive(error)

        return self._helpers.start(arrived, unpack, response.body, limit)


class RedirectedRequest:
    """One request to a backend, over all its redirects."""

    __slots__ = ("_arrive", "_hops", "_outgoing", "_sender", "_withdraw", "has_asked_gzip")

    def __init__(self, sender: Redirecting, arrive: Arrive) -> None:
        self._sender = sender
        self._arrive = arrive
        self._hops = 0
        self._withdraw: Withdraw | None = None
        self.has_asked_gzip = False

    def send(self, outgoing: BackendRequest) -> None:
        self._outgoing = outgoing
        self._withdraw = self._sender.send(outgoing, self)

    def withdraw(self) -> None:
        """The result is not wanted any more."""
        if self._withdraw is not None:
            self._withdraw()

    def arrived(self, part: HttpResponse | BackendFailure) -> None:
        """The response of one host, perhaps a redirect. Never raises."""
        try:
            result = self._result(part)
        except GatewayError as error:
            result = error
        except Exception:  # in a callback of the connection: other requests must go on
            log.exception(
                "%s: internal error while the response is read", hide_query(self._outgoing.url)
            )
            result = GatewayError("internal error")
        if result is not None:
            self._arrive(result)

    def _result(self, part: HttpResponse | BackendFailure) -> Result | None:
        if isinstance(part, BackendFailure):
            return self._failure(str(part))
        outgoing = self._sender.next(self._outgoing, part)
        if outgoing is None:
            response = self._sender.finished(part, self.has_asked_gzip)
            if response is None:
                self._withdraw = self._sender.unpack_later(part, self._unpacked)
                return None
            return self._with_url(response)
        self._hops += 1
        if self._hops == MAX_REQUESTS:
            location = find_header(part.headers, b"location").decode("latin-1")
            return self._failure(f"stopped after {MAX_REQUESTS} redirects", location)
        self.send(outgoing)
        return None

    def _unpacked(self, result: Result) -> None:
        self._withdraw = None
        self._arrive(self._with_url(result) if isinstance(result, HttpResponse) else result)

    def _with_url(self, response: HttpResponse) -> HttpResponse:
        return response._replace(url=self._outgoing.url) if self._hops else response

    def _failure(self, reason: str, url: str = "") -> BackendFailure:
        """In the words of Go's client."""
        method = self._outgoing.method.capitalize()
        return BackendFailure(f'{method} "{hide_query(url or self._outgoing.url)}": {reason}')
