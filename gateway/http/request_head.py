"""Requests to a backend: their heads as bytes, and where a redirect leads. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import urljoin

from ..errors import BackendFailure
from .connection import Headers, HttpResponse
from .responses import HOP_BY_HOP, find
from .targets import Host, hide_query, parse_url

UNSENT = HOP_BY_HOP | {b"host", b"expect"}
"""What is said anew for each connection, or not at all."""

HAS_BODY = ("POST", "PUT", "PATCH")
"""Their requests tell a length, also of nothing (RFC 9110, 8.6)."""

REDIRECTS = (301, 302, 303, 307, 308)
KEEPS_METHOD = (307, 308)
DOWN = ("https", "http")
OF_BODY = (b"content-encoding", b"content-language", b"content-location", b"content-type")
"""What goes with a body that is not sent again (Go, net/http, makeHeadersCopier)."""
SECRETS = (b"authorization", b"www-authenticate", b"cookie", b"cookie2")

_NOT_ASCII = re.compile(rb"[\x80-\xff]")


class BackendRequest(NamedTuple):
    """A request to a backend. ``target``: path and query, encoded. ``referer``: after a redirect,
    where it came from."""

    method: str
    host: Host
    target: str
    headers: Headers
    body: bytes
    referer: str = ""

    @property
    def url(self) -> str:
        """Without credentials."""
        return self.host.show(self.target)


def write_head(outgoing: BackendRequest, fixed: bytes) -> bytes:
    """The head with its empty line. ``fixed``: lines that every request of the gateway has.

    Raises :class:`BackendFailure` when a value would begin a line of its own.
    """
    method, host, target, headers, body, referer = outgoing
    lines = [f"{method} {target} HTTP/1.1\r\nHost: {host.told or host.origin.authority}".encode()]
    for name, value in headers:
        if name not in UNSENT:
            lines.append(name.title() + b": " + value)
    if referer:
        lines.append(b"Referer: " + referer.encode())
    if body or method in HAS_BODY:
        lines.append(b"Content-Length: %d" % len(body))
    head = b"\r\n".join(lines)
    if head.count(b"\n") != len(lines) or head.count(b"\r") != len(lines) or head.find(b"\0") >= 0:
        raise BackendFailure("invalid header field value")
    return head + fixed


def redirected(
    outgoing: BackendRequest, answer: HttpResponse, resends_body: bool
) -> BackendRequest | None:
    """The request that a redirect asks for; None when it is not to be followed.

    The rules are those of Go's client. Raises :class:`BackendFailure` for a location that is
    no URL of HTTP.
    """
    if answer.status not in REDIRECTS:
        return None
    location = _NOT_ASCII.sub(_escaped, find(answer.headers, b"location")).decode()
    if not location:
        return None
    method, host, _, headers, body, _ = outgoing
    if answer.status not in KEEPS_METHOD:
        body = b""
        headers = [header for header in headers if header[0] not in OF_BODY]
        if method != "HEAD":
            method = "GET"
    elif body and not resends_body:
        return None
    try:
        new_host, new_target = parse_url(urljoin(outgoing.url, location))
    except ValueError as error:
        raise BackendFailure(f"redirect of {hide_query(outgoing.url)}: {error}") from error
    headers = [header for header in headers if not _stays_behind(header[0], host, new_host)]
    told = find(headers, b"referer") or (host.origin.scheme, new_host.origin.scheme) == DOWN
    return BackendRequest(method, new_host, new_target, headers, body, "" if told else outgoing.url)


def _escaped(byte: re.Match[bytes]) -> bytes:
    return b"%%%02X" % byte[0][0]


def _stays_behind(name: bytes, host: Host, new_host: Host) -> bool:
    """Credentials are for the host they were meant for, and those below it."""
    old, new = host.origin.host, new_host.origin.host
    return name in SECRETS and new != old and not new.endswith("." + old)
