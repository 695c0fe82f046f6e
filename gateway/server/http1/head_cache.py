"""A head that has come before on the same connection, so that it need not be parsed again.

Most clients say the same in the head of each request. A head is known by its bytes: the parser has
read exactly these, from the first one of a message on, and would say the same of them again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

END = b"\r\n\r\n"
MAX_HEAD_BYTES = 4096
"""Bytes of a head that is kept."""

MAX_REPLACED_HEADS = 16
"""Heads that are kept one after the other on a connection: then it is one where they differ."""


class CachedHead(NamedTuple):
    """``head``: its bytes; ``size``: with those of the body; ``scope``: what the parser made of it,
    to be copied."""

    head: bytes
    size: int
    scope: dict[str, Any]


def know(
    data: bytes, scope: dict[str, Any], headers: Sequence[tuple[bytes, bytes]], length: int
) -> CachedHead | None:
    """The head at the beginning of ``data``, which the parser has just read as the only one in it.

    ``scope``, ``headers``: what it said; ``length``: of the body, as it was announced. None when
    the parser may have seen its end elsewhere, or more than the head decides.
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
    kept = {name: value for name, value in scope.items() if name != "extensions"}
    kept["headers"] = tuple(headers)
    return CachedHead(head, end + length, kept)
