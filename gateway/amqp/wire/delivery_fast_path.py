"""Deliveries that lie in the bytes as one before them did, so that one look reads each. Pure.

What a queue delivers differs in tag, values and body; what stands around these, and how long
route and properties are, mostly stays.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import lru_cache
from struct import Struct as Layout
from typing import Any, NamedTuple, TypeAlias

from .frame import BODY, CONTENT_HEAD, FRAME_END, HEADER

Message: TypeAlias = tuple[int, bool, bytes, bytes, bytes]
"""One that was delivered: tag, redelivered, route (exchange and routing key as two short strings),
properties (flags and values), body."""

CONSUMER_TAG = 11
"""Where its short string begins: behind the head of the frame and the method's name."""

TAG_AND_FLAG = 9
"""Bytes of the delivery tag and of "redelivered"; the route is behind them."""

JOINT = 12
"""Bytes between route and content: the method's end octet, the head of the header frame, class,
weight."""

BODY_HEAD = 4
"""Bytes between properties and the size of the body frame: the header's end octet, type, channel.
"""

_header_frame = Layout(">BB2sI4x").unpack


class Shape(NamedTuple):
    """A delivery whose body is one frame.

    ``begin``: its bytes up to the delivery tag. ``size``: of everything before the body.
    ``unpack``: ``begin``, delivery tag, redelivered, route, joint, size of the body as the header
    has it, properties, head of the body frame, its size. ``joint``, ``body_head``: as they are in
    this one.
    """

    begin: bytes
    size: int
    unpack: Callable[[bytes, int], tuple[Any, ...]]
    joint: bytes
    body_head: bytes
    channel: int


NO_SHAPE = Shape(b"", sys.maxsize, lambda data, at: (), b"", b"", 0)
"""Of nothing that comes in."""


def read_alike(shape: Shape, data: bytes, start: int) -> tuple[list[Message], int]:
    """The messages of that shape that stand at ``start``, one behind the other, and where what
    follows them begins."""
    begin, before, unpack, joint, body_head, _ = shape
    messages: list[Message] = []
    end = len(data)
    while end - start > before:
        first, tag, again, route, between, size, properties, head, length = unpack(data, start)
        if first != begin or between != joint or head != body_head or size != length:
            break
        body = start + before
        last = body + length
        if last >= end or data[last] != FRAME_END:
            break
        messages.append((tag, again, route, properties, data[body:last]))
        start = last + 1
    return messages, start


def shape_of(data: bytes, start: int, following: int) -> Shape | None:
    """Of the delivery whose method is from ``start`` to ``following``, and whose header is behind.

    None when the header is not here, or none.
    """
    tag_at = start + CONSUMER_TAG + 1 + data[start + CONSUMER_TAG]
    route = following - 1 - tag_at - TAG_AND_FLAG
    joint = data[following - 1 : following - 1 + JOINT]
    if route < 0 or len(joint) < JOINT:
        return None
    return _shape(data[start:tag_at], route, joint)


@lru_cache(1024)
def _shape(begin: bytes, route: int, joint: bytes) -> Shape | None:
    """``route``: its bytes."""
    end, kind, channel, header = _header_frame(joint)
    properties = header - CONTENT_HEAD
    if kind != HEADER or channel != begin[1:3] or properties < 0:
        return None
    layout = Layout(f">{len(begin)}sQ?{route}s{JOINT}sQ{properties}s{BODY_HEAD}sI")
    body_head = b"%c%c%b" % (end, BODY, channel)
    return Shape(begin, layout.size, layout.unpack_from, joint, body_head, int.from_bytes(channel))
