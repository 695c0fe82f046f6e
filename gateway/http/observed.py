"""Requests of the HTTP client that something observes: each one, also those after a redirect.

What is not observed does not come here.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from time import perf_counter
from typing import Protocol

from ..errors import BackendFailure
from .client import Arrive, ClientRequest, HttpClient
from .connection import BackendConnection, Headers, HttpResponse, PendingRequest
from .request_head import BackendRequest


class RequestObserver(Protocol):
    """Hears of every request of a backend, on the app side. Must not raise.

    ``responded`` or ``failed`` is called once; after ``responded`` also ``body_read``, once.
    """

    def responded(self, request: ObservedRequest) -> None:
        """The headers of the response have arrived."""

    def failed(self, request: ObservedRequest) -> None:
        """There is no response, now."""

    def body_read(
        self, request: ObservedRequest, size: int, seconds: float, *, has_failed: bool
    ) -> None:
        """The body has ended. ``size``: its bytes that have arrived, as the backend has sent them:
        perhaps compressed. ``seconds``: since the headers. ``has_failed``: the body ended too
        early. That is not said if the gateway has ended a stream at its deadline."""


class ObservingClient:
    """A :class:`gateway.http.client.Sender` whose requests are observed."""

    def __init__(self, client: HttpClient, observers: Sequence[RequestObserver]) -> None:
        self._client = client
        self._observers = observers

    def send(
        self,
        outgoing: BackendRequest,
        head: bytes,
        arrive: Arrive,
        streams: Container[int] = (),
    ) -> Callable[[], None]:
        """App side: see :class:`gateway.http.client.Sender`."""
        return self._client.start(
            ObservedRequest(self._client, outgoing, head, arrive, streams, self._observers)
        )


class ObservedRequest(ClientRequest):
    """``status``: of the response; 0: its headers have not arrived. ``headers``: of the response.

    Times by :func:`time.perf_counter`: ``started``, ``connected`` (0: it got no connection),
    ``has_headers``. ``dns_time``, ``tls_time``: seconds; 0 if it was sent on a connection that was
    used before. ``is_withdrawn``: the response was not wanted any more. ``failure``: why there is
    no response, if it is known. ``outgoing``: what was sent, and the request of the endpoint.

    All this is set on the asyncio side by an :class:`ObservedConnection`. Without one only
    ``status``, ``headers``, ``failure``, ``started`` and ``is_withdrawn`` are right.
    """

    __slots__ = (
        "_body_ended",
        "_is_read",
        "_observers",
        "_size",
        "connected",
        "dns_time",
        "failure",
        "has_headers",
        "headers",
        "is_withdrawn",
        "outgoing",
        "started",
        "status",
        "tls_time",
    )

    def __init__(
        self,
        client: HttpClient,
        outgoing: BackendRequest,
        head: bytes,
        arrive: Arrive,
        streams: Container[int],
        observers: Sequence[RequestObserver],
    ) -> None:
        method, host, _, _, body, _, _ = outgoing
        super().__init__(client, host.origin, method, head, body, arrive, streams)
        self.outgoing = outgoing
        self._observers = observers
        self._is_read = self.is_withdrawn = False
        self._size = self.status = 0
        self._body_ended = self.connected = self.dns_time = self.tls_time = 0.0
        self.headers: Headers = ()
        self.failure: BackendFailure | None = None
        self.started = perf_counter()

    @property
    def is_client_gone(self) -> bool:
        """Whether the client of the gateway has disconnected, or another response was faster."""
        cause = self.outgoing.cause
        return cause is not None and cause.client.is_gone

    # App side.

    def arrived(self, part: HttpResponse | BackendFailure) -> None:
        if self._arrive is not None:
            if (
                isinstance(part, HttpResponse) and not self.status
            ):  # nothing measures the connection
                self.begin_response(part.status, part.headers)
            if isinstance(part, BackendFailure):
                self.failure = part
                self._report()
                self._report_body(has_failed=True)
            else:
                self._report()
                if part.stream is None:
                    self._report_body(has_failed=not part.is_whole)
        super().arrived(part)

    def withdraw(self) -> None:
        if self._arrive is not None:
            self.is_withdrawn = True
            self._report()
            self._cut_body(has_failed=True)
        super().withdraw()

    def withdraw_body(self) -> None:
        self._cut_body(has_failed=self.is_client_gone)
        super().withdraw_body()

    def _report(self) -> None:
        for each in self._observers:
            if self.status:
                each.responded(self)
            else:
                each.failed(self)

    def _cut_body(self, *, has_failed: bool) -> None:
        # The asyncio side may set both at the same time, to the same values or a little more.
        if (connection := self.connection) is not None:
            self._size = connection.body_bytes
        self._report_body(has_failed=has_failed)

    def _report_body(self, *, has_failed: bool) -> None:
        if self.status and not self._is_read:
            self._is_read = True
            seconds = (self._body_ended or perf_counter()) - self.has_headers
            for each in self._observers:
                each.body_read(self, self._size, seconds, has_failed=has_failed)

    def _end_of_stream(self, has_failed: bool) -> None:
        self._report_body(has_failed=has_failed)

    # Asyncio side.

    def sent(self, now: float, dns_time: float, tls_time: float) -> None:
        """It was sent on a connection. The times: as of this class."""
        self.connected, self.dns_time, self.tls_time = now, dns_time, tls_time

    def begin_response(self, status: int, headers: Headers) -> None:
        # If it was sent before, the connection of that time has ended without a response.
        self._body_ended, self._size = 0.0, 0
        self.has_headers = perf_counter()
        self.headers = headers
        self.status = status

    def end_body(self, size: int) -> None:
        """The body has ended, or the connection, after ``size`` bytes."""
        self._body_ended = perf_counter()
        self._size = size

    def ended(self, failure: BackendFailure | None) -> None:
        # First: the reader of the body may end as soon as it knows.
        self._client.post(self._end_of_stream, failure is not None)
        super().ended(failure)


class ObservedConnection(BackendConnection):
    """Tells an :class:`ObservedRequest` when it is sent, when the headers of its response have
    arrived, and when the body has ended."""

    def send(self, request: PendingRequest) -> None:
        if isinstance(request, ObservedRequest):
            request.sent(perf_counter(), self.dns_time, self.tls_time)
        self.dns_time = self.tls_time = 0.0
        super().send(request)

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        if self._has_headers and isinstance(self._request, ObservedRequest):
            self._request.begin_response(self._status, self._headers)

    def _end(self) -> PendingRequest | None:
        request = super()._end()
        if isinstance(request, ObservedRequest):
            request.end_body(self._body_bytes)
        return request
