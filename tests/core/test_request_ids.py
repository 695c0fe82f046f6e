"""Request ids, on both ways of a request."""

from __future__ import annotations

import re
from typing import Any

import pytest

from gateway.core.asgi import AsgiResponse, Headers, Message, Receive, Scope, Send, send_answer
from gateway.core.direct import Application, DirectClient, DirectHead, DirectRequest, FindDirect
from gateway.core.request_ids import REQUEST_ID, identified, valid_id

pytestmark = pytest.mark.anyio

OTHER = (b"x-other", b"1")
MADE = re.compile(rb"[0-9a-f]{32}")


def scope_of(*ids: bytes) -> Scope:
    return {"type": "http", "headers": [*((REQUEST_ID, each) for each in ids), OTHER]}


def ids_of(headers: Headers) -> list[bytes]:
    return [value for name, value in headers if name == REQUEST_ID]


class Side:
    """The server's side of a request, in a task or not."""

    is_gone = False

    def __init__(self) -> None:
        self.responses: list[AsgiResponse] = []
        self.apps: list[Any] = []
        self.failed = 0

    def send_whole(self, status: int, headers: Headers, body: bytes) -> bool:
        self.responses.append(AsgiResponse(status, headers, body))
        return True

    async def send(self, message: Message) -> None:
        raise AssertionError(message)

    def watch(self, gone: Any) -> None: ...

    def respond(self, response: AsgiResponse) -> None:
        self.responses.append(response)

    def fail(self) -> None:
        self.failed += 1

    def when_arrived(self, arrival: Any) -> str:
        return f"arrival of {arrival}"

    def run(self, app: Any) -> None:
        self.apps.append(app)

    @property
    def ids(self) -> list[bytes]:
        [*_, last] = self.responses
        return ids_of(last.headers)


class EchoHead:
    """Responds with the id of its head, and with an id that a backend has added."""

    reads_body, has_guards, endpoint_path = True, False, "/a"

    def __init__(self, scope: Scope) -> None:
        self._ids = ids_of(scope["headers"])

    def begin(self, body: bytes, client: DirectClient) -> DirectRequest | None:
        answer = AsgiResponse(201, [(REQUEST_ID, b"of a backend"), OTHER], b",".join(self._ids))
        assert client.when_arrived("x") == "arrival of x"  # type: ignore[arg-type]
        assert (client.is_gone, client.watch(lambda: None)) == (False, None)
        client.respond(answer)
        return None


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    body = b",".join(ids_of(scope["headers"]))
    await send_answer(send, AsgiResponse(201, [(REQUEST_ID, b"of a backend"), OTHER], body))


async def nothing() -> Message:
    raise AssertionError


def direct_of(find: FindDirect, scope: Scope) -> DirectHead:
    application = identified(Application(echo, find))
    assert application.direct is not None
    head = application.direct(scope)
    assert head is not None
    assert (head.reads_body, head.has_guards, head.endpoint_path) == (True, False, "/a")
    return head


@pytest.mark.parametrize("value", [b"1", b"a-B_c/=~:+@.", b"x" * 128])
def test_an_id_of_the_client_is_valid(value: bytes) -> None:
    assert valid_id([(REQUEST_ID, value)]) == value


@pytest.mark.parametrize(
    "value", [b"", b"a b", b"\x7f", b"\xc3\xa9", b"a\tb", b"1\n", b"<b>", b"x" * 129]
)
def test_an_id_of_the_client_is_not_valid(value: bytes) -> None:
    assert valid_id([(REQUEST_ID, value)]) == b""


async def test_request_and_response_have_the_id_of_the_client_and_no_other() -> None:
    side = Side()
    await identified(Application(echo, None))(scope_of(b"one", b"two"), nothing, side.send)
    assert side.responses == [AsgiResponse(201, [(REQUEST_ID, b"one"), OTHER], b"one")]
    direct_of(EchoHead, scope_of(b"one", b"two")).begin(b"", side)
    assert side.responses[0] == side.responses[1]


async def test_each_request_without_a_valid_id_gets_one() -> None:
    side = Side()
    application = identified(Application(echo, None))
    for scope in (scope_of(), scope_of(), scope_of(b"a b")):
        before = [*scope["headers"]]
        await application(scope, nothing, side.send)
        assert side.ids == [side.responses[-1].body]
        assert scope["headers"] == before
    made = {each.body for each in side.responses}
    assert len(made) == 3
    assert all(map(MADE.fullmatch, made))


def test_equal_heads_do_not_share_an_id() -> None:
    side, head = Side(), direct_of(EchoHead, scope_of(b"a b"))
    for _ in range(3):
        assert head.begin(b"", side) is None
        assert side.ids == [side.responses[-1].body]
    made = {each.body for each in side.responses}
    assert len(made) == 3
    assert all(map(MADE.fullmatch, made))


def test_a_head_is_looked_for_once_for_each_id() -> None:
    found: list[list[bytes]] = []

    def find(scope: Scope) -> DirectHead:
        found.append(ids_of(scope["headers"]))
        return EchoHead(scope)

    for ids, expected in (((b"one",), 1), ((), 3)):
        found.clear()
        head = direct_of(find, scope_of(*ids))
        for _ in range(3):
            head.begin(b"", Side())
        assert len(found) == expected


class RunningHead(EchoHead):
    """Its requests continue in a task."""

    def begin(self, body: bytes, client: DirectClient) -> None:
        client.run(echo)


async def test_a_request_that_continues_in_a_task_keeps_its_id() -> None:
    side = Side()
    direct_of(RunningHead, scope_of(b"one")).begin(b"", side)
    [app] = side.apps
    await app(scope_of(b"one"), nothing, side.send)
    assert side.ids == [b"one"]


class FailingHead(EchoHead):
    """Its requests fail hard."""

    def begin(self, body: bytes, client: DirectClient) -> None:
        client.fail()


def test_the_server_responds_to_an_error_without_an_id() -> None:
    side = Side()
    direct_of(FailingHead, scope_of()).begin(b"", side)
    assert (side.failed, side.responses) == (1, [])


async def test_a_request_whose_head_is_not_found_again_has_a_task() -> None:
    side, heads = Side(), [EchoHead(scope_of()), None]
    head = direct_of(lambda scope: heads.pop(0), scope_of())
    head.begin(b"", Side())
    assert head.begin(b"", side) is None
    [app] = side.apps
    await app(scope_of(), nothing, side.send)
    assert side.ids == [side.responses[-1].body]


def test_an_error_while_a_head_is_looked_for_fails_the_request(
    caplog: pytest.LogCaptureFixture,
) -> None:
    heads, side = [EchoHead(scope_of())], Side()
    head = direct_of(lambda scope: heads.pop(0), scope_of())
    head.begin(b"", Side())
    assert head.begin(b"", side) is None
    assert (side.failed, len(caplog.records)) == (1, 1)


def test_where_every_request_needs_a_task_there_is_no_other_way() -> None:
    assert identified(Application(echo, None)).direct is None
    direct = identified(Application(echo, lambda scope: None)).direct
    assert direct is not None
    assert direct(scope_of()) is None


async def test_other_scopes_pass() -> None:
    scopes: list[Scope] = []

    async def note(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)

    scope: Scope = {"type": "lifespan"}
    await identified(Application(note, None))(scope, nothing, Side().send)
    assert scopes == [scope]
