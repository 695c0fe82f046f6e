"""The shapes of ASGI, as far as they are used here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

Scope: TypeAlias = dict[str, Any]
Message: TypeAlias = dict[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
ASGIApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers: TypeAlias = Sequence[tuple[bytes, bytes]]


NO_LENGTH = (204, 304)
"""Statuses of answers that have no body (RFC 9110, 8.6)."""


class Answer(NamedTuple):
    """A whole answer: status, headers in lower case, body.

    ``content-length`` is told where it is sent. Headers that are always the same are a tuple: our
    server encodes it once.
    """

    status: int
    headers: Headers
    body: bytes = b""


async def send_answer(send: Send, answer: Answer) -> None:
    """Send a whole answer: by one call where the server offers that, else as ASGI has it.

    Our uvicorn protocol offers it (``send_whole`` of what ``send`` is bound to): two coroutines and
    two dictionaries less for each request. Whoever has wrapped ``send`` gets the messages.
    """
    status, headers, body = answer
    whole = getattr(getattr(send, "__self__", None), "send_whole", None)
    if whole is not None and whole(status, headers, body):
        return
    if status not in NO_LENGTH and not any(name == b"content-length" for name, _ in headers):
        headers = [*headers, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def text(status: int, message: str, *headers: tuple[bytes, bytes], charset: bool = True) -> Answer:
    """A text answer; without one, an answer without a body."""
    body = message.encode()
    content_type = b"text/plain; charset=utf-8" if charset else b"text/plain"
    typed = [(b"content-type", content_type)] if body else []
    return Answer(status, (*headers, *typed), body)
