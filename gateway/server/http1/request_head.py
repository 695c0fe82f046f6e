"""What is allowed in the request line and the headers of a request, on every server. Pure.

A request that a proxy in front of the gateway could understand in another way is refused: two
readings of one message make request smuggling possible.
"""

from __future__ import annotations

import re

from ...core.asgi import Headers
from ..settings import Limits

MAX_FIELDS = 1_000
"""Header fields of a request (Node.js: 2000, Apache httpd: 100). Each costs some microseconds."""

MAX_TARGET = 64 * 1024
"""Bytes of a target: each ``%`` in it is decoded, and it is divided at each slash."""
MAX_PARTS = 2_000
"""Commas, semicolons and ampersands in a whole head. They divide lists, cookies and the query."""

TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
TARGET = re.compile(rb"/[\x21-\x7e]*|\*")
"""A path and a query, or ``*`` for the server itself (RFC 9112, 3.2)."""
REQUEST_LINE = re.compile(TOKEN.pattern + rb" [^ ]+ HTTP/(?:1\.[01]|([0-9]\.[0-9]))")
"""RFC 9112, 3. The group is a version that the server does not speak."""
_HOST = re.compile(rb"[0-9A-Za-z!$%&'()*+.:;=\[\]_~-]*")
"""As in Go, but without the comma: a proxy may have joined two hosts by it."""
_LENGTH = re.compile(rb"[0-9]{1,18}")
_UPGRADE = re.compile(rb"\nupgrade:[^\n]*", re.IGNORECASE)


def line_refusal(line: bytes) -> int:
    """The status that refuses a request line; 0: it is valid."""
    found = REQUEST_LINE.fullmatch(line)
    if found is None:
        return 400
    return 505 if found[1] else 0


def refusal(headers: Headers, version: str, limits: Limits) -> int:
    """The status that refuses a request with these headers (names in lower case); 0: valid.

    ``version``: of HTTP, as ASGI writes it.
    """
    if len(headers) > MAX_FIELDS:
        return 431
    hosts = codings = 0
    for name, value in headers:
        if name == b"host":
            hosts += 1
            if not is_host(value):
                return 400
        elif name == b"transfer-encoding":
            codings += 1
            if version == "1.0":  # RFC 9112, 6.1
                return 400
            if codings > 1 or value.lower() != b"chunked":  # as Go: no other is implemented
                return 501
        elif name == b"content-length":
            if not _LENGTH.fullmatch(value):
                return 400
            if int(value) > limits.body_bytes:
                return 413
    if hosts != 1 and (hosts or version == "1.1"):  # RFC 9112, 3.2
        return 400
    return 0


def has_many_parts(head: bytes) -> bool:
    """More than MAX_PARTS. Each of them may cost some microseconds where the head is used."""
    return head.count(b",") + head.count(b";") + head.count(b"&") > MAX_PARTS


def host_of(target: bytes) -> bytes | None:
    """The host of a target that is a whole URL. It replaces the header (RFC 9112, 3.2.2)."""
    scheme, separator, rest = target.partition(b"://")
    if not separator or not scheme.isalpha():
        return None
    return rest.split(b"/", 1)[0].split(b"?", 1)[0].rpartition(b"@")[2]


def path_of(target: bytes) -> bytes:
    """Path and query of a whole URL."""
    _, _, rest = target.partition(b"://")
    at = re.search(rb"[/?]", rest)
    path = rest[at.start() :] if at else b""
    return path if path.startswith(b"/") else b"/" + path


def is_host(value: bytes) -> bool:
    return _HOST.fullmatch(value) is not None


def without_upgrade(head: bytes) -> bytes:
    """The head without ``Upgrade``: a server may ignore it (RFC 9110, 7.8)."""
    return _UPGRADE.sub(b"", head)
