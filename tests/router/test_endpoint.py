"""One request from its scope to its settled messages."""

from __future__ import annotations

import gc
import logging
import weakref
from typing import Any

import anyio
import pytest
from anyio import Event, create_task_group, current_time, fail_after, sleep, sleep_forever
from msgspec.structs import replace
from trio.testing import MockClock

from gateway.config.structs import Endpoint, GatewaySettings
from gateway.core.asgi import ASGIApp, Message, Scope
from gateway.core.pipe import parallel, within
from gateway.core.proxy import Arrival, Branch, OutcomeWatcher, Pipe, Request, Response
from gateway.errors import BrokerUnavailable, QueueEmpty, Refused
from gateway.router.endpoint import Route

from .support import Answering, Client, Taken, application, ask, endpoint, http_scope, telling

pytestmark = pytest.mark.anyio


class Connection:
    """A connection as our own servers show it."""

    def __init__(self, stays: bool = True) -> None:
        self.stays = stays
        self.is_gone = False
        self.watched = Event()
        self._callback: Any = None

    def watch(self, callback: Any) -> None:
        self._callback = callback
        self.watched.set()

    def lost(self) -> None:
        self.is_gone = True
        self._callback()

    async def when_arrived(self, arrival: Arrival) -> bool:
        arrival.sent()
        return self.stays


class Ours(Client):
    """A client behind one of our own servers."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self.extensions = {"extensions": {"gateway.connection": connection}}


async def run(app: ASGIApp, scope: Scope, client: Client) -> None:
    await app(scope, client.receive, client.send)


def taking(message: Taken, *unused: Taken) -> Answering:
    async def proxy(request: Request) -> Response:
        request.taken.extend((message, *unused))
        return Response({"a": 1}, messages=[message])

    return proxy


async def test_message_is_settled_when_the_answer_has_left() -> None:
    message, unused = Taken(), Taken()
    app = application(endpoint("GET", "/q", taking(message, unused)))
    assert (await ask(app, "GET", "/q")).json() == {"a": 1}
    assert (message.end, unused.end) == ("acknowledged", "given back")


async def test_message_is_settled_only_after_the_whole_answer_was_sent() -> None:
    message = Taken()
    app = application(endpoint("GET", "/q", taking(message)))
    ends = []

    class Watching(Client):
        async def send(self, sent: Message) -> None:
            ends.append(message.end)

    client = Watching()
    await app(http_scope("GET", "/q"), client.receive, client.send)
    assert ends == ["", ""]
    assert message.end == "acknowledged"


@pytest.mark.parametrize(("stays", "end"), [(True, "acknowledged"), (False, "given back")])
async def test_our_own_servers_decide_whether_the_answer_has_left(stays: bool, end: str) -> None:
    message = Taken()
    app = application(endpoint("GET", "/q", taking(message)))
    client = Ours(Connection(stays))
    await app(http_scope("GET", "/q", **client.extensions), client.receive, client.send)
    assert message.end == end


async def test_a_message_that_was_given_back_is_not_touched_again() -> None:
    """Another request may hold it since then."""
    times = []

    class GivenBack(Taken):
        def watch(self, watcher: OutcomeWatcher) -> None: ...

        def give_back(self) -> None:
            times.append(1)

    app = application(endpoint("GET", "/q", taking(GivenBack())))
    client = Ours(Connection(stays=False))
    await app(http_scope("GET", "/q", **client.extensions), client.receive, client.send)
    assert len(times) == 1


async def test_a_failure_leaves_nothing_to_the_garbage_collector() -> None:
    failures: list[weakref.ref[QueueEmpty]] = []

    async def failing(request: Request) -> Response:
        error = QueueEmpty()
        failures.append(weakref.ref(error))
        raise error

    app = application(endpoint("GET", "/q", failing))
    gc.disable()
    try:
        assert (await ask(app, "GET", "/q")).status == 204
        assert failures[0]() is None
    finally:
        gc.enable()


async def test_message_goes_back_when_sending_fails() -> None:
    message = Taken()
    app = application(endpoint("GET", "/q", taking(message)))

    class Broken(Client):
        async def send(self, sent: Message) -> None:
            raise OSError("the client has gone")

    client = Broken()
    await app(http_scope("GET", "/q"), client.receive, client.send)
    assert message.end == "given back"


async def test_message_goes_back_when_a_failure_of_the_gateway_answers() -> None:
    message = Taken()

    async def proxy(request: Request) -> Response:
        request.taken.append(message)
        raise BrokerUnavailable

    app = application(endpoint("GET", "/q", proxy))
    assert (await ask(app, "GET", "/q")).status == 503
    assert message.end == "given back"


async def test_message_is_set_aside_when_a_server_cannot_write_its_answer() -> None:
    message = Taken()
    app = application(endpoint("GET", "/q", taking(message)))

    class Refusing(Client):
        async def send(self, sent: Message) -> None:
            raise ValueError("no such header")

    client = Refusing()
    with pytest.raises(ValueError, match="no such header"):
        await app(http_scope("GET", "/q"), client.receive, client.send)
    assert message.end == "parked"


async def test_message_goes_back_when_the_request_is_cancelled() -> None:
    message, entered = Taken(), Event()

    async def proxy(request: Request) -> Response:
        request.taken.append(message)
        entered.set()
        await sleep_forever()
        raise AssertionError

    app = application(endpoint("GET", "/q", proxy))
    with fail_after(5):
        async with create_task_group() as requests:
            requests.start_soon(ask, app, "GET", "/q")
            await entered.wait()
            requests.cancel_scope.cancel()
    assert message.end == "given back"


async def test_message_goes_back_when_cancelled_while_the_answer_leaves() -> None:
    message, leaving = Taken(), Event()

    class Slow(Connection):
        async def when_arrived(self, arrival: Arrival) -> bool:
            leaving.set()
            await sleep_forever()
            return True

    app = application(endpoint("GET", "/q", taking(message)))
    client = Ours(Slow())
    scope = http_scope("GET", "/q", **client.extensions)
    with fail_after(5):
        async with create_task_group() as requests:
            requests.start_soon(run, app, scope, client)
            await leaving.wait()
            requests.cancel_scope.cancel()
    assert message.end == "given back"


async def test_message_goes_back_when_the_pipe_fails() -> None:
    message = Taken()

    async def proxy(request: Request) -> Response:
        request.taken.append(message)
        raise BrokerUnavailable("away")

    reply = await ask(application(endpoint("GET", "/q", proxy)), "GET", "/q")
    assert (reply.status, reply.headers["retry-after"]) == (503, "1")
    assert message.end == "given back"


async def test_unexpected_error_concerns_one_request(caplog: pytest.LogCaptureFixture) -> None:
    message = Taken()

    async def proxy(request: Request) -> Response:
        request.taken.append(message)
        raise ZeroDivisionError("nobody foresaw this")

    app = application(endpoint("GET", "/broken", proxy), endpoint("GET", "/fine", telling))
    with caplog.at_level(logging.ERROR):
        reply = await ask(app, "GET", "/broken")
    assert (reply.status, reply.body) == (500, b"")
    assert reply.headers["x-krakend-completed"] == "false"
    assert message.end == "parked"
    assert "ZeroDivisionError: nobody foresaw this" in caplog.text
    assert (await ask(app, "GET", "/fine")).status == 200


async def test_a_request_that_fails_is_one_line_of_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "gateway.requests")

    async def away(request: Request) -> Response:
        raise BrokerUnavailable("the broker is away")

    async def guarded(request: Request) -> Response:
        raise Refused(403)

    app = application(endpoint("GET", "/away", away), endpoint("GET", "/guarded", guarded))
    for path in ("/away", "/away", "/guarded"):
        await ask(app, "GET", path)
    told = [(each.levelname, each.getMessage()) for each in caplog.records]
    assert told == [
        ("WARNING", "GET /away: 503: the broker is away"),
        ("INFO", "GET /guarded: 403: Forbidden"),
    ]


async def test_a_message_of_which_no_answer_can_be_rendered_blocks_nobody() -> None:
    message = Taken()

    async def proxy(request: Request) -> Response:
        request.taken.append(message)
        return Response({"a": object()}, messages=[message])

    reply = await ask(application(endpoint("GET", "/q", proxy)), "GET", "/q")
    assert reply.status == 500
    assert message.end == "parked"


def waiting_pipe(message: Taken) -> Pipe:
    """One branch has a message, the other waits for one for ever."""

    def ready(request: Request) -> Response:
        request.taken.append(message)
        return Response({"a": 1}, messages=[message])

    async def ready_proxy(request: Request) -> Response:
        return ready(request)

    async def never(request: Request) -> Response:
        await sleep_forever()
        raise AssertionError

    return parallel(
        [
            Branch(ready_proxy, ready),
            Branch(never, lambda _: None, timed_out=lambda _: QueueEmpty()),
        ]
    )


async def test_nothing_is_sent_to_a_client_that_left_our_own_server_while_the_pipe_waited() -> None:
    message, connection = Taken(), Connection()
    route = endpoint("GET", "/q", telling)
    app = application(
        Route("GET", route.endpoint, replace(waiting_pipe(message), reads_body=False))
    )
    client = Ours(connection)
    scope = http_scope("GET", "/q", **client.extensions)
    with fail_after(5):
        async with create_task_group() as requests:
            requests.start_soon(run, app, scope, client)
            await connection.watched.wait()
            connection.lost()
    assert (client.reply.status, message.end) == (0, "given back")


async def test_nothing_is_sent_to_a_client_that_left_a_foreign_server_while_the_pipe_waited() -> (
    None
):
    message = Taken()

    class Leaving(Client):
        async def receive(self) -> Message:
            if self._body:
                return await super().receive()
            return {"type": "http.disconnect"}

    route = endpoint("POST", "/q", telling)
    app = application(Route("POST", route.endpoint, waiting_pipe(message)))
    client = Leaving([b"a", b"b"])
    with fail_after(5):
        await app(http_scope("POST", "/q"), client.receive, client.send)
    assert (client.reply.status, message.end) == (0, "given back")


async def test_a_body_that_nobody_reads_does_not_look_like_a_client_that_left() -> None:
    message, arrived = Taken(), Event()

    async def late(request: Request) -> Response:
        await arrived.wait()
        return await taking(message)(request)

    class Posting(Client):
        async def receive(self) -> Message:
            if len(self._body) == 1:
                arrived.set()
            return await super().receive()

    route = endpoint("POST", "/q", telling)
    pipe = within(Branch(late, reads_body=False))
    app = application(Route("POST", route.endpoint, pipe))
    client = Posting([b"a", b"b", b"c"])
    with fail_after(5):
        await app(http_scope("POST", "/q"), client.receive, client.send)
    assert (client.reply.status, message.end) == (200, "acknowledged")


VIRTUAL_TIME = ("trio", {"clock": MockClock(autojump_threshold=0)})


@pytest.mark.parametrize("anyio_backend", [VIRTUAL_TIME], ids=["virtual time"])
async def test_a_guard_and_the_pipe_share_one_deadline() -> None:
    async def slow_guard(request: Request) -> None:
        await sleep(6)

    async def never(request: Request) -> Response:
        await sleep_forever()
        raise AssertionError

    settings = Endpoint(endpoint="/q", timeout=10.0)
    app = application(Route("GET", settings, parallel([Branch(never)]), (slow_guard,)))
    began = current_time()
    assert (await ask(app, "GET", "/q")).status == 500
    assert current_time() - began == pytest.approx(10)


@pytest.mark.parametrize("anyio_backend", [VIRTUAL_TIME], ids=["virtual time"])
async def test_a_guard_that_waits_too_long_fails_its_request_at_the_deadline() -> None:
    async def endless(request: Request) -> None:
        await sleep_forever()

    settings = Endpoint(endpoint="/q", timeout=10.0)
    app = application(Route("GET", settings, Branch(telling), (endless,)))
    began = current_time()
    assert (await ask(app, "GET", "/q")).status == 500
    assert current_time() - began == pytest.approx(10)


@pytest.mark.parametrize("anyio_backend", [VIRTUAL_TIME], ids=["virtual time"])
async def test_the_time_of_the_body_does_not_count_for_the_deadline() -> None:
    class Slow(Client):
        async def receive(self) -> Message:
            await sleep(30)
            return await super().receive()

    async def needs_nine_seconds(request: Request) -> Response:
        await sleep(9)
        return Response({"a": 1})

    settings = Endpoint(endpoint="/q", method="POST", timeout=10.0)
    pipe = parallel([Branch(needs_nine_seconds)])
    gateway = GatewaySettings(body_timeout=60.0)
    app = application(Route("POST", settings, pipe), gateway=gateway)
    client = Slow([b"a"])
    await app(http_scope("POST", "/q"), client.receive, client.send)
    assert client.reply.json() == {"a": 1}


async def test_body_is_complete_before_the_pipe_is_asked() -> None:
    app = application(endpoint("POST", "/b", telling, reads_body=True))
    client = Client([b"one ", b"two ", b"three"])
    await app(http_scope("POST", "/b"), client.receive, client.send)
    assert client.reply.json()["body"] == "one two three"


@pytest.mark.parametrize("version", ["1.1", "2"])
async def test_body_beyond_the_limit_is_413(version: str) -> None:
    app = application(
        endpoint("POST", "/b", telling, reads_body=True), gateway=GatewaySettings(max_body_bytes=4)
    )
    client = Client([b"123", b"45", b"never read"])
    await app(http_scope("POST", "/b", http_version=version), client.receive, client.send)
    assert client.reply.status == 413
    assert ("connection" in client.reply.headers) is (version == "1.1")
    assert (await ask(app, "POST", "/b", b"1234")).status == 200


async def test_body_that_does_not_come_in_time_is_408() -> None:
    app = application(
        endpoint("POST", "/b", telling, reads_body=True), gateway=GatewaySettings(body_timeout=0)
    )
    client = Client([])
    await app(http_scope("POST", "/b"), client.receive, client.send)
    assert client.reply.status == 408


async def test_client_that_leaves_while_it_sends_its_body_is_not_answered() -> None:
    async def proxy(request: Request) -> Response:
        raise AssertionError("asked without its body")

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    client = Client()
    app = application(endpoint("POST", "/b", proxy, reads_body=True))
    await app(http_scope("POST", "/b"), receive, client.send)
    assert client.reply.status == 0


async def test_two_hundred_requests_at_once_settle_each_its_own() -> None:
    messages = [Taken() for _ in range(200)]
    free = list(messages)

    async def proxy(request: Request) -> Response:
        message = free.pop()
        request.taken.append(message)
        await anyio.lowlevel.checkpoint()
        return Response({"a": 1}, messages=[message])

    app = application(endpoint("GET", "/q", proxy))
    with fail_after(10):
        async with create_task_group() as clients:
            for _ in messages:
                clients.start_soon(ask, app, "GET", "/q")
    assert {message.end for message in messages} == {"acknowledged"}


class Panic(BaseException):
    """As libraries that are written in Rust raise it."""


@pytest.mark.parametrize("error", [Panic("at line 1"), SystemExit(3), GeneratorExit()])
@pytest.mark.parametrize("place", ["guard", "waiting guard", "pipe"])
async def test_whatever_is_raised_ends_one_request(
    error: BaseException, place: str, caplog: pytest.LogCaptureFixture
) -> None:
    message = Taken()

    async def wait() -> None:
        raise error

    def guard(request: Request) -> Any:
        if place == "guard":
            raise error
        return wait() if place == "waiting guard" else None

    async def proxy(request: Request) -> Response:
        request.taken.append(message)
        raise error

    app = application(
        endpoint("GET", "/bad", proxy)._replace(guards=[guard]), endpoint("GET", "/good", telling)
    )
    assert (await ask(app, "GET", "/bad")).status == 500
    assert (await ask(app, "GET", "/good")).status == 200
    assert message.end == ("parked" if place == "pipe" else "")
    (line,) = [each.getMessage() for each in caplog.records if each.levelname == "ERROR"]
    taken = " (message m-1)" if place == "pipe" else ""
    assert line == f"/bad: an unexpected error{taken}"


async def test_an_interrupt_of_the_operator_passes() -> None:
    async def proxy(request: Request) -> Response:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await ask(application(endpoint("GET", "/", proxy)), "GET", "/")
