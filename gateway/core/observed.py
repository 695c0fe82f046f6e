"""Observers of every response, such as the access log.

Without an observer nothing is measured.

A response that the server itself gives (400 for bytes that are no request, 503 beyond
``max_connections``) does not come here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import TypeAlias

from ..telemetry.logs import get_logger
from .asgi import ASGIApp, AsgiResponse, Headers, Message, Receive, Scope, Send
from .direct import (
    Application,
    ClientAround,
    DirectClient,
    DirectHead,
    DirectRequest,
    HeadAround,
)

log = get_logger("gateway.core")

Report: TypeAlias = Callable[[int, int, float], object]
"""Called when a request is over: the status, the bytes of the body, and the seconds it took."""

Observer: TypeAlias = Callable[[Scope], Report]
"""Called once for all requests with one head, so it may prepare what is equal for them.

``scope[FOUND]`` is a list: it gets the path of the endpoint, as in the configuration, when the
router has found it. It has it already if the request needs no task, and at the report at the
latest. It stays empty if there is none (404, health).
"""

FOUND = "gateway.endpoint"
"""See :data:`Observer`."""

CLIENT_GONE = 499
"""The status that is reported when the client has disconnected before the response (nginx's)."""
FAILED = 500
STOPPED = 503


def observed(application: Application, observers: Sequence[Observer]) -> Application:
    """The application, with observers of all its responses."""
    if not observers:
        return application
    observe = _together([_Guarded(each) for each in observers])

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope[FOUND] = []
            await _run(application, observe(scope), perf_counter(), scope, receive, send)
        else:
            await application(scope, receive, send)

    find = application.direct
    if find is None:
        return Application(app, None)

    def direct(scope: Scope) -> DirectHead | None:
        head = find(scope)
        if head is None:
            return None
        scope[FOUND] = [head.endpoint_path] if head.endpoint_path else []
        return _ObservedHead(head, observe(scope))

    return Application(app, direct)


class _Guarded:
    """An observer that never raises: its errors must not become those of a request. The first one
    is logged."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._has_failed = False

    def __call__(self, scope: Scope) -> Report:
        try:
            report = self._observer(scope)
        except Exception:
            self._note_error()
            return ignore_response

        def guarded(status: int, size: int, seconds: float) -> None:
            try:
                report(status, size, seconds)
            except Exception:
                self._note_error()

        return guarded

    def _note_error(self) -> None:
        if not self._has_failed:
            self._has_failed = True
            log.exception("an observer of responses has failed: its next errors are not logged")


def ignore_response(status: int, size: int, seconds: float) -> None:
    """A :data:`Report` of what is not observed."""


def _together(observers: Sequence[Observer]) -> Observer:
    if len(observers) == 1:
        return observers[0]

    def observe(scope: Scope) -> Report:
        reports = [each(scope) for each in observers]

        def report(status: int, size: int, seconds: float) -> None:
            for each in reports:
                each(status, size, seconds)

        return report

    return observe


class _ObservedHead(HeadAround):
    """A :class:`gateway.core.direct.DirectHead`."""

    __slots__ = ("_head", "report")

    def __init__(self, head: DirectHead, report: Report) -> None:
        super().__init__(head)
        self._head = head
        self.report = report

    def begin(self, body: bytes, client: DirectClient) -> DirectRequest | None:
        observed_client = _ObservedClient(client, self.report)
        observed_client.request = self._head.begin(body, observed_client)
        return None if observed_client.request is None else observed_client


class _ObservedClient(ClientAround):
    """The client of a request, as the gateway sees it, and its request, as the server sees it.

    ``request`` refers to this object: it is dropped when the request is over, so that no reference
    cycle is left.
    """

    __slots__ = ("_report", "_started", "request")

    def __init__(self, client: DirectClient, report: Report) -> None:
        self._client = client  # as ClientAround, without a call
        self._report = report
        self._started = perf_counter()
        self.request: DirectRequest | None = None

    # Called by the gateway.

    def respond(self, response: AsgiResponse) -> None:
        self.request = None
        self._client.respond(response)
        self._report(response.status, len(response.body), perf_counter() - self._started)

    def fail(self) -> None:
        self.request = None
        self._client.fail()
        self._report(FAILED, 0, perf_counter() - self._started)

    def run(self, app: ASGIApp) -> None:
        report, started = self._report, self._started
        self.request = None

        async def observed_app(scope: Scope, receive: Receive, send: Send) -> None:
            await _run(app, report, started, scope, receive, send)

        self._client.run(observed_app)

    # Called by the server.

    def withdraw(self) -> None:
        request, self.request = self.request, None
        if request is not None:
            request.withdraw()
        status = CLIENT_GONE if self._client.is_gone else STOPPED
        self._report(status, 0, perf_counter() - self._started)


async def _run(
    app: ASGIApp, report: Report, started: float, scope: Scope, receive: Receive, send: Send
) -> None:
    response = ObservedSend(send)
    try:
        await app(scope, receive, response.send)
    except BaseException as error:  # a cancellation: the server stops
        failure = FAILED if isinstance(error, Exception) else STOPPED
        response.status = response.status or failure
        raise
    finally:
        ended = response.ended or perf_counter()
        report(response.status or CLIENT_GONE, response.size, ended - started)


class ObservedSend:
    """Also offers ``send_whole`` if the wrapped ``send`` does. ``ended``: when the last byte was
    sent; 0: it was not."""

    __slots__ = ("_send", "_whole", "ended", "size", "status")

    def __init__(self, send: Send) -> None:
        self.status = self.size = 0
        self.ended = 0.0
        self._send = send
        self._whole = getattr(getattr(send, "__self__", None), "send_whole", None)

    def send_whole(self, status: int, headers: Headers, body: bytes) -> bool:
        whole = self._whole
        if whole is None or not whole(status, headers, body):
            return False
        self.status, self.size, self.ended = status, len(body), perf_counter()
        return True

    async def send(self, message: Message) -> None:
        await self._send(message)
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif message["type"] == "http.response.body":
            self.size += len(message.get("body", b""))
            if not message.get("more_body", False):
                self.ended = perf_counter()
