"""Heads of HTTP/3: a request's as ASGI has it, an answer's as QPACK takes it. Pure."""

from __future__ import annotations

import re
from email.utils import formatdate
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

from ...core.asgi import Headers, Scope
from ..http1.request_head import TOKEN, has_many_parts, refusal
from ..settings import Limits

_TARGET = re.compile(rb"(?:/[^\x00-\x20\x7f]*|\*)")
_FORBIDDEN = re.compile(rb"[\x00\r\n]")
_OF_CONNECTIONS = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade")
)
"""HTTP/3 refuses them (RFC 9114, 4.2); a backend may have sent some."""

MAX_HEADERS = 64 * 1024
"""Bytes, whatever the limit: a client may write one in a few bytes, and each is looked through."""


def header_limit(limits: Limits) -> int:
    return min(limits.header_bytes, MAX_HEADERS)


def request_scope(
    fields: Headers, limits: Limits, client: Any, server: tuple[str, int]
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
    if cookies:  # it may come in crumbs (RFC 9114, 4.2.1)
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


def answer_fields(status: int, headers: Headers, now: float) -> list[tuple[bytes, bytes]]:
    """What is sent as the head of an answer. ``now``: seconds since 1970."""
    fields = [(b":status", b"%d" % status), (b"date", _date(int(now)))]
    for name, value in headers:
        if _FORBIDDEN.search(value) or _FORBIDDEN.search(name):
            raise RuntimeError("a header with a line break")
        if name not in _OF_CONNECTIONS:
            fields.append((name.lower(), value))
    return fields


@lru_cache(2)
def _date(second: int) -> bytes:
    return formatdate(second, usegmt=True).encode()
