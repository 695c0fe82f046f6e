"""The target of a request line, divided into path and query."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote

import httptools

MAX_KEPT_TARGET_BYTES = 512
"""Bytes of a target that is kept, divided, for the next request with the same target."""


class RequestTarget(NamedTuple):
    """What ASGI says of a target. ``path`` is decoded."""

    path: str
    raw_path: bytes
    query: bytes


def parse_target(target: bytes) -> RequestTarget:
    if b"#" in target:  # clients send no fragment: a "#" belongs to the path or to the query
        target = target.replace(b"#", b"%23")
    url = httptools.parse_url(target)
    raw_path = url.path or b"/"  # a whole URL may have no path
    path = raw_path.decode("latin-1")
    return RequestTarget(unquote(path) if "%" in path else path, raw_path, url.query or b"")


parse_target_cached = lru_cache(1024)(parse_target)
"""For targets of at most MAX_KEPT_TARGET_BYTES."""
