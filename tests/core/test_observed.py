"""Observers of responses, on both ways of a request."""

from __future__ import annotations

import gc
from typing import Any
from weakref import ref

import pytest
from anyio import move_on_after, sleep_forever

from gateway.core.asgi import AsgiResponse, Message, Receive, Scope, Send, send_answer
from gateway.core.direct import Application, DirectClient, DirectHead, DirectRequest
from gateway.core.observed import Observation, Report, observed

pytestmark = pytest.mark.anyio

SCOPE: Scope = {"type": "http", "path": "/a"}
ANSWER = AsgiResponse(201, (), b"12345")


class RefusedHeader(Exception):
    """What a server raises for a header that is not valid."""


class Observed:
    """Counts what is observed. ``reports``: path, status and size of each."""

    def __init__(self) -> None:
        self.heads = 0
        self.reports: list[tuple[str, int, int]] = []

    def __call__(self, scope: Scope) -> Report:
        self.heads += 1

        def report(status: int, size: int, seconds: float, seen: Observation) -> None:
            assert seconds >= 0
            self.reports.append((scope["path"], status, size))

        return report


class Whole:
    """The server's side of an ASGI request. ``offers_whole``: as our own server."""

    def __init__(self, offers_whole: bool = True) -> None:
        self.messages: list[Message] = []
        self.wholes: list[int] = []
        self._offers_whole = offers_whole

    def send_whole(self, status: int, headers: Any, body: bytes) -> bool:
        if self._offers_whole:
            self.wholes.append(status)
        return self._offers_whole

    async def send(self, message: Message) -> None:
        self.messages.append(message)


class Client:
    """A direct client."""

    def __init__(self) -> None:
        self.is_gone = False
        self.statuses: list[int] = []
        self.apps: list[Any] = []

    def watch(self, gone: Any) -> None: ...

    def respond(self, response: AsgiResponse) -> None:
        if response.status < 0:
            raise RefusedHeader
        self.statuses.append(response.status)

    def fail(self) -> None:
        self.statuses.append(500)

    def when_arrived(self, arrival: Any) -> str:
        return f"arrival of {arrival}"

    def run(self, app: Any) -> None:
        self.apps.append(app)


class Head:
    """Keeps the clients of its requests. ``withdrawn``: how many were."""

    reads_body = True
    endpoint_path = "/orders"
    has_guards = False

    def __init__(self) -> None:
        self.clients: list[DirectClient] = []
        self.is_over = False
        self.withdrawn = 0

    def begin(self, body: bytes, client: DirectClient) -> DirectRequest | None:
        self.clients.append(client)
        return None if self.is_over else self

    def withdraw(self) -> None:
        self.withdrawn += 1


async def nothing() -> Message:
    raise AssertionError


async def answered(scope: Scope, receive: Receive, send: Send) -> None:
    await send_answer(send, ANSWER)


def direct_of(head: Head, observer: Observed) -> DirectHead:
    application = observed(Application(answered, lambda scope: head), [observer])
    assert application.direct is not None
    found = application.direct(SCOPE)
    assert found is not None
    return found


def test_without_observers_the_application_is_the_same() -> None:
    application = Application(answered, None)
    assert observed(application, []) is application


@pytest.mark.parametrize("offers_whole", [True, False])
async def test_a_response_is_reported(offers_whole: bool) -> None:
    observer, side = Observed(), Whole(offers_whole)
    await observed(Application(answered, None), [observer])(SCOPE, nothing, side.send)
    assert observer.reports == [("/a", 201, 5)]
    assert (len(side.wholes), len(side.messages)) == ((1, 0) if offers_whole else (0, 2))


async def test_all_observers_are_told() -> None:
    first, second, side = Observed(), Observed(), Whole()
    await observed(Application(answered, None), [first, second])(SCOPE, nothing, side.send)
    assert first.reports == second.reports == [("/a", 201, 5)]


async def test_the_pieces_of_a_stream_are_added() -> None:
    async def streamed(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for piece in (b"123", b"45"):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body"})

    observer = Observed()
    await observed(Application(streamed, None), [observer])(SCOPE, nothing, Whole().send)
    assert observer.reports == [("/a", 200, 5)]


async def test_an_error_is_reported_as_500_and_raised() -> None:
    async def failed(scope: Scope, receive: Receive, send: Send) -> None:
        raise RefusedHeader

    observer = Observed()
    with pytest.raises(RefusedHeader):
        await observed(Application(failed, None), [observer])(SCOPE, nothing, Whole().send)
    assert observer.reports == [("/a", 500, 0)]


async def test_a_client_that_has_left_is_reported_as_499() -> None:
    async def left(scope: Scope, receive: Receive, send: Send) -> None: ...

    observer = Observed()
    await observed(Application(left, None), [observer])(SCOPE, nothing, Whole().send)
    assert observer.reports == [("/a", 499, 0)]


async def test_other_scopes_are_not_observed() -> None:
    observer = Observed()
    scope = {"type": "lifespan"}
    await observed(Application(answered, None), [observer])(scope, nothing, Whole().send)
    assert (observer.heads, observer.reports) == (0, [])


def test_a_direct_response_is_reported_and_its_head_observed_once() -> None:
    head, observer, client = Head(), Observed(), Client()
    found = direct_of(head, observer)
    assert (found.reads_body, found.has_guards) == (True, False)
    for _ in range(2):
        assert found.begin(b"", client) is not None
        head.clients[-1].respond(ANSWER)
    assert observer.heads == 1
    assert observer.reports == [("/a", 201, 5)] * 2
    assert client.statuses == [201, 201]


def test_a_response_that_cannot_be_written_is_not_reported() -> None:
    head, observer, client = Head(), Observed(), Client()
    direct_of(head, observer).begin(b"", client)
    with pytest.raises(RefusedHeader):
        head.clients[0].respond(AsgiResponse(-1, ()))
    head.clients[0].fail()
    assert (observer.reports, client.statuses) == ([("/a", 500, 0)], [500])


@pytest.mark.parametrize(("is_gone", "status"), [(True, 499), (False, 503)])
def test_a_withdrawn_request_is_reported(is_gone: bool, status: int) -> None:
    head, observer, client = Head(), Observed(), Client()
    request = direct_of(head, observer).begin(b"", client)
    assert request is not None
    client.is_gone = is_gone
    request.withdraw()
    assert (head.withdrawn, observer.reports) == (1, [("/a", status, 0)])


def test_a_request_that_is_over_at_once_needs_no_withdrawal() -> None:
    head = Head()
    head.is_over = True
    assert direct_of(head, Observed()).begin(b"", Client()) is None


async def test_a_request_that_continues_in_a_task_is_reported_once() -> None:
    head, observer, client = Head(), Observed(), Client()
    direct_of(head, observer).begin(b"", client)
    head.clients[0].run(answered)
    await client.apps[0](SCOPE, nothing, Whole().send)
    assert observer.reports == [("/a", 201, 5)]


class Asked:
    """A request that refers to its client, as those of the router do."""

    def __init__(self, client: DirectClient) -> None:
        self.client = client

    def withdraw(self) -> None: ...


@pytest.mark.parametrize("end", ["respond", "fail", "run", "withdraw"])
def test_no_reference_cycle_is_left(end: str) -> None:
    class Waiting(Head):
        def begin(self, body: bytes, client: DirectClient) -> DirectRequest | None:
            asked = Asked(client)
            self.asked = ref(asked)
            self.clients = [client]
            return asked

    head, client = Waiting(), Client()
    request = direct_of(head, Observed()).begin(b"", client)
    assert request is not None
    [seen] = head.clients
    gc.disable()
    try:
        if end == "respond":
            seen.respond(ANSWER)
        elif end == "fail":
            seen.fail()
        elif end == "run":
            seen.run(answered)
        else:
            request.withdraw()
        assert head.asked() is None
    finally:
        gc.enable()


def test_the_server_and_the_gateway_see_the_same_client() -> None:
    head, client = Head(), Client()
    direct_of(head, Observed()).begin(b"", client)
    seen = head.clients[0]
    client.is_gone = True
    assert seen.is_gone
    arrival: Any = "x"
    assert seen.when_arrived(arrival) == "arrival of x"
    assert seen.watch(lambda: None) is None


class Broken:
    """An observer that fails. ``at_once``: already when it sees the head."""

    def __init__(self, at_once: bool) -> None:
        self._at_once = at_once

    def __call__(self, scope: Scope) -> Report:
        if self._at_once:
            raise RuntimeError("broken")

        def report(status: int, size: int, seconds: float, seen: Observation) -> None:
            raise RuntimeError("broken")

        return report


@pytest.mark.parametrize("at_once", [True, False])
async def test_an_observer_that_fails_is_no_matter_of_a_request(
    at_once: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Its first error is logged, and the other observers hear of the responses."""
    head, observer, client, side = Head(), Observed(), Client(), Whole()
    application = Application(answered, lambda scope: head)
    watched = observed(application, [Broken(at_once), observer])
    await watched(SCOPE, nothing, side.send)
    assert watched.direct is not None
    found = watched.direct(SCOPE)
    assert found is not None
    request = found.begin(b"", client)
    assert request is not None
    head.clients[0].respond(ANSWER)
    request.withdraw()
    assert (side.wholes, client.statuses) == ([201], [201])
    assert observer.reports == [("/a", 201, 5), ("/a", 201, 5), ("/a", 503, 0)]
    assert len(caplog.records) == 1


async def test_a_cancelled_request_is_reported_as_503() -> None:
    """The server cancels it when it stops."""
    observer = Observed()

    async def forever(scope: Scope, receive: Receive, send: Send) -> None:
        await sleep_forever()

    with move_on_after(0.01):
        await observed(Application(forever, None), [observer])(SCOPE, nothing, Whole().send)
    assert observer.reports == [("/a", 503, 0)]
