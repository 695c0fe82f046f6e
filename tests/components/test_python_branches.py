"""Branches with hooks keep what they can do without a task."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from anyio import Event, fail_after, sleep_forever

from gateway.app.catalog import CATALOG
from gateway.components.python import PythonSettings, build_backend_hooks
from gateway.config.structs import Backend, Endpoint, Service
from gateway.core.bridge import open_asyncio_side
from gateway.core.component import Assembly
from gateway.core.pipe import coroutine_of
from gateway.core.proxy import Arrive, Branch, Part
from gateway.core.proxy import Request as ProxyRequest
from gateway.core.proxy import Response as ProxyResponse
from gateway.errors import GatewayError

from .test_python import HERE, calls

pytestmark = pytest.mark.anyio


async def wrapped(branch: Branch, **names: str) -> Branch:
    settings = PythonSettings(**{key: HERE + name for key, name in names.items()})
    async with open_asyncio_side() as side:
        assembly = Assembly(Service(), CATALOG, side)
        return build_backend_hooks(settings, Backend(), Endpoint(), assembly)(branch)


def branch(now: Part | None, late: Part | None = None) -> Branch:
    """Responds ``now``, or ``late`` by its callback."""

    def answer(request: ProxyRequest) -> ProxyResponse | None:
        if isinstance(now, GatewayError):
            raise now
        return now

    def later(request: ProxyRequest, arrive: Arrive) -> Callable[[], None]:
        assert late is not None
        arrive(late)
        return lambda: None

    return Branch(None, answer, later, reads_body=False)


def part_of(branch: Branch) -> Part:
    """The response of a branch without a task."""
    assert branch.later is not None
    parts: list[Part] = []
    branch.later(ProxyRequest("GET", "/", {}), parts.append)
    [part] = parts
    return part


async def test_a_branch_with_a_response_hook_still_responds_now() -> None:
    calls.clear()
    response = ProxyResponse({"a": 1})
    hooked = await wrapped(branch(response), response="noted")
    assert hooked.now is not None
    answered = hooked.now(ProxyRequest("GET", "/", {}))
    assert answered is not None
    assert (answered.data, calls, hooked.reads_body) == ({"a": 1}, ["response"], False)
    late = await wrapped(branch(None, response), response="noted")
    assert late.now is not None
    assert late.now(ProxyRequest("GET", "/", {})) is None
    assert calls == ["response"]


@pytest.mark.parametrize("comes_late", [False, True])
async def test_a_request_hook_is_called_once_and_needs_no_task(comes_late: bool) -> None:
    calls.clear()
    response = ProxyResponse({"a": 1})
    inner = branch(None, response) if comes_late else branch(response)
    hooked = await wrapped(inner, request="counted", response="noted")
    part = part_of(hooked)
    assert isinstance(part, ProxyResponse)
    assert (part.data, calls, hooked.reads_body) == ({"a": 1}, ["request", "response"], True)


@pytest.mark.parametrize("comes_late", [False, True])
async def test_a_failure_of_the_branch_reaches_no_response_hook(comes_late: bool) -> None:
    calls.clear()
    error = GatewayError("no")
    inner = branch(None, error) if comes_late else branch(error)
    hooked = await wrapped(inner, request="counted", response="noted")
    assert part_of(hooked) is error
    assert calls == ["request"]


@pytest.mark.parametrize("key", ["request", "response"])
async def test_a_failure_of_a_hook_arrives_as_one(key: str) -> None:
    hooked = await wrapped(branch(None, ProxyResponse({})), **{key: "raises"})
    assert isinstance(part_of(hooked), GatewayError)


async def test_an_async_hook_needs_a_task() -> None:
    hooked = await wrapped(branch(None), request="never")
    assert (hooked.now, hooked.later) == (None, None)


async def test_cancelling_a_request_cancels_the_branch_inside_an_async_hook() -> None:
    ended = Event()

    async def ask(request: ProxyRequest) -> ProxyResponse:
        try:
            await sleep_forever()
        finally:
            ended.set()
        raise AssertionError

    hooked = await wrapped(Branch(ask), request="add_headers_async")
    with pytest.raises(TimeoutError), fail_after(0.05):
        await coroutine_of(hooked)(ProxyRequest("GET", "/", {}))
    assert ended.is_set()
