"""What a message carries beside its body: properties, exchange, routing key, as bytes. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from struct import Struct as Layout
from typing import NamedTuple

from .properties import (
    CONTENT_ENCODING,
    CONTENT_TYPE,
    DELIVERY_MODE,
    HEADERS,
    MESSAGE_ID,
    TIMESTAMP,
)


def decode_route(route: bytes) -> tuple[str, str]:
    """Exchange and routing key from their two short strings on the wire."""
    split = 1 + route[0]
    return route[1:split].decode(errors="replace"), route[split + 1 :].decode(errors="replace")


PLAIN = DELIVERY_MODE | MESSAGE_ID | TIMESTAMP
"""What every message has."""

NOT_SENT = frozenset({b"cc", b"bcc"})
"""Headers that RabbitMQ gives meaning: whoever made them could choose queues by them."""

MAX_SHORT_STRING_BYTES = 255
"""Bytes of a short string."""

_flags = Layout(">H").pack
_long = Layout(">I").pack
_seconds = Layout(">Q").pack


class TooLongError(ValueError):
    """A value that does not fit into a short string."""


def short_string(value: bytes) -> bytes:
    """Raises :class:`TooLongError`."""
    if len(value) > MAX_SHORT_STRING_BYTES:
        raise TooLongError(f"{len(value)} bytes, at most {MAX_SHORT_STRING_BYTES} are possible")
    return b"%c%b" % (len(value), value)


def encode_headers(headers: Mapping[bytes, bytes]) -> bytes:
    """A field table whose values are long strings."""
    fields = b"".join(
        [
            b"%bS%b%b" % (short_string(name), _long(len(value)), value)
            for name, value in headers.items()
        ]
    )
    return _long(len(fields)) + fields


class SharedProperties(NamedTuple):
    """What messages of one kind of request have in common, encoded: flags and values up to the
    headers, and with the delivery mode. ``plain``: as they begin when a request chooses nothing."""

    flags: int
    values: bytes
    delivery_mode: int
    plain: bytes


def encode_origin(
    content_type: bytes,
    content_encoding: bytes,
    headers: Mapping[bytes, bytes],
    delivery_mode: int,
) -> SharedProperties:
    """Raises :class:`TooLongError`."""
    flags, values = 0, b""
    if content_type:
        flags |= CONTENT_TYPE
        values += short_string(content_type)
    if content_encoding:
        flags |= CONTENT_ENCODING
        values += short_string(content_encoding)
    if headers:
        flags |= HEADERS
        values += encode_headers(headers)
    plain = b"%b%b%c" % (_flags(flags | PLAIN), values, delivery_mode)
    return SharedProperties(flags, values, delivery_mode, plain)


class Chosen(NamedTuple):
    """Properties that each request chooses, encoded: flags, the values before ``message_id``
    (priority, correlation_id, reply_to, expiration) and those behind the time (type, app_id)."""

    flags: int = 0
    before: bytes = b""
    behind: bytes = b""


def encode_time(now: int) -> bytes:
    """A timestamp; ``now``: seconds since 1970."""
    return _seconds(now)


def encode_plain(origin: SharedProperties, message_id: bytes, time: bytes) -> bytes:
    """As :func:`encode_properties`, when the request chooses nothing."""
    return b"%b%c%b%b" % (origin.plain, len(message_id), message_id, time)


def encode_properties(
    origin: SharedProperties, chosen: Chosen, message_id: bytes, time: bytes
) -> bytes:
    """Flags and values of a content header. ``message_id``: at most 255 bytes."""
    return b"%b%b%c%b%c%b%b%b" % (
        _flags(origin.flags | chosen.flags | PLAIN),
        origin.values,
        origin.delivery_mode,
        chosen.before,
        len(message_id),
        message_id,
        time,
        chosen.behind,
    )
