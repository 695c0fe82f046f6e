"""A request to a backend and its response, which modifiers change in place. Pure."""

from __future__ import annotations

from typing import TypeAlias
from urllib.parse import quote, unquote

from ...errors import BackendFailure
from ...http.connection import Headers, HttpResponse
from ...http.request_head import BackendRequest
from ...http.targets import IN_PATH, Host, hide_query, parse_host

Pairs: TypeAlias = list[tuple[bytes, bytes]]

FRAMING_HEADERS = (b"content-length", b"transfer-encoding")
"""Headers that the connection sets: no modifier adds them."""


class MartianMessage:
    """``headers``: names in lower case, values as received."""

    __slots__ = ("body", "headers")

    def __init__(self, headers: Headers, body: bytes) -> None:
        self.headers: Pairs = list(headers)
        self.body = body

    def get(self, name: bytes) -> bytes:
        """The first value; b"" without one."""
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
        if name not in FRAMING_HEADERS:
            self.headers.append((name, value))

    def remove(self, name: bytes) -> None:
        self.headers = [pair for pair in self.headers if pair[0] != name]


class MartianRequest(MartianMessage):
    """``authority``: the address that is called; ``host_header``: the value of ``Host``, which does
    not follow a changed ``authority``, as in Go. ``target``, ``query``: encoded.
    ``calls_backend``: False if the gateway itself makes the response.
    """

    __slots__ = (
        "_outgoing",
        "authority",
        "calls_backend",
        "host_header",
        "query",
        "scheme",
        "target",
    )

    def __init__(self, outgoing: BackendRequest) -> None:
        super().__init__(outgoing.headers, outgoing.body)
        self._outgoing = outgoing
        origin = outgoing.host.origin
        self.scheme, self.authority = origin.scheme, origin.authority
        self.host_header = origin.authority
        self.calls_backend = True
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
        return self.host_header.encode() if name == b"host" else super().get(name)

    def get_all(self, name: bytes) -> list[bytes]:
        if name == b"host":
            return [self.host_header.encode()] if self.host_header else []
        return super().get_all(name)

    def add(self, name: bytes, value: bytes) -> None:
        if name == b"host":
            if self.host_header:
                raise BackendFailure("illegal header multiple: Host")
            self.host_header = value.decode("latin-1")
        else:
            super().add(name, value)

    def remove(self, name: bytes) -> None:
        if name == b"host":
            self.host_header = ""
        else:
            super().remove(name)

    def to_backend_request(self) -> BackendRequest:
        """Raises :class:`BackendFailure` if the address is not valid."""
        target = f"{self.target}?{self.query}" if self.query else self.target
        return self._outgoing._replace(
            host=self._host(), target=target, headers=self.headers, body=self.body
        )

    def _host(self) -> Host:
        host = self._outgoing.host
        if (self.scheme, self.authority) != (host.origin.scheme, host.origin.authority):
            try:
                host = parse_host(f"{self.scheme}://{self.authority}")
            except ValueError as error:
                raise BackendFailure(f"{hide_query(self.url)}: {error}") from error
        if self.host_header in ("", host.origin.authority):
            return host
        return host._replace(host_header=self.host_header)


class MartianResponse(MartianMessage):
    """``request``: as it was sent."""

    __slots__ = ("_response", "request", "status")

    def __init__(self, response: HttpResponse, request: MartianRequest) -> None:
        super().__init__(response.headers, response.body)
        self._response = response
        self.request = request
        self.status = response.status

    def to_http_response(self) -> HttpResponse:
        before = self._response
        is_whole = before.is_whole or self.body is not before.body
        return HttpResponse(self.status, self.headers, self.body, is_whole, before.url)
