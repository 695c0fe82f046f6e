"""Observers of every response, such as the access log.

Without an observer nothing is measured. An observer of some requests needs more than the response:
the request that the endpoint has got, and what became of its messages. Only if there is such an
observer, the router notes the request (:func:`note_request`).

A response that the server itself gives (400 for bytes that are no request, 503 beyond
``max_connections``) does not come here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Protocol, TypeAlias

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
from .outcomes import MessageOutcomes
from .proxy import Request

log = get_logger("gateway.core")


class Observation(Protocol):
    """One request. ``request``: what its endpoint has got; its ``taken`` are
    :class:`.outcomes.MessageOutcomes`. None: no endpoint has got it, or no component
    ``reads_requests``. ``headers``: of the response."""

    request: Request | None
    headers: Headers


Report: TypeAlias = Callable[[int, int, float, Observation], object]
"""Called when a request is over: the status, the bytes of the body, the seconds it took, and what
else is known of it."""

Observer: TypeAlias = Callable[[Scope], Report]
"""Called once for all requests with one head, so it may prepare what is equal for them.

``scope[FOUND]`` is a list: it gets the path of the endpoint, as in the configuration, when the
router has found it. It has it already if the request needs no task, and at the report at the
latest. It stays empty if there is none (404, health).
"""

FOUND = "gateway.endpoint"
"""See :data:`Observer`."""

OBSERVATION = "gateway.observation"
"""``scope[OBSERVATION]`` of a request with a task is its :class:`Observation`."""

CLIENT_GONE = 499
"""The status that is reported when the client has disconnected before the response (nginx's)."""
FAILED = 500
STOPPED = 503


def note_request(observation: Observation, request: Request) -> None:
    """An endpoint has got this request, and will take messages for it."""
    observation.request = request
    request.taken = MessageOutcomes()


def observed(application: Application, observers: Sequence[Observer]) -> Application:
    """The application, with observers of all its responses."""
    if not observers:
        return application
    observe = _together(observers)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope[FOUND] = []
            scope[OBSERVATION] = observation = _TaskObservation()
            report = observe(scope)
            await _run(application, report, perf_counter(), observation, scope, receive, send)
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


def ignore_response(status: int, size: int, seconds: float, seen: Observation) -> None:
    """A :data:`Report` of what is not observed."""


def _together(observers: Sequence[Observer]) -> Observer:
    """One observer that never raises: errors of observers must not become those of a request. The
    first error of each is logged."""
    failed: set[Observer] = set()

    def note_error(observer: Observer) -> None:
        if observer not in failed:
            failed.add(observer)
            log.exception("an observer of responses has failed: its next errors are not logged")

    def report_of(observer: Observer, scope: Scope) -> Report:
        try:
            return observer(scope)
        except Exception:
            note_error(observer)
            return ignore_response

    def observe_one(scope: Scope) -> Report:
        """As below, without a loop."""
        tell = report_of(only, scope)

        def report(status: int, size: int, seconds: float, seen: Observation) -> None:
            try:
                tell(status, size, seconds, seen)
            except Exception:
                note_error(only)

        return report

    def observe(scope: Scope) -> Report:
        reports = [(each, report_of(each, scope)) for each in observers]

        def report(status: int, size: int, seconds: float, seen: Observation) -> None:
            for observer, tell in reports:
                try:
                    tell(status, size, seconds, seen)
                except Exception:
                    note_error(observer)

        return report

    only, *others = observers
    return observe if others else observe_one


class _ObservedHead(HeadAround):
    """A :class:`gateway.core.direct.DirectHead`."""

    __slots__ = ("_head", "report")

    def __init__(self, head: DirectHead, report: Report) -> None:
        super().__init__(head)
        self._head = head
        self.report = report

    def begin(self, body: bytes, client: DirectClient) -> DirectRequest | None:
        observed_client = _ObservedClient(client, self.report, perf_counter())
        observed_client.running = running = self._head.begin(body, observed_client)
        return None if running is None else observed_client


class _ObservedClient(ClientAround, eq=False):
    """The client of a request, as the gateway sees it, its request, as the server sees it, and what
    observers know of it: one object for all. An :class:`Observation`.

    ``running`` refers to this object: it is dropped when the request is over, so that no reference
    cycle is left.
    """

    report: Report
    started: float
    running: DirectRequest | None = None
    request: Request | None = None
    headers: Headers = ()

    # Called by the gateway.

    def respond(self, response: AsgiResponse) -> None:
        self.running = None
        self.client.respond(response)
        status, self.headers, body = response
        self.report(status, len(body), perf_counter() - self.started, self)

    def fail(self) -> None:
        self.running = None
        self.client.fail()
        self.report(FAILED, 0, perf_counter() - self.started, self)

    def run(self, app: ASGIApp) -> None:
        self.running = None

        async def observed_app(scope: Scope, receive: Receive, send: Send) -> None:
            await _run(app, self.report, self.started, self, scope, receive, send)

        self.client.run(observed_app)

    # Called by the server.

    def withdraw(self) -> None:
        running, self.running = self.running, None
        if running is not None:
            running.withdraw()
        status = CLIENT_GONE if self.client.is_gone else STOPPED
        self.report(status, 0, perf_counter() - self.started, self)


class _TaskObservation:
    """Of a request with a task. An :class:`Observation`."""

    __slots__ = ("headers", "request")

    def __init__(self) -> None:
        self.request: Request | None = None
        self.headers: Headers = ()


async def _run(
    app: ASGIApp,
    report: Report,
    started: float,
    observation: Observation,
    scope: Scope,
    receive: Receive,
    send: Send,
) -> None:
    def report_end(response: ObservedSend) -> None:
        ended = response.ended or perf_counter()
        observation.headers = response.headers
        report(response.status or CLIENT_GONE, response.size, ended - started, observation)

    await run_observed(app, report_end, scope, receive, send)


async def run_observed(
    app: ASGIApp,
    report_end: Callable[[ObservedSend], object],
    scope: Scope,
    receive: Receive,
    send: Send,
) -> None:
    """Run the application, and report its response, however it ends. The status of the response is
    0 if the client has disconnected before it."""
    response = ObservedSend(send)
    try:
        await app(scope, receive, response.send)
    except BaseException as error:  # a cancellation: the server stops
        failure = FAILED if isinstance(error, Exception) else STOPPED
        response.status = response.status or failure
        raise
    finally:
        report_end(response)


class ObservedSend:
    """Also offers ``send_whole`` if the wrapped ``send`` does. ``ended``: when the last byte was
    sent; 0: it was not."""

    __slots__ = ("_send", "_whole", "ended", "headers", "size", "status")

    def __init__(self, send: Send) -> None:
        self.status = self.size = 0
        self.headers: Headers = ()
        self.ended = 0.0
        self._send = send
        self._whole = getattr(getattr(send, "__self__", None), "send_whole", None)

    def send_whole(self, status: int, headers: Headers, body: bytes) -> bool:
        whole = self._whole
        if whole is None or not whole(status, headers, body):
            return False
        self.status, self.size, self.ended = status, len(body), perf_counter()
        self.headers = headers
        return True

    async def send(self, message: Message) -> None:
        await self._send(message)
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], message.get("headers", ())
        elif message["type"] == "http.response.body":
            self.size += len(message.get("body", b""))
            if not message.get("more_body", False):
                self.ended = perf_counter()
