"""HTTP/3: answers, and whether they have arrived; real datagrams, on both async libraries."""

from __future__ import annotations

import pytest
from aioquic.h3.connection import ErrorCode
from anyio import Event, sleep
from msgspec.structs import replace

from gateway.errors import ResponseBroken
from gateway.server.http3 import cycle as http3_cycle

from ..client import serving
from .application import LIMITS, SETTINGS, Application
from .client import connected

pytestmark = pytest.mark.anyio


async def test_a_request_is_answered(app: Application, port: int) -> None:
    app.answer = b"hello"
    async with connected(port) as client:
        crumbs = ((b"cookie", b"a=1"), (b"cookie", b"b=2"))
        answer = await client.answered(client.get(*crumbs, path=b"/a%20b?c=d"))
        assert (answer.status, answer.body) == (200, b"hello")
        assert b"connection" not in answer.headers
        assert b"date" in answer.headers
        assert await app.decided() == [True]
    assert app.gone == []
    scope = app.scopes[0]
    assert (scope["path"], scope["query_string"], scope["method"]) == ("/a b", b"c=d", "GET")
    assert scope["headers"] == [(b"host", b"x"), (b"cookie", b"a=1; b=2")]
    assert scope["client"][0] == "127.0.0.1"


async def test_a_large_body_is_read_and_a_large_answer_arrives(app: Application, port: int) -> None:
    app.answer = b"." * 500_000
    async with connected(port) as client:
        stream = client.request(b"POST", b"/", body=b"x" * 290_000)
        answer = await client.answered(stream)
        assert answer.body == b"x" * 290_000 + app.answer
        assert await app.decided() == [True]


async def test_an_answer_to_head_has_no_body(app: Application, port: int) -> None:
    app.answer = b"hello"
    async with connected(port) as client:
        client.http3._check_content_length = lambda stream: None  # type: ignore[method-assign]
        answer = await client.answered(client.request(b"HEAD", b"/"))
        assert (answer.headers[b"content-length"], answer.body) == (b"5", b"")
        assert await app.decided() == [True]


# Who has the answer, and who has not.


async def test_who_closes_as_soon_as_the_answer_is_complete_has_it(
    app: Application, port: int
) -> None:
    async with connected(port) as client:
        client.closes_at_once = ErrorCode.H3_NO_ERROR
        assert (await client.answered(client.get())).status == 200
        assert await app.decided() == [True]


async def test_who_closes_with_an_error_has_it_not(app: Application, port: int) -> None:
    async with connected(port) as client:
        client.closes_at_once = ErrorCode.H3_INTERNAL_ERROR
        await client.answered(client.get())
        assert await app.decided() == [False]


async def test_who_vanishes_before_the_answer_has_it_not(app: Application, port: int) -> None:
    app.may_answer = Event()
    async with connected(port) as client:
        client.get()
        await app.begun.wait()
        client.is_silent = True
        app.may_answer.set()
        assert await app.decided() == [False]


async def test_who_has_the_answer_and_never_says_so_has_it_not(app: Application, port: int) -> None:
    app.may_answer = Event()
    app.answer = b"hello"
    async with connected(port) as client:
        stream = client.get()
        await app.begun.wait()
        client.is_silent = True
        app.may_answer.set()
        await client.until(lambda: client.answers[stream].body == b"hello")
        assert not client.answers[stream].has_ended
        assert await app.decided() == [False]


async def test_who_closes_while_it_waits_is_gone_at_once(app: Application, port: int) -> None:
    app.may_answer = Event()
    async with connected(port) as client:
        client.get(path=b"/waits")
        await app.begun.wait()
        client.close()
        while app.gone != ["/waits"]:
            await sleep(0.01)
        app.may_answer.set()
        assert await app.decided() == [False]


async def test_who_cancels_a_request_is_gone_and_the_connection_goes_on(
    app: Application, port: int
) -> None:
    app.may_answer = Event()
    async with connected(port) as client:
        stream = client.get(path=b"/cancelled")
        while not app.scopes:
            await sleep(0.01)
        client.cancel(stream)
        while app.gone != ["/cancelled"]:
            await sleep(0.01)
        app.may_answer.set()
        assert await app.decided() == [False]
        assert (await client.answered(client.get())).status == 200


async def test_a_request_that_is_cancelled_before_it_starts_is_not_asked_of_the_application(
    app: Application, port: int
) -> None:
    async with connected(port) as client:
        client.cancel(client.get(path=b"/cancelled"))
        assert (await client.answered(client.get())).status == 200
        assert [scope["path"] for scope in app.scopes] == ["/"]


async def test_who_resets_a_body_is_gone(app: Application, port: int) -> None:
    async with connected(port) as client:
        stream = client.request(b"POST", b"/", body=b"x", ends=False)
        while not app.scopes:
            await sleep(0.01)
        client.quic.reset_stream(stream, ErrorCode.H3_REQUEST_CANCELLED)
        client.flush()
        assert await app.decided() == [False]
        assert app.gone == ["/"]


async def test_who_closes_before_all_of_it_has_come_has_it_not(app: Application, port: int) -> None:
    app.answer = b"." * 1_000_000
    async with connected(port) as client:
        stream = client.get()
        await client.until(lambda: client.answers[stream].body)
        client.close()
        assert await app.decided() == [False]


async def test_who_vanishes_while_it_waits_is_gone_after_the_idle_time(app: Application) -> None:
    app.may_answer = Event()
    settings = replace(SETTINGS, limits=replace(LIMITS, idle_time=0.6))
    async with serving(app, settings) as (port, _):
        async with connected(port) as client:
            client.get(path=b"/waits")
            await app.begun.wait()
            client.is_silent = True
            while app.gone != ["/waits"]:
                await sleep(0.01)
            app.may_answer.set()
            assert await app.decided() == [False]


async def test_who_waits_longer_than_the_idle_time_is_answered_and_then_closed(
    app: Application,
) -> None:
    app.may_answer = Event()
    settings = replace(SETTINGS, limits=replace(LIMITS, idle_time=0.6))
    async with serving(app, settings) as (port, _):
        async with connected(port) as client:
            stream = client.get()
            await sleep(1.3)
            app.may_answer.set()
            assert (await client.answered(stream)).status == 200
            assert app.gone == []
            while client.closed is None:  # it only wants to stay
                client.quic.send_ping(0)
                client.flush()
                await sleep(0.05)
            assert client.closed == ErrorCode.H3_NO_ERROR


# Applications that fail.


async def test_an_application_that_fails_is_a_500(app: Application, port: int) -> None:
    app.error = RuntimeError("a test")
    async with connected(port) as client:
        assert (await client.answered(client.get())).status == 500


async def test_an_answer_that_breaks_off_is_a_stream_that_is_reset(
    app: Application, port: int
) -> None:
    app.error = ResponseBroken("a test")
    app.answer = b"hello"
    async with connected(port) as client:
        answer = await client.answered(client.get())
        assert answer.reset == ErrorCode.H3_INTERNAL_ERROR
        app.error = None
        assert (await client.answered(client.get())).body == b"hello"


# The stop.


async def test_a_stop_waits_for_answers_and_takes_no_new_requests(app: Application) -> None:
    app.may_answer = Event()
    app.answer = b"hello"
    async with serving(app, replace(SETTINGS, grace=20)) as (port, stop):
        async with connected(port) as client:
            stream = client.get()
            await app.begun.wait()
            stop.set()
            late = stream
            while client.answers[late].reset is None:  # the stop takes a turn of the loop
                late = client.get()
                await sleep(0.05)
            assert client.answers[late].reset == ErrorCode.H3_REQUEST_REJECTED
            app.may_answer.set()
            assert (await client.answered(stream)).body == b"hello"
            assert all(await app.decided())
            await client.until(lambda: client.closed is not None)
            assert client.closed == ErrorCode.H3_NO_ERROR


async def test_a_stop_does_not_wait_for_who_has_vanished(
    app: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http3_cycle, "MAX_ACK_WAIT_AT_STOP", 0.2)
    settings = replace(SETTINGS, grace=60, limits=replace(LIMITS, answer_time=60))
    async with serving(app, settings) as (port, stop):
        async with connected(port) as client:
            client.get()
            client.is_silent = True
            await app.begun.wait()
            stop.set()
            assert await app.decided() == [False]


async def test_a_stop_ends_after_the_grace_period(app: Application) -> None:
    app.may_answer = Event()
    async with serving(app, replace(SETTINGS, grace=0.3)) as (port, stop):
        async with connected(port) as client:
            client.get()
            await app.begun.wait()
            stop.set()
            await client.until(lambda: client.closed is not None)
    async with serving(app, SETTINGS) as (_, _):
        pass
    assert app.left == []
