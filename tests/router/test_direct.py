"""Requests without a task, from their head to their settled messages. No event loop runs."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

import pytest
from anyio import current_time
from anyio.lowlevel import checkpoint

from gateway.config.structs import Endpoint, GatewaySettings
from gateway.core.asgi import AddedHeaders, ASGIApp, AsgiResponse
from gateway.core.bridge import Expiring
from gateway.core.direct import Application, DirectRequest
from gateway.core.layers import Layer
from gateway.core.pipe import parallel, within
from gateway.core.proxy import (
    Arrival,
    Arrive,
    Branch,
    Guard,
    Part,
    Pipe,
    Request,
    Response,
    nothing_to_withdraw,
)
from gateway.core.request_context import in_context
from gateway.core.stage import BegunCall, Call, intercepted
from gateway.errors import BackendFailure, DeadlineExceeded, GatewayError, QueueEmpty, Refused
from gateway.router.endpoint import Route

from .support import Client as AsgiSide
from .support import Taken, application, http_scope


class Clock:
    """The time, and what is due."""

    def __init__(self) -> None:
        self.now = 100.0
        self.due: dict[Expiring, float] = {}

    def __call__(self) -> float:
        return self.now

    def add(self, expiring: Expiring, deadline: float) -> Any:
        self.due[expiring] = deadline
        return self.due

    def advance(self, seconds: float) -> None:
        self.now += seconds
        for expiring, deadline in [*self.due.items()]:
            if deadline <= self.now and self.due.pop(expiring, None) is not None:
                expiring.expire()


class Client:
    """A client as a server shows it. ``refuses``: the response cannot be written."""

    def __init__(self, refuses: bool = False) -> None:
        self.is_gone = False
        self.responses: list[AsgiResponse] = []
        self.arrivals: list[Arrival] = []
        self.failed = 0
        self.apps: list[ASGIApp] = []
        self._refuses = refuses

    def watch(self, gone: Callable[[], object]) -> None:
        raise AssertionError("a direct request is withdrawn")

    def respond(self, response: AsgiResponse) -> None:
        if self._refuses:
            raise RuntimeError("a header with a line break")
        self.responses.append(response)

    def fail(self) -> None:
        self.failed += 1

    def when_arrived(self, arrival: Arrival) -> None:
        self.arrivals.append(arrival)

    def run(self, app: ASGIApp) -> None:
        self.apps.append(app)

    @property
    def response(self) -> AsgiResponse:
        [response] = self.responses
        return response


class Backend:
    """A branch that waits: ``arrive`` is of the last request."""

    def __init__(self, meaning: Part | None = None) -> None:
        self.withdrawn = 0
        self.requests: list[Request] = []
        self.arrive: Arrive = lambda part: None
        self.branch = Branch(later=self._later, reads_body=False)
        self._meaning = meaning

    def _later(self, request: Request, arrive: Arrive) -> Callable[[], Any]:
        self.requests.append(request)
        self.arrive = arrive
        return self._withdraw

    def _withdraw(self) -> Part | None:
        self.withdrawn += 1
        return self._meaning


@pytest.fixture
def clock() -> Clock:
    return Clock()


def built(
    clock: Clock,
    pipe: Pipe,
    *guards: Guard,
    scripts: bool = False,
    limit: int = 10,
    **layers: Any,
) -> Application:
    settings = Endpoint(endpoint="/a", method="GET", timeout=2.0)
    route = Route("GET", settings, pipe, guards, runs_scripts=scripts)
    gateway = GatewaySettings(max_requests=limit)
    return application(route, timers=clock, clock=clock, gateway=gateway, **layers)


def begin(app: Application, client: Client, *headers: tuple[bytes, bytes]) -> DirectRequest | None:
    assert app.direct is not None
    head = app.direct(http_scope("GET", "/a", headers=[(b"host", b"a"), *headers]))
    assert head is not None
    return head.begin(b"", client)


def taking(message: Taken) -> Callable[[Request], Response]:
    def respond(request: Request) -> Response:
        request.taken.append(message)
        return Response({"a": 1}, messages=(message,))

    return respond


def test_a_message_is_acknowledged_when_its_response_has_arrived(clock: Clock) -> None:
    message, client = Taken(), Client()
    app = built(clock, Pipe(now=taking(message), later=Backend().branch.later))
    assert begin(app, client) is None
    assert client.response.body == b'{"a":1}'
    [arrival] = client.arrivals
    assert not message.is_sent
    arrival.sent()
    assert (message.is_sent, message.end) == (True, "")
    arrival.decided(True)
    assert message.end == "acknowledged"


def test_a_message_goes_back_when_its_response_does_not_arrive(clock: Clock) -> None:
    message, client = Taken(), Client()
    begin(built(clock, Pipe(now=taking(message), later=Backend().branch.later)), client)
    client.arrivals[0].decided(False)
    assert message.end == "given back"


def test_a_response_that_comes_later(clock: Clock) -> None:
    backend, client = Backend(), Client()
    message = Taken()
    request = begin(built(clock, within(backend.branch)), client)
    assert request is not None
    assert client.responses == []
    assert [*clock.due.values()] == [102.0]
    backend.arrive(taking(message)(backend.requests[0]))
    assert client.response.status == 200
    assert clock.due == {}
    request.withdraw()  # the connection is lost after the response
    assert (backend.withdrawn, message.end) == (0, "")
    client.arrivals[0].decided(True)
    assert message.end == "acknowledged"


def test_the_deadline_withdraws_the_request(clock: Clock) -> None:
    backend, client = Backend(QueueEmpty(status=204)), Client()
    begin(built(clock, within(backend.branch)), client)
    clock.advance(1.9)
    assert client.responses == []
    clock.advance(0.1)
    assert client.response.status == 204
    assert backend.withdrawn == 1


def test_a_withdrawal_without_a_meaning_is_a_timeout(clock: Clock) -> None:
    client = Client()
    begin(built(clock, within(Backend().branch)), client)
    clock.advance(2)
    assert client.response.status == DeadlineExceeded.status


def test_a_merge_responds_before_the_deadline_with_what_it_has(clock: Clock) -> None:
    here, missing, client = Backend(), Backend(BackendFailure("late")), Client()
    message = Taken()
    pipe = parallel([here.branch, missing.branch], reserve=0.5)
    begin(built(clock, pipe), client)
    here.arrive(taking(message)(here.requests[0]))
    assert client.responses == []
    clock.advance(1.5)
    assert client.response.body == b'{"a":1}'
    assert (b"x-krakend-completed", b"false") in client.response.headers
    client.arrivals[0].decided(True)
    assert message.end == "acknowledged"


def test_a_client_that_goes_withdraws_its_request_and_its_messages(clock: Clock) -> None:
    here, missing, client = Backend(), Backend(), Client()
    message = Taken()
    request = begin(built(clock, parallel([here.branch, missing.branch])), client)
    assert request is not None
    here.arrive(taking(message)(here.requests[0]))
    client.is_gone = True
    request.withdraw()
    request.withdraw()  # a second call does nothing
    assert missing.withdrawn == 1
    assert (message.end, client.responses, clock.due) == ("given back", [], {})


def test_a_part_that_comes_before_later_returns(clock: Clock) -> None:
    message, client = Taken(), Client()

    def later(request: Request, arrive: Arrive) -> Callable[[], None]:
        arrive(taking(message)(request))
        return nothing_to_withdraw

    assert begin(built(clock, Pipe(later=later)), client) is None
    assert client.response.status == 200
    assert clock.due == {}
    client.arrivals[0].decided(True)
    assert message.end == "acknowledged"


def test_a_client_that_goes_while_the_response_is_written(clock: Clock) -> None:
    message, backend = Taken(), Backend()

    class Leaving(Client):
        request: DirectRequest | None = None

        def respond(self, response: AsgiResponse) -> None:
            self.is_gone = True
            assert self.request is not None
            self.request.withdraw()

        def when_arrived(self, arrival: Arrival) -> None:
            arrival.decided(False)

    client = Leaving()
    client.request = begin(built(clock, within(backend.branch)), client)
    backend.arrive(taking(message)(backend.requests[0]))
    assert message.end == "given back"
    assert backend.withdrawn == 0


def unforeseen(request: Request) -> Response:
    raise RuntimeError("unforeseen")


def leaving(request: Request) -> Response:
    raise SystemExit(3)


def refused_later(request: Request, arrive: Arrive) -> Any:
    raise RuntimeError("unforeseen")


@pytest.mark.parametrize(
    "pipe",
    [
        Pipe(now=unforeseen, later=Backend().branch.later),
        Pipe(now=leaving, later=Backend().branch.later),
        Pipe(later=refused_later),
        Pipe(now=lambda request: Response({"x": object()}), later=Backend().branch.later),
    ],
    ids=["now", "exit", "later", "render"],
)
def test_an_unforeseen_error_fails_one_request(
    pipe: Pipe, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    app = built(clock, pipe, limit=1)
    for _ in range(2):  # the first one does not count as running any more
        client = Client()
        assert begin(app, client) is None
        assert client.response.status == 500
    assert "an unexpected error" in caplog.text


def test_an_error_of_a_withdrawal_fails_one_request(clock: Clock) -> None:
    def withdraw() -> None:
        raise RuntimeError("unforeseen")

    app, client = built(clock, Pipe(later=lambda request, arrive: withdraw), limit=1), Client()
    begin(app, client)
    clock.advance(2)
    assert client.response.status == 500
    request = begin(app, client := Client())
    assert request is not None
    request.withdraw()
    assert begin(app, Client()) is not None


def test_a_response_that_cannot_be_written(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    message, client = Taken(), Client(refuses=True)
    begin(built(clock, Pipe(now=taking(message), later=Backend().branch.later)), client)
    assert (client.failed, message.end) == (1, "parked")
    assert "line break" in caplog.text


def test_only_so_many_requests_run_at_once(clock: Clock) -> None:
    backend = Backend()
    app = built(clock, within(backend.branch), limit=2)
    first = begin(app, Client())
    begin(app, Client())
    assert first is not None
    begin(app, client := Client())
    assert (client.response.status, client.response.headers) == (503, ((b"retry-after", b"1"),))
    first.withdraw()
    begin(app, third := Client())
    assert third.responses == []
    backend.arrive(Response({}))
    assert begin(app, Client()) is not None


def test_layers_add_headers_and_refuse(clock: Clock) -> None:
    def limited(request: Request) -> None:
        if request.header(b"x-limited"):
            raise Refused(429, "too many", ((b"retry-after", b"3"),))

    outer, inner = AddedHeaders(((b"vary", b"Origin"),)), AddedHeaders(((b"x-frame", b"no"),))
    respond = Backend().branch.later
    app = built(
        clock,
        Pipe(now=lambda request: Response({}), later=respond),
        layers=[Layer(lambda scope: inner)],
        outer_layers=[Layer(wrap=lambda app: app, guard=limited), Layer(lambda scope: outer)],
    )
    begin(app, client := Client())
    assert client.response.headers[:2] == ((b"vary", b"Origin"), (b"x-frame", b"no"))
    begin(app, client := Client(), (b"x-limited", b"1"))
    assert client.response.status == 429
    assert client.response.headers == ((b"vary", b"Origin"), (b"retry-after", b"3"))


def test_a_layer_that_responds_needs_a_task(clock: Clock) -> None:
    app = built(
        clock,
        within(Backend().branch),
        layers=[Layer(lambda scope: AsgiResponse(403, ()))],
    )
    assert app.direct is not None
    assert app.direct(http_scope("GET", "/a")) is None
    assert app.direct(http_scope("GET", "/missing")) is None


def test_a_layer_of_another_kind_needs_a_task_for_each_request(clock: Clock) -> None:
    app = built(clock, within(Backend().branch), layers=[Layer(wrap=lambda handler: handler)])
    assert app.direct is None


@pytest.mark.anyio
async def test_a_guard_that_waits_continues_in_a_task(clock: Clock) -> None:
    asked: list[str] = []
    clock.now = current_time()  # the task waits by the real clock

    def waiting(request: Request) -> Awaitable[None]:
        asked.append("waiting")

        async def wait() -> None:
            await checkpoint()

        return wait()

    def next_guard(request: Request) -> None:
        asked.append("next")

    app = built(
        clock,
        Pipe(now=lambda request: Response({"a": 2}), later=Backend().branch.later),
        waiting,
        next_guard,
        limit=1,
    )
    begin(app, client := Client())
    assert (client.responses, asked) == ([], ["waiting"])
    begin(app, busy := Client())
    assert busy.response.status == 503
    side = AsgiSide()
    await client.apps[0](http_scope("GET", "/a"), side.receive, side.send)
    assert (side.reply.body, asked) == (b'{"a":2}', ["waiting", "next"])
    begin(app, another := Client())
    side = AsgiSide()
    await another.apps[0](http_scope("GET", "/a"), side.receive, side.send)
    assert asked[2:] == ["waiting", "next"]


def test_a_guard_refuses(clock: Clock) -> None:
    def guard(request: Request) -> None:
        raise Refused(401, "no", ((b"www-authenticate", b"Basic"),))

    begin(built(clock, within(Backend().branch), guard), client := Client())
    assert client.response == (401, ((b"www-authenticate", b"Basic"),), b"")


def test_each_request_has_a_context_of_its_own(clock: Clock) -> None:
    seen: list[str] = []
    variable = ContextVar[str]("variable", default="nothing")
    backend = Backend()

    class Scripted:
        """A stage that runs a script before and after."""

        def begin(self, request: Request) -> Call:
            seen.append(variable.get())
            variable.set("set before")
            return BegunCall(request, self._after)

        def _after(self, request: Request, response: Response) -> Response:
            seen.append(variable.get())
            variable.set("set after")
            return response

    branch = intercepted(in_context(backend.branch), Scripted(), is_pure=False)
    app = built(clock, within(branch), scripts=True)
    for _ in range(2):
        begin(app, client := Client())
        backend.arrive(Response({}))
        assert client.response.status == 200
    assert seen == 2 * ["nothing", "set before"]
    assert variable.get() == "nothing"


def test_a_deadline_runs_in_the_context_of_its_request(clock: Clock) -> None:
    variable = ContextVar[str]("variable", default="nothing")
    seen: list[str] = []

    def later(request: Request, arrive: Arrive) -> Callable[[], None]:
        variable.set("mine")
        return lambda: seen.append(variable.get())

    begin(built(clock, Pipe(later=later), scripts=True), Client())
    clock.advance(2)
    assert seen == ["mine"]


class Unrenderable(GatewayError):
    """A failure of a hook with a status that no response can have."""

    status = 7000


@pytest.mark.parametrize("is_late", [False, True])
def test_a_failure_that_cannot_be_rendered(clock: Clock, *, is_late: bool) -> None:
    backend = Backend()

    def now(request: Request) -> Response | None:
        if is_late:
            return None
        raise Unrenderable

    app = built(clock, Pipe(now=now, later=backend.branch.later), limit=1)
    for _ in range(2):
        begin(app, client := Client())
        if is_late:
            backend.arrive(Unrenderable())
        assert client.failed == 1
    assert clock.due == {}


def test_a_part_that_comes_after_an_error_gets_no_response(clock: Clock) -> None:
    message, arrivals = Taken(), list[Arrive]()

    def later(request: Request, arrive: Arrive) -> Any:
        request.taken.append(message)
        arrivals.append(arrive)
        raise RuntimeError("registered, and then unforeseen")

    begin(built(clock, Pipe(later=later)), client := Client())
    assert client.response.status == 500
    late = Taken()
    arrivals[0](Response({"a": 1}, messages=(late,)))
    assert len(client.responses) == 1
    assert client.arrivals == []


def test_a_failure_that_arrives(clock: Clock) -> None:
    backend = Backend()
    begin(built(clock, within(backend.branch)), client := Client())
    error: GatewayError = BackendFailure("no")
    backend.arrive(error)
    assert client.response.status == error.status


def test_a_request_leaves_no_reference_cycle(clock: Clock) -> None:
    backend = Backend()
    app = built(clock, within(backend.branch))
    gc.collect()
    gc.disable()
    try:
        message, client = Taken(), Client()
        begin(app, client)
        backend.arrive(taking(message)(backend.requests.pop()))
        backend.arrive = lambda part: None
        client.arrivals.pop().decided(True)
        gone = weakref.ref(message)
        del message
        assert gone() is None
    finally:
        gc.enable()


def test_health_and_readiness_have_no_limit_and_need_no_task(clock: Clock) -> None:
    def limited(request: Request) -> None:
        raise Refused(429, "too many")

    outer = AddedHeaders(((b"vary", b"Origin"),))
    app = built(
        clock,
        within(Backend().branch),
        limit=0,
        outer_layers=[Layer(wrap=lambda app: app, guard=limited), Layer(lambda scope: outer)],
    )
    assert app.direct is not None
    for path in ("/__health", "/__ready"):
        head, client = app.direct(http_scope("GET", path)), Client()
        assert head is not None
        assert head.begin(b"", client) is None
        assert client.response.status == 200
        assert client.response.headers[0] == (b"vary", b"Origin")
