"""Observers of parts hear of each request once, whichever way the branch is asked."""

from __future__ import annotations

import gc
from collections.abc import Callable
from weakref import ReferenceType, ref

import pytest
from anyio import CancelScope, move_on_after, sleep_forever

from gateway.core.observed_parts import observed_parts
from gateway.core.pipe import coroutine_of
from gateway.core.proxy import Arrive, Branch, NoClient, Part, Request, Response, Withdraw
from gateway.errors import DeadlineExceeded, GatewayError

pytestmark = pytest.mark.anyio

RESPONSE = Response({"a": 1})
FAILURE = GatewayError("no")


class Gone(NoClient):
    is_gone = True


class Heard:
    """``parts``: what the observer was called with."""

    def __init__(self) -> None:
        self.parts: list[Part | None] = []

    def __call__(self, request: Request, part: Part | None, seconds: float) -> None:
        assert seconds >= 0
        self.parts.append(part)


def respond(request: Request) -> Response:
    if request.path == "/failing":
        raise FAILURE
    if request.path == "/broken":
        raise ValueError(request.path)
    return RESPONSE


def later(request: Request, arrive: Arrive) -> Withdraw:
    try:
        arrive(respond(request))
    except GatewayError as error:
        arrive(error)
    return lambda: None


async def ask(request: Request) -> Response:
    return respond(request)


BRANCHES = {
    "now": Branch(ask, respond),
    "ask": Branch(ask),
    "ask after now": Branch(ask, lambda request: None),
    "later": Branch(later=later),
    "later after now": Branch(now=lambda request: None, later=later),
}


def request(path: str = "/") -> Request:
    return Request("GET", path, {})


@pytest.mark.parametrize("way", BRANCHES)
async def test_a_response_and_a_failure(way: str) -> None:
    heard = Heard()
    branch = observed_parts(BRANCHES[way], heard)
    assert await coroutine_of(branch)(request()) is RESPONSE
    with pytest.raises(GatewayError):
        await coroutine_of(branch)(request("/failing"))
    assert heard.parts == [RESPONSE, FAILURE]


@pytest.mark.parametrize("way", BRANCHES)
async def test_an_unexpected_error_is_a_failure(way: str) -> None:
    heard = Heard()
    with pytest.raises(ValueError, match="broken"):
        await coroutine_of(observed_parts(BRANCHES[way], heard))(request("/broken"))
    [part] = heard.parts
    assert isinstance(part, GatewayError)


@pytest.mark.parametrize("way", BRANCHES)
def test_the_ways_of_a_branch_stay(way: str) -> None:
    branch, observed = BRANCHES[way], observed_parts(BRANCHES[way], Heard())
    for name in ("now", "later", "ask"):
        assert (getattr(observed, name) is None) == (getattr(branch, name) is None)


class Waiting:
    """A branch whose part arrives when the test says so."""

    def __init__(self) -> None:
        self.arrive: Arrive | None = None
        self.withdrawn = 0
        self.heard = Heard()
        self.branch = observed_parts(Branch(later=self._later), self.heard)

    def _later(self, request: Request, arrive: Arrive) -> Withdraw:
        self.arrive = arrive

        def withdraw() -> Part:
            self.withdrawn += 1
            return DeadlineExceeded()

        return withdraw

    def begin(self, asked: Request, arrive: Callable[[Part], None]) -> Withdraw:
        assert self.branch.later is not None
        return self.branch.later(asked, arrive)


def test_a_deadline_is_a_failure() -> None:
    waiting = Waiting()
    withdraw = waiting.begin(request(), lambda part: None)
    part = withdraw()
    assert isinstance(part, DeadlineExceeded)
    assert waiting.heard.parts == [part]
    assert withdraw() is None
    assert waiting.withdrawn == 1


def test_a_client_that_goes_leaves_no_part() -> None:
    waiting = Waiting()
    asked = request()
    withdraw = waiting.begin(asked, lambda part: None)
    asked.client = Gone()
    withdraw()
    assert waiting.heard.parts == [None]


def test_a_part_that_arrives_in_time_ends_the_wait() -> None:
    waiting = Waiting()
    parts: list[Part] = []
    withdraw = waiting.begin(request(), parts.append)
    assert waiting.arrive is not None
    waiting.arrive(RESPONSE)
    assert withdraw() is None
    assert parts == waiting.heard.parts == [RESPONSE]
    assert waiting.withdrawn == 0


async def test_a_task_that_is_cancelled_has_the_failure_of_its_deadline() -> None:
    async def wait(request: Request) -> Response:
        await sleep_forever()
        return RESPONSE

    heard = Heard()
    with CancelScope() as scope:
        scope.cancel()
        await coroutine_of(observed_parts(Branch(wait), heard))(request())
    with move_on_after(0):
        asked = request()
        asked.client = Gone()
        await coroutine_of(observed_parts(Branch(wait), heard))(asked)
    failure, gone = heard.parts
    assert isinstance(failure, DeadlineExceeded)
    assert gone is None


@pytest.mark.parametrize("in_time", [True, False])
def test_no_reference_cycle_is_left(in_time: bool) -> None:
    """Also if the part arrives before ``later`` returns, as of a cache."""

    class Call:
        def __init__(self, arrive: Arrive) -> None:
            self.arrive = arrive

        def withdraw(self) -> None: ...

    calls: list[ReferenceType[Call]] = []

    def later(request: Request, arrive: Arrive) -> Withdraw:
        call = Call(arrive)
        calls.append(ref(call))
        if in_time:
            arrive(RESPONSE)
        return call.withdraw

    branch = observed_parts(Branch(later=later), Heard())
    assert branch.later is not None
    gc.disable()
    try:
        withdraw = branch.later(request(), lambda part: None)
        if not in_time:
            withdraw()
        del withdraw
        assert calls[0]() is None
    finally:
        gc.enable()
