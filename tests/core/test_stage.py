"""What stands around a branch, whichever way the branch is asked."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from msgspec import Raw

from gateway.core.pipe import coroutine_of, parallel, within
from gateway.core.proxy import COMPLETE, Arrive, Branch, Part, Request, Response
from gateway.core.stage import Functions, Large, intercepted
from gateway.errors import GatewayError

from ..router.support import Taken

pytestmark = pytest.mark.anyio


class Inner:
    """Answers with the body it was asked with; ``message`` is taken for that."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self.message = Taken()

    def answer(self, request: Request) -> Response:
        self.asked.append(request.body)
        request.taken.append(self.message)
        return Response({"body": request.body.decode()}, messages=[self.message])

    async def ask(self, request: Request) -> Response:
        return self.answer(request)

    def later(self, request: Request, arrive: Arrive) -> Callable[[], None]:
        arrive(self.answer(request))
        return lambda: None


@pytest.fixture(params=["ask", "now", "later"])
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def branch(inner: Inner, way: str) -> Branch:
    return Branch(
        None if way == "later" else inner.ask,
        inner.answer if way == "now" else None,
        inner.later if way == "later" else None,
    )


def changed(request: Request) -> Request:
    request = request.copy()
    request.body += b"!"
    return request


def refusing(request: Request, response: Response | None = None) -> Response:
    raise GatewayError("no")


def stumbling(request: Request, response: Response | None = None) -> Response:
    raise ZeroDivisionError


def added(request: Request, response: Response) -> Response:
    return response.with_data({**(response.data or {}), "asked": request.body.decode()}, COMPLETE)


async def ask(branch: Branch, request: Request) -> Part:
    pipe = within(branch) if branch.later else parallel([branch])
    try:
        return await coroutine_of(pipe)(request)
    except GatewayError as error:
        return error


def request() -> Request:
    return Request("POST", "/", {}, body=b"a")


async def test_the_branch_is_asked_what_is_made_of_the_request(way: str) -> None:
    inner = Inner()
    asked = request()
    part = await ask(intercepted(branch(inner, way), Functions(changed, added)), asked)
    assert isinstance(part, Response)
    assert part.data == {"body": "a!", "asked": "a!"}
    assert asked.body == b"a"
    assert asked.taken == [inner.message]


async def test_a_refused_request_asks_nobody(way: str) -> None:
    inner = Inner()
    stage = Functions(partial(refusing))  # type: ignore[arg-type]
    part = await ask(intercepted(branch(inner, way), stage), request())
    assert str(part) == "no"
    assert inner.asked == []


async def test_a_message_is_set_aside_whose_answer_is_refused(way: str) -> None:
    inner = Inner()
    asked = request()
    part = await ask(intercepted(branch(inner, way), Functions(after=refusing)), asked)
    assert str(part) == "no"
    asked.give_back()
    assert inner.message.end == "parked"


@pytest.mark.parametrize(
    ("response", "fits"),
    [
        (Response(None), True),
        (Response({"a": Raw(b"1" * 100)}), True),
        (Response({"a": Raw(b"1" * 101)}), False),
        (Response({"a": Raw(b"1" * 50), "b": Raw(b"1" * 51)}), False),
        (Response({}, body=b"1" * 101), False),
        (Response({}, headers=[(b"a", b"")] * 50), True),
        (Response({}, headers=[(b"a", b"")] * 51), False),
    ],
)
def test_bodies_documents_and_header_fields_make_an_answer_large(
    response: Response, fits: bool
) -> None:
    unused: Any = None
    assert Large(100, unused, unused, unused).fits(response) == fits


async def test_an_error_nobody_foresaw_stays_with_its_request() -> None:
    part = await ask(intercepted(branch(Inner(), "later"), Functions(after=stumbling)), request())
    assert str(part) == "internal error"


def test_a_branch_keeps_its_ways_and_gets_no_others(way: str) -> None:
    inner = branch(Inner(), way)
    outer = intercepted(inner, Functions(after=added))
    for name in ("ask", "now", "later"):
        assert (getattr(outer, name) is None) == (getattr(inner, name) is None)


def test_a_call_whose_branch_raises_an_error_is_finished() -> None:
    """A breaker would otherwise wait for its trial for ever."""
    finished: list[Part] = []

    class Watching:
        request = Request("GET", "/", {})

        def begin(self, request: Request) -> Any:
            return self

        def finish(self, part: Part) -> Part:
            finished.append(part)
            return part

    def later(request: Request, arrive: Arrive) -> Any:
        raise ZeroDivisionError

    watched = intercepted(Branch(later=later), Watching())
    assert watched.later is not None
    with pytest.raises(ZeroDivisionError):
        watched.later(request(), lambda part: None)
    assert [str(part) for part in finished] == ["internal error"]
