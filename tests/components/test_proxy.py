"""static and flatmap_filter on the response of an endpoint, around fake branches."""

from __future__ import annotations

import pytest
from msgspec import Raw

from gateway.components.proxy import flatmapped, with_static
from gateway.config.proxy import FlatmapOperation, StaticSettings
from gateway.core.helpers import Helpers
from gateway.core.pipe import coroutine_of
from gateway.core.proxy import (
    INCOMPLETE,
    PARTS_FAILED,
    Branch,
    OutcomeWatcher,
    Part,
    Pipe,
    Request,
    Response,
)
from gateway.encoding import Document
from gateway.errors import DeadlineExceeded, GatewayError, OutcomeUnknown, QueueEmpty

pytestmark = pytest.mark.anyio

DATA: Document = {"st": "yes", "a": 2}


class Message:
    shown_id = ""

    def sent(self) -> None: ...

    def acknowledge(self) -> None: ...

    is_set_aside = False

    def park(self) -> None:
        self.is_set_aside = True

    def watch(self, watcher: OutcomeWatcher) -> None: ...

    def give_back(self) -> None: ...


def answering(part: Part) -> Pipe:
    async def proxy(request: Request) -> Response:
        if isinstance(part, GatewayError):
            raise part
        return part

    return Branch(proxy, reads_body=False)


async def ask(pipe: Pipe) -> Response:
    return await coroutine_of(pipe)(Request("GET", "/", {}))


def static(part: Part, strategy: str) -> Pipe:
    return with_static(answering(part), StaticSettings(strategy=strategy), DATA)


WHOLE = Response({"a": 1})
PARTIAL = Response({"a": 1}, PARTS_FAILED)
DETAILS = Response({"a": 1}, INCOMPLETE)
NULL = Response(None, INCOMPLETE)


@pytest.mark.parametrize("part", [WHOLE, PARTIAL, DETAILS, NULL])
@pytest.mark.parametrize("strategy", ["always", "success", "errored", "complete", "incomplete"])
async def test_static_data_is_added_to_the_responses_of_its_strategy(
    part: Response, strategy: str
) -> None:
    named = {
        "always": (WHOLE, PARTIAL, DETAILS, NULL),
        "success": (WHOLE, DETAILS, NULL),
        "errored": (PARTIAL,),
        "complete": (WHOLE, NULL),
        "incomplete": (PARTIAL, DETAILS),
    }
    response = await ask(static(part, strategy))
    assert response.data == (DATA if part in named[strategy] else part.data)


@pytest.mark.parametrize(
    ("strategy", "is_named"),
    [
        ("always", True),
        ("success", False),
        ("errored", True),
        ("complete", False),
        ("incomplete", True),
        ("nosuch", True),
    ],
)
@pytest.mark.parametrize("error", [GatewayError("no"), QueueEmpty(), DeadlineExceeded()])
async def test_static_data_replaces_a_failure(
    error: GatewayError, strategy: str, is_named: bool
) -> None:
    pipe = static(error, strategy)
    if is_named:
        response = await ask(pipe)
        assert (response.data, response.is_complete, response.status) == (DATA, False, 200)
    else:
        with pytest.raises(type(error)):
            await ask(pipe)


async def test_static_data_makes_a_no_op_response_complete_and_leaves_its_body() -> None:
    settings = StaticSettings(strategy="always")
    answer = Response({}, body=b"raw", status=404)
    passed = await ask(with_static(answering(answer), settings, DATA, is_passed_on=True))
    assert (passed.data, passed.is_complete, passed.body, passed.status) == (
        DATA,
        True,
        b"raw",
        404,
    )
    with pytest.raises(GatewayError, match=r"^no$"):
        await ask(with_static(answering(GatewayError("no")), settings, DATA, is_passed_on=True))


async def test_static_data_never_hides_a_message_that_was_not_published() -> None:
    with pytest.raises(OutcomeUnknown):
        await ask(static(OutcomeUnknown("not confirmed"), "always"))


async def test_a_response_with_static_data_stays_as_complete_and_keeps_its_messages() -> None:
    message = Message()
    response = await ask(static(Response({"b": 1}, messages=[message], status=201), "always"))
    assert response.data == {"b": 1, **DATA}
    assert (response.is_complete, response.messages, response.status) == (True, [message], 201)
    assert not (await ask(static(PARTIAL, "always"))).is_complete
    assert (await ask(static(NULL, "always"))).is_complete


async def test_static_data_and_responses_are_copied_before_a_change() -> None:
    shared = Response({"a": 1})
    response = await ask(static(shared, "always"))
    assert response.data is not None
    response.data["more"] = 1
    failed = await ask(static(GatewayError("no"), "always"))
    assert failed.data is not None
    failed.data["more"] = 1
    assert (shared.data, DATA) == ({"a": 1}, {"st": "yes", "a": 2})


def deleting(path: str, part: Part) -> Pipe:
    return flatmapped(answering(part), (FlatmapOperation(type="del", args=(path,)),), Helpers())


@pytest.mark.parametrize(
    ("part", "data", "is_complete"),
    [
        (Response({"a": 1, "b": 2}), {"b": 2}, True),
        (Response({"a": 1, "b": 2}, INCOMPLETE), {"b": 2}, False),
        (Response({"a": 1, "b": 2}, PARTS_FAILED), {"a": 1, "b": 2}, False),
        (Response({"a": 1}), None, False),
        (Response({}), {}, True),
        (Response(), None, True),
        (NULL, None, False),
    ],
)
async def test_operations_are_applied_to_every_response_without_failed_parts(
    part: Response, data: Document | None, is_complete: bool
) -> None:
    response = await ask(deleting("a", part))
    assert (response.data, response.is_complete) == (data, is_complete)


async def test_a_document_nested_too_deeply_is_a_failure() -> None:
    deep = Raw(b'{"b":' + b"[" * 5_000 + b"]" * 5_000 + b"}")
    message = Message()
    with pytest.raises(GatewayError, match="nested too deeply"):
        await ask(deleting("a.b", Response({"a": deep}, messages=[message])))
    assert message.is_set_aside


async def test_stages_read_the_body_only_when_their_branch_does() -> None:
    assert not static(WHOLE, "always").reads_body
    assert not deleting("a", WHOLE).reads_body
