"""The last head on a connection: a request that begins with the same bytes is not parsed again.

A head is the request line and the headers. Most clients send the same head with each request. The
parser has read exactly these bytes once, and its result depends on nothing else. Where each head is
different, a request costs 3 us more (docs/performance-history.md).
"""

from __future__ import annotations

from typing import NamedTuple

from ...core.asgi import Headers, Scope
from ...core.direct import DirectHead

END = b"\r\n\r\n"
MAX_HEAD_BYTES = 4096
"""Bytes of a head that is kept."""

MAX_REPLACED_HEADS = 16
"""Heads that a connection keeps one after the other. Beyond that the heads of this client differ,
and none is kept any more."""


class CachedHead(NamedTuple):
    """``size``: bytes of the head and of the body that it announces.

    ``scope``: the parser's result. Each request gets a copy of it. ``direct``: handles requests
    with this head without a task, if they need none.
    """

    head: bytes
    size: int
    scope: Scope
    direct: DirectHead | None = None


def cacheable_head(
    data: bytes,
    scope: Scope,
    headers: Headers,
    content_length: int,
    direct: DirectHead | None = None,
) -> CachedHead | None:
    """The head at the beginning of ``data``. The parser has just read it, and nothing else.

    ``scope``, ``headers``: the parser's result. None when the parser may have seen the end of the
    head at another place, or when the body does not only depend on the head.
    """
    end = data.find(END) + len(END)
    head = data[:end]
    is_plain = (
        len(END) < end <= MAX_HEAD_BYTES
        and head[:1].isalpha()  # no empty line before it
        and head.count(b"\n") == head.count(b"\r\n")
        and all(name != b"transfer-encoding" for name, _ in headers)
    )
    if not is_plain:
        return None
    kept = {**scope, "headers": tuple(headers)}
    return CachedHead(head, end + content_length, kept, direct)
