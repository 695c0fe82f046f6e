"""A message without its body: properties, exchange and routing key, encoded as AMQP. Pure."""

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
    """Exchange and routing key. ``route``: both as encoded short strings."""
    split = 1 + route[0]
    return route[1:split].decode(errors="replace"), route[split + 1 :].decode(errors="replace")


ALWAYS_PRESENT = DELIVERY_MODE | MESSAGE_ID | TIMESTAMP
"""Properties that every published message has."""

ROUTING_HEADERS = frozenset({b"cc", b"bcc"})
"""Headers that are never published: RabbitMQ also routes a message by the routing keys in them
(sender-selected distribution), so a client could choose queues."""

MAX_SHORT_STRING_BYTES = 255
"""Bytes of a short string."""

_flags = Layout(">H").pack
_long = Layout(">I").pack
_seconds = Layout(">Q").pack


class TooLongError(ValueError):
    """A value is longer than a short string may be."""


def short_string(value: bytes) -> bytes:
    """``value`` as a short string. Raises :class:`TooLongError`."""
    if len(value) > MAX_SHORT_STRING_BYTES:
        raise TooLongError(f"{len(value)} bytes, at most {MAX_SHORT_STRING_BYTES} are possible")
    return b"%c%b" % (len(value), value)


def encode_headers(headers: Mapping[bytes, bytes]) -> bytes:
    """A field table in which every value is a long string."""
    fields = b"".join(
        [
            b"%bS%b%b" % (short_string(name), _long(len(value)), value)
            for name, value in headers.items()
        ]
    )
    return _long(len(fields)) + fields


class SharedProperties(NamedTuple):
    """The encoded properties that many messages share: content type, content encoding and headers
    in ``flags`` and ``values``, and the delivery mode. ``plain``: the start of the properties of a
    message for which the request chooses none: flags, values and delivery mode."""

    flags: int
    values: bytes
    delivery_mode: int
    plain: bytes


def encode_shared(
    content_type: bytes,
    content_encoding: bytes,
    headers: Mapping[bytes, bytes],
    delivery_mode: int,
) -> SharedProperties:
    """Encode the properties that many messages share. Raises :class:`TooLongError`."""
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
    plain = b"%b%b%c" % (_flags(flags | ALWAYS_PRESENT), values, delivery_mode)
    return SharedProperties(flags, values, delivery_mode, plain)


class ChosenProperties(NamedTuple):
    """The encoded properties that each request chooses: their flags, the values before
    ``message_id`` (priority, correlation_id, reply_to, expiration) and those after the timestamp
    (type, app_id)."""

    flags: int = 0
    before: bytes = b""
    after: bytes = b""


def encode_time(now: int) -> bytes:
    """``now``, seconds since 1970, as an AMQP timestamp."""
    return _seconds(now)


def encode_plain(shared: SharedProperties, message_id: bytes, time: bytes) -> bytes:
    """As :func:`encode_properties`, for a request that chooses no properties."""
    return b"%b%c%b%b" % (shared.plain, len(message_id), message_id, time)


def encode_properties(
    shared: SharedProperties, chosen: ChosenProperties, message_id: bytes, time: bytes
) -> bytes:
    """The properties of a message: flags and values of its content header. ``message_id``: at most
    255 bytes."""
    return b"%b%b%c%b%c%b%b%b" % (
        _flags(shared.flags | chosen.flags | ALWAYS_PRESENT),
        shared.values,
        shared.delivery_mode,
        chosen.before,
        len(message_id),
        message_id,
        time,
        chosen.after,
    )
