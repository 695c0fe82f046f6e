"""A request to a backend and its answer, to be changed in place. Pure."""

from __future__ import annotations

from typing import TypeAlias
from urllib.parse import quote, unquote

from ...errors import BackendFailure
from ...http.connection import Headers, HttpResponse
from ...http.request_head import BackendRequest
from ...http.targets import IN_PATH, Host, hide_query, parse_host

Pairs: TypeAlias = list[tuple[bytes, bytes]]

UNTOLD = (b"content-length", b"transfer-encoding")
"""Of the connection: nobody chooses them."""


class MartianMessage:
    """``headers``: names in lower case, values as they came."""

    __slots__ = ("body", "headers")

    def __init__(self, headers: Headers, body: bytes) -> None:
        self.headers: Pairs = list(headers)
        self.body = body

    def get(self, name: bytes) -> bytes:
        """The first value; b"" when there is none."""
        for each, value in self.headers:
            if each == name:
                return value
        return b""

    def get_all(self, name: bytes) -> list[bytes]:
        return [value for each, value in self.headers if each == name]

    def set(self, name: bytes, value: bytes) -> None:
        self.remove(name)
        self.add(name, value)

    def add(self, name: bytes, value: bytes) -> None:
        if name not in UNTOLD:
            self.headers.append((name, value))

    def remove(self, name: bytes) -> None:
        self.headers = [pair for pair in self.headers if pair[0] != name]


class Sent(MartianMessage):
    """A request. ``authority``: where it goes to; ``told_host``: what its ``Host`` says, which
    stays the first one when another host is asked, as in Go. ``target``, ``query``: encoded.
    ``is_asked``: the backend is, for an answer of its own.
    """

    __slots__ = ("_outgoing", "authority", "is_asked", "query", "scheme", "target", "told_host")

    def __init__(self, outgoing: BackendRequest) -> None:
        super().__init__(outgoing.headers, outgoing.body)
        self._outgoing = outgoing
        origin = outgoing.host.origin
        self.scheme, self.authority = origin.scheme, origin.authority
        self.told_host = origin.authority
        self.is_asked = True
        self.target, _, self.query = outgoing.target.partition("?")

    @property
    def path(self) -> str:
        """Decoded."""
        return unquote(self.target)

    @path.setter
    def path(self, path: str) -> None:
        self.target = quote("/" + path.removeprefix("/"), safe=IN_PATH)

    @property
    def url(self) -> str:
        """Without credentials."""
        query = f"?{self.query}" if self.query else ""
        return f"{self.scheme}://{self.authority}{self.target}{query}"

    def get(self, name: bytes) -> bytes:
        return self.told_host.encode() if name == b"host" else super().get(name)

    def get_all(self, name: bytes) -> list[bytes]:
        if name == b"host":
            return [self.told_host.encode()] if self.told_host else []
        return super().get_all(name)

    def add(self, name: bytes, value: bytes) -> None:
        if name == b"host":
            if self.told_host:
                raise BackendFailure("illegal header multiple: Host")
            self.told_host = value.decode("latin-1")
        else:
            super().add(name, value)

    def remove(self, name: bytes) -> None:
        if name == b"host":
            self.told_host = ""
        else:
            super().remove(name)

    def outgoing(self) -> BackendRequest:
        """What is sent now. Raises :class:`BackendFailure` when nobody is there to be asked."""
        target = f"{self.target}?{self.query}" if self.query else self.target
        before = self._outgoing
        return BackendRequest(before.method, self._host(), target, self.headers, self.body)

    def _host(self) -> Host:
        host = self._outgoing.host
        if (self.scheme, self.authority) != (host.origin.scheme, host.origin.authority):
            try:
                host = parse_host(f"{self.scheme}://{self.authority}")
            except ValueError as error:
                raise BackendFailure(f"{hide_query(self.url)}: {error}") from error
        if self.told_host in ("", host.origin.authority):
            return host
        return host._replace(host_header=self.told_host)


class Answered(MartianMessage):
    """An answer. ``sent``: the request that it answers, as it was sent."""

    __slots__ = ("_answer", "sent", "status")

    def __init__(self, answer: HttpResponse, sent: Sent) -> None:
        super().__init__(answer.headers, answer.body)
        self._answer = answer
        self.sent = sent
        self.status = answer.status

    def answer(self) -> HttpResponse:
        """What it is taken for now."""
        before = self._answer
        is_whole = before.is_whole or self.body is not before.body
        return HttpResponse(self.status, self.headers, self.body, is_whole, before.url)
