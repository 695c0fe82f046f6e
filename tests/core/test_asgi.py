"""Whole answers, on any server."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from gateway.core.asgi import AsgiResponse, Message, send_answer

pytestmark = pytest.mark.anyio


class Server:
    """``takes``: what it says to a whole answer."""

    def __init__(self, takes: bool) -> None:
        self.takes = takes
        self.messages: list[Message] = []
        self.answers: list[AsgiResponse] = []

    async def send(self, message: Message) -> None:
        self.messages.append(message)

    def send_whole(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> bool:
        if self.takes:
            self.answers.append(AsgiResponse(status, headers, body))
        return self.takes


@pytest.mark.parametrize("status", [200, 404])
async def test_the_length_of_an_answer_is_told(status: int) -> None:
    server = Server(takes=False)
    await send_answer(server.send, AsgiResponse(status, ((b"a", b"b"),), b"text"))
    head, body = server.messages
    assert list(head["headers"]) == [(b"a", b"b"), (b"content-length", b"4")]
    assert (head["status"], body["body"]) == (status, b"text")


@pytest.mark.parametrize("status", [204, 304])
async def test_an_answer_that_has_no_body_has_no_length(status: int) -> None:
    server = Server(takes=False)
    await send_answer(server.send, AsgiResponse(status, ()))
    assert list(server.messages[0]["headers"]) == []


async def test_a_length_that_is_told_already_stays() -> None:
    server = Server(takes=False)
    await send_answer(server.send, AsgiResponse(200, ((b"content-length", b"9"),)))
    assert list(server.messages[0]["headers"]) == [(b"content-length", b"9")]


async def test_a_server_that_takes_whole_answers_gets_no_messages() -> None:
    server = Server(takes=True)
    answer = AsgiResponse(200, (), b"text")
    await send_answer(server.send, answer)
    assert (server.answers, server.messages) == ([answer], [])


async def test_whoever_has_wrapped_send_gets_the_messages() -> None:
    server, seen = Server(takes=True), []

    async def send(message: Message) -> None:
        seen.append(message["type"])
        await server.send(message)

    await send_answer(send, AsgiResponse(200, (), b"text"))
    assert seen == ["http.response.start", "http.response.body"]
    assert server.answers == []
