"""Copies of requests whose responses are dropped."""

from __future__ import annotations

import logging

import pytest
from anyio import Event, fail_after, sleep_forever

from gateway.components import shadow as module
from gateway.components.shadow import Shadows, shadowed
from gateway.core.pipe import coroutine_of
from gateway.core.proxy import NO_DEADLINE, Branch, Request, Response
from gateway.errors import GatewayError

from ..router.support import Taken

pytestmark = pytest.mark.anyio


class Shadow:
    """A backend that reports its call, then responds, fails or waits."""

    def __init__(self, error: Exception | None = None, answers: bool = True) -> None:
        self.asked = Event()
        self.ended = Event()
        self.request: Request | None = None
        self.message = Taken()
        self._error = error
        self._answers = answers

    async def ask(self, request: Request) -> Response:
        self.request = request
        request.taken.append(self.message)
        self.asked.set()
        try:
            if not self._answers:
                await sleep_forever()
            if self._error is not None:
                raise self._error
            return Response({"shadow": 1}, messages=[self.message])
        finally:
            self.ended.set()


async def answer(request: Request) -> Response:
    request.params["Id"] = "changed"
    return Response({"a": 1})


def request() -> Request:
    return Request("POST", "/a", {"Id": "7"}, [(b"a", b"b")], b"q=1", b"body")


async def test_a_shadow_gets_a_copy_and_its_message_goes_back() -> None:
    shadows, shadow = Shadows(), Shadow()
    async with shadows.opened():
        asked = request()
        pipe = shadowed(Branch(answer, reads_body=False), Branch(shadow.ask), shadows, lambda: 9.0)
        response = await coroutine_of(pipe)(asked)
        with fail_after(5):
            await shadow.ended.wait()
    assert response.data == {"a": 1}
    assert asked.taken == []
    assert shadow.message.end == "given back"
    copy = shadow.request
    assert copy is not None
    assert (asked.deadline, copy.deadline) == (NO_DEADLINE, 9.0)
    assert (copy.method, copy.path, copy.params) == ("POST", "/a", {"Id": "7"})
    assert (copy.headers, copy.query_string, copy.body) == ([(b"a", b"b")], b"q=1", b"body")
    assert pipe.reads_body


async def test_no_request_waits_for_a_shadow_and_closing_cancels_it() -> None:
    shadows, shadow = Shadows(), Shadow(answers=False)
    with fail_after(5):
        async with shadows.opened():
            pipe = shadowed(Branch(answer), Branch(shadow.ask), shadows, lambda: 9.0)
            await coroutine_of(pipe)(request())
            await shadow.asked.wait()
            assert shadows.readiness()["running"] == 1
    assert shadow.ended.is_set()
    assert shadow.message.end == "given back"
    assert shadows.readiness() == {"kind": "shadows", "ready": True, "running": 0, "left_out": 0}


@pytest.mark.parametrize("error", [GatewayError("no"), ZeroDivisionError()])
async def test_the_error_of_a_shadow_affects_no_other_request(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    shadows, shadow, next_one = Shadows(), Shadow(error), Shadow()
    with caplog.at_level(logging.ERROR):
        async with shadows.opened():
            for each in (shadow, next_one):
                pipe = shadowed(Branch(answer), Branch(each.ask), shadows, lambda: 9.0)
                await coroutine_of(pipe)(request())
                with fail_after(5):
                    await each.ended.wait()
    assert bool(caplog.records) == isinstance(error, ZeroDivisionError)


async def test_too_many_shadows_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_CONCURRENT_SHADOWS", 1)
    shadows, shadow, left_out = Shadows(), Shadow(answers=False), Shadow()
    with fail_after(5):
        async with shadows.opened():
            for each in (shadow, left_out):
                pipe = shadowed(Branch(answer), Branch(each.ask), shadows, lambda: 9.0)
                assert (await coroutine_of(pipe)(request())).data == {"a": 1}
            await shadow.asked.wait()
            assert shadows.readiness()["left_out"] == 1
    assert left_out.request is None
