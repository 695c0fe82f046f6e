"""Helper processes: what they return, and how their work ends."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any

import anyio
import pytest
from anyio import Event

from gateway.config.structs import Backend
from gateway.core.helpers import Helped, Helpers
from gateway.core.large import build_pieces
from gateway.encoding import DecodeError, decode_xml
from gateway.errors import HelperFailure

pytestmark = pytest.mark.anyio

FOR_EVER = 3600.0


@pytest.fixture
async def helpers() -> AsyncGenerator[Helpers]:
    helpers = Helpers()
    async with helpers.opened():
        yield helpers


async def test_a_call_returns_what_it_returns_here(helpers: Helpers) -> None:
    assert await helpers.run(decode_xml, b"<a><b/></a>") == {"a": {"b": ""}}
    assert await helpers.run(bytes, 3_000_000) == bytes(3_000_000)
    assert await helpers.run(len, bytes(3_000_000)) == 3_000_000


async def test_a_call_that_raises_says_why_and_the_helper_goes_on(helpers: Helpers) -> None:
    process = await helpers.run(os.getpid)
    with pytest.raises(HelperFailure, match="not XML"):
        await helpers.run(decode_xml, b"no")
    with pytest.raises(HelperFailure, match="ZeroDivisionError"):
        await helpers.run(divmod, 1, 0)
    assert await helpers.run(os.getpid) == process != os.getpid()


async def test_a_call_that_takes_too_long_is_ended() -> None:
    helpers = Helpers(seconds=0.5)
    async with helpers.opened():
        with pytest.raises(HelperFailure, match=r"more than 0\.5 s of processor time"):
            await helpers.run(sum, range(10**15))
        assert await helpers.run(len, b"abc") == 3


async def test_a_call_that_needs_too_much_memory_is_refused(helpers: Helpers) -> None:
    with pytest.raises(HelperFailure, match="MemoryError"):
        await helpers.run(bytes, 3 * 1024**3)


async def test_a_helper_that_ends_by_itself_is_replaced(helpers: Helpers) -> None:
    with pytest.raises(HelperFailure, match=r"a helper process ended \(1\)"):
        await helpers.run(os._exit, 1)
    assert await helpers.run(len, b"abc") == 3


async def test_a_call_that_is_cancelled_is_ended_and_leaves_its_place(helpers: Helpers) -> None:
    for _ in range(4):
        with anyio.move_on_after(0.05):
            await helpers.run(time.sleep, FOR_EVER)
    assert await helpers.run(len, b"abc") == 3


async def test_a_call_without_waiting_arrives_once(helpers: Helpers) -> None:
    results: list[Any] = []
    arrived = Event()

    def arrive(result: Any) -> None:
        results.append(result)
        arrived.set()

    helpers.start(arrive, len, b"abc")
    await arrived.wait()
    assert results == [3]


async def test_a_call_without_waiting_that_is_ended_does_not_arrive(helpers: Helpers) -> None:
    results: list[Any] = []
    end: Callable[[], None] = helpers.start(results.append, time.sleep, FOR_EVER)
    end()
    assert await helpers.run(len, b"abc") == 3
    assert results == []


async def test_a_function_that_is_built_is_built_once(helpers: Helpers) -> None:
    helped = Helped(helpers, counting, 5)
    assert [await helped.run(1), await helped.run(1)] == [6, 7]


def counting(start: int) -> Callable[[int], int]:
    """Counts on from call to call."""
    count = start

    def add(number: int) -> int:
        nonlocal count
        count += number
        return count

    return add


def test_a_large_document_has_a_bound_of_keys() -> None:
    pieces = build_pieces(Backend())
    assert pieces(b'{"a":{"b":1.50}}') == [("a", b'{"b":1.50}')]
    assert pieces(b"null") is None
    body = b"{" + b",".join(b'"%d":1' % number for number in range(20_001)) + b"}"
    with pytest.raises(DecodeError, match="20000 keys"):
        pieces(body)
