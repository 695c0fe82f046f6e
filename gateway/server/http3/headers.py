"""Headers of HTTP/3: those of a request for ASGI, those of a response for QPACK. Pure."""

from __future__ import annotations

import re
from email.utils import formatdate
from functools import lru_cache
from urllib.parse import unquote

from ...core.asgi import Headers, Scope
from ..http1.request_head import TOKEN, has_many_parts, refusal
from ..settings import Limits

_TARGET = re.compile(rb"(?:/[^\x00-\x20\x7f]*|\*)")
_FORBIDDEN = re.compile(rb"[\x00\r\n]")
_CONNECTION_HEADERS = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade")
)
"""Forbidden in HTTP/3 (RFC 9114, 4.2); a backend may have sent some."""

MAX_HEADER_BYTES = 64 * 1024
"""Bytes of headers, also where the limit is higher. With compression a client sends them in a few
bytes, and each header has to be checked."""


def header_limit(limits: Limits) -> int:
    return min(limits.header_bytes, MAX_HEADER_BYTES)


def request_scope(
    fields: Headers, limits: Limits, client: tuple[object, ...], server: tuple[str, int]
) -> Scope | int:
    """The scope of a request, or the status that refuses it. ``fields``: valid in themselves."""
    pseudo = {name: value for name, value in fields if name.startswith(b":")}
    method, target = pseudo[b":method"], pseudo.get(b":path", b"").replace(b"#", b"%23")
    if b":protocol" in pseudo or method == b"CONNECT":
        return 405
    host = pseudo[b":authority"]
    headers = [(b"host", host)]
    cookies = []
    for name, value in fields:
        if name == b"cookie":
            cookies.append(value)
        elif name == b"host":
            if value != host:  # RFC 9114, 4.3.1
                return 400
        elif not name.startswith(b":"):
            headers.append((name, value))
    if cookies:  # a client may divide it (RFC 9114, 4.2.1)
        headers.append((b"cookie", b"; ".join(cookies)))
    if status := refusal(headers, "3", limits):
        return status
    if has_many_parts(b"".join([target, *[value for _, value in headers]])):
        return 431
    if not TOKEN.fullmatch(method) or not _TARGET.fullmatch(target):
        return 400
    raw_path, _, query = target.partition(b"?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "3",
        "server": server,
        "client": client,
        "scheme": "https",
        "root_path": "",
        "headers": headers,
        "method": method.decode(),
        "path": unquote(raw_path.decode("latin-1")),
        "raw_path": raw_path,
        "query_string": query,
    }


def response_fields(status: int, headers: Headers, now: float) -> list[tuple[bytes, bytes]]:
    """The fields of a response. ``now``: seconds since 1970."""
    fields = [(b":status", b"%d" % status), (b"date", _date(int(now)))]
    for name, value in headers:
        if _FORBIDDEN.search(value) or _FORBIDDEN.search(name):
            raise RuntimeError("a header with a line break")
        if name not in _CONNECTION_HEADERS:
            fields.append((name.lower(), value))
    return fields


@lru_cache(2)
def _date(second: int) -> bytes:
    return formatdate(second, usegmt=True).encode()
