"""Requests to a backend: their head as bytes, and the request after a redirect. Pure.

``head``: the request line and the headers.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import urljoin

from ..core.asgi import find_header
from ..core.proxy import Request
from ..errors import BackendFailure
from .connection import Headers, HttpResponse
from .responses import HOP_BY_HOP
from .targets import Host, hide_query, parse_url

UNSENT_HEADERS = HOP_BY_HOP | {b"host", b"expect"}
"""Headers that are written for each connection anew, or not at all."""

METHODS_WITH_BODY = ("POST", "PUT", "PATCH")
"""Requests with these methods have a ``Content-Length``, also of 0 (RFC 9110, 8.6)."""

REDIRECT_STATUSES = (301, 302, 303, 307, 308)
METHOD_KEEPING_STATUSES = (307, 308)
HTTPS_TO_HTTP = ("https", "http")
BODY_HEADERS = (b"content-encoding", b"content-language", b"content-location", b"content-type")
"""Left out when the body is not sent again (Go, net/http, makeHeadersCopier)."""
CREDENTIAL_HEADERS = (b"authorization", b"www-authenticate", b"cookie", b"cookie2")

_NOT_ASCII = re.compile(rb"[\x80-\xff]")


class BackendRequest(NamedTuple):
    """A request to a backend. ``target``: path and query, encoded. ``referer``: after a redirect,
    the URL before. ``cause``: the request of the endpoint; None: the gateway asks for itself."""

    method: str
    host: Host
    target: str
    headers: Headers
    body: bytes
    referer: str = ""
    cause: Request | None = None

    @property
    def url(self) -> str:
        """Without credentials."""
        return self.host.show(self.target)


def write_head(outgoing: BackendRequest, fixed: bytes) -> bytes:
    """Request line and headers, with the empty line. ``fixed``: the last lines of every request.

    Raises :class:`BackendFailure` when a value contains a line break or NUL.
    """
    method, host, target, headers, body, referer, _ = outgoing
    lines = [
        f"{method} {target} HTTP/1.1\r\nHost: {host.host_header or host.origin.authority}".encode()
    ]
    for name, value in headers:
        if name not in UNSENT_HEADERS:
            lines.append(name.title() + b": " + value)
    if referer:
        lines.append(b"Referer: " + referer.encode())
    if body or method in METHODS_WITH_BODY:
        lines.append(b"Content-Length: %d" % len(body))
    head = b"\r\n".join(lines)
    if head.count(b"\n") != len(lines) or head.count(b"\r") != len(lines) or head.find(b"\0") >= 0:
        raise BackendFailure("invalid header field value")
    return head + fixed


def redirected(
    outgoing: BackendRequest, response: HttpResponse, resends_body: bool
) -> BackendRequest | None:
    """The request after a redirect; None: the response is not a redirect that is followed.

    The rules are those of Go's client. Raises :class:`BackendFailure` for a location that is
    not a URL of HTTP.
    """
    if response.status not in REDIRECT_STATUSES:
        return None
    location = _NOT_ASCII.sub(_escaped, find_header(response.headers, b"location")).decode()
    if not location:
        return None
    method, host, _, headers, body, _, cause = outgoing
    if response.status not in METHOD_KEEPING_STATUSES:
        body = b""
        headers = [header for header in headers if header[0] not in BODY_HEADERS]
        if method != "HEAD":
            method = "GET"
    elif body and not resends_body:
        return None
    try:
        new_host, new_target = parse_url(urljoin(outgoing.url, location))
    except ValueError as error:
        raise BackendFailure(f"redirect of {hide_query(outgoing.url)}: {error}") from error
    headers = [header for header in headers if not _is_withheld(header[0], host, new_host)]
    has_none = (
        find_header(headers, b"referer")
        or (host.origin.scheme, new_host.origin.scheme) == HTTPS_TO_HTTP
    )
    return BackendRequest(
        method, new_host, new_target, headers, body, "" if has_none else outgoing.url, cause
    )


def _escaped(byte: re.Match[bytes]) -> bytes:
    return b"%%%02X" % byte[0][0]


def _is_withheld(name: bytes, host: Host, new_host: Host) -> bool:
    """Credentials are only sent to the host that they are for, and to its subdomains."""
    old, new = host.origin.host, new_host.origin.host
    return name in CREDENTIAL_HEADERS and new != old and not new.endswith("." + old)
