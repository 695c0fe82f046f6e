"""A message without its body: properties, exchange and routing key, encoded as AMQP. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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


def encode_fields(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Fields of a table in which every value is a long string. Raises :class:`TooLongError`."""
    return b"".join(
        [b"%bS%b%b" % (short_string(name), _long(len(value)), value) for name, value in headers]
    )


def encode_table(fields: bytes) -> bytes:
    """A table of these fields."""
    return _long(len(fields)) + fields


class SharedProperties(NamedTuple):
    """The encoded properties that many messages share: content type, content encoding and headers
    in ``flags`` and ``values``, and the delivery mode. ``plain``: the start of the properties of a
    message for which the request chooses none: flags, values and delivery mode. ``content``: the
    content type and encoding; ``fields``: the fields of the headers."""

    flags: int
    values: bytes
    delivery_mode: int
    plain: bytes
    content: bytes
    fields: bytes


def encode_shared(
    content_type: bytes,
    content_encoding: bytes,
    headers: Mapping[bytes, bytes],
    delivery_mode: int,
) -> SharedProperties:
    """Encode the properties that many messages share. Raises :class:`TooLongError`."""
    flags, content = 0, b""
    if content_type:
        flags |= CONTENT_TYPE
        content += short_string(content_type)
    if content_encoding:
        flags |= CONTENT_ENCODING
        content += short_string(content_encoding)
    values, fields = content, encode_fields(headers.items())
    if fields:
        flags |= HEADERS
        values += encode_table(fields)
    plain = b"%b%b%c" % (_flags(flags | ALWAYS_PRESENT), values, delivery_mode)
    return SharedProperties(flags, values, delivery_mode, plain, content, fields)


class ChosenProperties(NamedTuple):
    """The encoded properties that each request chooses: their flags, the values before
    ``message_id`` (priority, correlation_id, reply_to, expiration) and those after the timestamp
    (type, app_id)."""

    flags: int = 0
    before: bytes = b""
    after: bytes = b""


NOTHING_CHOSEN = ChosenProperties()


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


def encode_with_headers(
    shared: SharedProperties,
    chosen: ChosenProperties,
    headers: Iterable[tuple[bytes, bytes]],
    message_id: bytes,
    time: bytes,
) -> bytes:
    """As :func:`encode_properties`, with ``headers`` before the shared ones."""
    fields = encode_fields(headers) + shared.fields
    return b"%b%b%b%b%c%b%c%b%b%b" % (
        _flags(shared.flags | chosen.flags | ALWAYS_PRESENT | HEADERS),
        shared.content,
        _long(len(fields)),
        fields,
        shared.delivery_mode,
        chosen.before,
        len(message_id),
        message_id,
        time,
        chosen.after,
    )
