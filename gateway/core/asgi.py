"""The types of ASGI, as far as the gateway uses them."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Container, Sequence
from typing import Any, NamedTuple, TypeAlias

Scope: TypeAlias = dict[str, Any]
Message: TypeAlias = dict[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
ASGIApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
Handler: TypeAlias = Callable[[Scope, Receive, Send, dict[str, str]], Awaitable[None]]
"""Handles the requests of a route. The last argument: the parameters of the path."""
Headers: TypeAlias = Sequence[tuple[bytes, bytes]]

TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
"""Methods, and the names of headers and cookies (RFC 9110, 5.6.2)."""


STATUSES = range(200, 1000)
"""Statuses that a response can have. Lower ones are interim responses (1xx)."""

NO_LENGTH = (204, 304)
"""Statuses of responses without a body (RFC 9110, 8.6)."""


class AsgiResponse(NamedTuple):
    """A whole response: status, headers with names in lower case, body.

    ``content-length`` is added when it is sent. Headers that are always the same are a tuple: our
    server encodes a tuple once.
    """

    status: int
    headers: Headers
    body: bytes = b""


async def send_answer(send: Send, answer: AsgiResponse) -> None:
    """Send a whole response: by one call if the server offers that, else by two ASGI messages.

    Our HTTP/1.1 server offers it (``send_whole`` of the object that ``send`` is bound to): two
    coroutines and two dictionaries less for each request. A ``send`` that is wrapped by a layer of
    another kind gets the messages.
    """
    status, headers, body = answer
    whole = getattr(getattr(send, "__self__", None), "send_whole", None)
    if whole is not None and whole(status, headers, body):
        return
    if status not in NO_LENGTH and not any(name == b"content-length" for name, _ in headers):
        headers = [*headers, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def text(
    status: int, message: str, *headers: tuple[bytes, bytes], charset: bool = True
) -> AsgiResponse:
    """A response of plain text; without a body if ``message`` is empty."""
    body = message.encode()
    content_type = b"text/plain; charset=utf-8" if charset else b"text/plain"
    typed = [(b"content-type", content_type)] if body else []
    return AsgiResponse(status, (*headers, *typed), body)


def find_header(headers: Headers, name: bytes) -> bytes:
    """The first value of a header, empty if there is none. ``name``: in lower case."""
    for each, value in headers:
        if each == name:
            return value
    return b""


def header_value(text: str) -> bytes:
    """A string of the configuration as the value of a header: on one line."""
    return " ".join(text.split()).encode()


class AddedHeaders(NamedTuple):
    """Headers for a response. Headers of the response with a name in ``replaced`` are removed.

    A tuple of headers is a constant of the configuration, and has none of them.
    """

    headers: Headers
    replaced: Container[bytes] = ()

    def around(self, answered: Headers) -> Headers:
        """The added headers, then those of the response."""
        headers, replaced = self
        if type(answered) is tuple and type(headers) is tuple:
            return headers + answered
        return [*headers, *[each for each in answered if each[0] not in replaced]]


def with_headers(send: Send, added: AddedHeaders) -> Send:
    """A ``send`` that adds headers to the response."""
    return _WithHeaders(send, added).send


class _WithHeaders:
    """Also offers ``send_whole`` if the wrapped ``send`` does."""

    __slots__ = ("_added", "_send", "_whole")

    def __init__(self, send: Send, added: AddedHeaders) -> None:
        self._send = send
        self._added = added
        self._whole = getattr(getattr(send, "__self__", None), "send_whole", None)

    def send_whole(self, status: int, headers: Headers, body: bytes) -> bool:
        whole = self._whole
        return whole is not None and bool(whole(status, self._added.around(headers), body))

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": self._added.around(message["headers"])}
        await self._send(message)
