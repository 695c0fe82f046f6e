"""Reads and replaces single properties of a message; all others stay byte for byte as they came.

Decoding and encoding all of them would change some: a number loses its type, and a string that is
not UTF-8 cannot be encoded again. (AMQP 0-9-1, 2.3.5.2 and 4.2.6, with RabbitMQ's field types.)
Pure.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Container, Iterator
from struct import Struct as Layout
from typing import NamedTuple, TypeAlias

from ...config.json_types import Json

# Flags of a content header; the properties follow in this order.
CONTENT_TYPE, CONTENT_ENCODING, HEADERS = 1 << 15, 1 << 14, 1 << 13
DELIVERY_MODE, PRIORITY, CORRELATION_ID = 1 << 12, 1 << 11, 1 << 10
REPLY_TO, EXPIRATION, MESSAGE_ID, TIMESTAMP = 1 << 9, 1 << 8, 1 << 7, 1 << 6
TYPE, USER_ID, APP_ID, CLUSTER_ID = 1 << 5, 1 << 4, 1 << 3, 1 << 2

Properties: TypeAlias = dict[int, bytes]
"""Encoded values by flag."""

NUMBER_SIZES = {DELIVERY_MODE: 1, PRIORITY: 1, TIMESTAMP: 8}
"""Bytes of the properties that are numbers. HEADERS is a table, every other one a short string."""

PROPERTY_ORDER = tuple(1 << bit for bit in range(15, 1, -1))
"""Flags, in the order of the values."""

FIELD_SIZES = {
    b"t": 1, b"b": 1, b"B": 1, b"s": 2, b"u": 2, b"I": 4, b"i": 4, b"f": 4,
    b"l": 8, b"L": 8, b"d": 8, b"T": 8, b"D": 5, b"V": 0,
}  # fmt: skip
"""Bytes of a value, by the type of its field."""

SIZED_FIELD_TYPES = frozenset((b"S", b"x", b"A", b"F"))
"""Types of fields that begin with their size: strings, byte arrays, arrays, tables."""

TEXT_TYPES = frozenset((b"S", b"x"))
"""Types of fields that are strings: long strings and byte arrays."""

DELIVERY_COUNT_HEADER = b"x-delivery-count"
"""The header in which a quorum queue counts the returns of a message."""

MAX_READ_DEPTH = 8
"""Levels of nested tables and arrays that are decoded."""

_flags = Layout(">H")
_size = Layout(">I")
_seconds = Layout(">Q")


class MalformedError(ValueError):
    """The bytes are not the properties of a message."""


class Field(NamedTuple):
    """A field of a table. ``kind``: its type. ``value``: the encoded value without its size.
    ``encoded``: the whole field."""

    name: bytes
    kind: bytes
    value: bytes
    encoded: bytes


def split_properties(properties: bytes) -> Properties:
    """The single properties. ``properties``: flags and values. Raises :class:`MalformedError`."""
    try:
        (flags,) = _flags.unpack_from(properties)
    except struct.error as error:
        raise MalformedError("a content header has no flags") from error
    return split(flags, properties[_flags.size :])


def split(flags: int, values: bytes) -> Properties:
    """The single properties of encoded ``values``. Raises :class:`MalformedError`."""
    properties: Properties = {}
    at = 0
    try:
        for flag in PROPERTY_ORDER:
            if flags & flag:
                if flag == HEADERS:
                    size = _size.size + _size.unpack_from(values, at)[0]
                else:
                    size = NUMBER_SIZES.get(flag) or 1 + values[at]
                properties[flag] = values[at : at + size]
                at += size
    except (struct.error, IndexError) as error:
        raise MalformedError("the properties are incomplete") from error
    if at > len(values):
        raise MalformedError("the properties are incomplete")
    return properties


def join(properties: Properties) -> bytes:
    """Flags and values, as in a content header: the opposite of :func:`split_properties`."""
    present = [flag for flag in PROPERTY_ORDER if flag in properties]
    return _flags.pack(sum(present)) + b"".join([properties[flag] for flag in present])


def text_of(properties: Properties, flag: int) -> str:
    """A property as a string; empty when the message does not have it. Bytes that are not UTF-8
    become U+FFFD."""
    value = properties.get(flag, b"")
    if not value:
        return ""
    if flag in NUMBER_SIZES:
        return str(int.from_bytes(value))
    return value[1:].decode(errors="replace")


def message_id_of(properties: bytes) -> str:
    """The message id; empty if there is none, or the properties are malformed. ``properties``:
    flags and values."""
    try:
        return text_of(split_properties(properties), MESSAGE_ID)
    except MalformedError:
        return ""


def fields_of(properties: Properties) -> Iterator[Field]:
    """The fields of HEADERS. Raises :class:`MalformedError`."""
    return _fields(properties.get(HEADERS, b"")[_size.size :], has_names=True)


def text_headers(properties: Properties, names: Container[bytes]) -> list[tuple[bytes, bytes]]:
    """The headers with these names that are strings: names in lower case, and values. ``names``: in
    lower case. Raises :class:`MalformedError`."""
    return [
        (name, field.value)
        for field in fields_of(properties)
        if field.kind in TEXT_TYPES and (name := field.name.lower()) in names
    ]


def _fields(table: bytes, *, has_names: bool) -> Iterator[Field]:
    """The fields of a table, or the values of an array, whose fields have no names."""
    at = 0
    try:
        while at < len(table):
            name_at = at + 1 if has_names else at
            name_ends = name_at + table[at] if has_names else at
            name, kind = table[name_at:name_ends], table[name_ends : name_ends + 1]
            value_at = name_ends + 1
            if kind in SIZED_FIELD_TYPES:
                size = _size.unpack_from(table, value_at)[0]
                value_at += _size.size
            else:
                size = FIELD_SIZES[kind]
            ends = value_at + size
            if ends > len(table):
                raise MalformedError("the table of headers is malformed")
            yield Field(name, kind, table[value_at:ends], table[at:ends])
            at = ends
    except (struct.error, IndexError, KeyError) as error:
        raise MalformedError("the table of headers is malformed") from error


def delivery_count(properties: bytes) -> int:
    """How often a quorum queue has counted a return of the message (``x-delivery-count``); 0 if it
    has counted none, or the properties are malformed. ``properties``: flags and values."""
    try:
        return counted_deliveries(split_properties(properties))
    except MalformedError:
        return 0


def counted_deliveries(properties: Properties) -> int:
    """As :func:`delivery_count`, of split properties. Raises :class:`MalformedError`."""
    for field in fields_of(properties):
        if field.name == DELIVERY_COUNT_HEADER and isinstance(count := plain_value(field), int):
            return count
    return 0


def keep_fields(properties: Properties, keeps: Callable[[bytes], bool]) -> None:
    """Remove every header for which ``keeps`` returns false. It gets the name in lower case."""
    kept = b"".join([each.encoded for each in fields_of(properties) if keeps(each.name.lower())])
    _set_fields(properties, kept)


def add_fields(properties: Properties, fields: bytes) -> None:
    """Add encoded headers. The properties must not have headers with these names."""
    _set_fields(properties, fields + properties.get(HEADERS, b"")[_size.size :])


def _set_fields(properties: Properties, fields: bytes) -> None:
    if fields:
        properties[HEADERS] = _size.pack(len(fields)) + fields
    else:
        properties.pop(HEADERS, None)


def plain_value(field: Field) -> str | int | float | bool | None:
    """The value of a field. None for a table, an array and other types without a plain text."""
    decode = PLAIN_DECODERS.get(field.kind)
    return None if decode is None else decode(field.value)


def nested_value(field: Field, depth: int = MAX_READ_DEPTH) -> Json:
    """As :func:`plain_value`, with tables as dictionaries and arrays as lists. None for a value
    nested more than ``depth`` levels. Raises :class:`MalformedError`."""
    if field.kind not in (b"F", b"A"):
        return plain_value(field)
    if not depth:
        return None
    is_table = field.kind == b"F"
    inner = _fields(field.value, has_names=is_table)
    if is_table:
        return {_text(each.name): nested_value(each, depth - 1) for each in inner}
    return [nested_value(each, depth - 1) for each in inner]


def _number(layout: str) -> Callable[[bytes], int | float]:
    unpack = Layout(layout).unpack

    def number(value: bytes) -> int | float:
        decoded: int | float = unpack(value)[0]
        return decoded

    return number


def _text(value: bytes) -> str:
    return value.decode(errors="replace")


PLAIN_DECODERS: dict[bytes, Callable[[bytes], str | int | float | bool]] = {
    b"S": _text,
    b"x": _text,
    b"t": lambda value: value != b"\0",
    b"T": lambda value: int(_seconds.unpack(value)[0]),
    **{
        kind: _number(f">{layout}")
        for kind, layout in {
            b"b": "b", b"B": "B", b"s": "h", b"u": "H", b"I": "i", b"i": "I",
            b"l": "q", b"L": "q", b"f": "f", b"d": "d",
        }.items()
    },
}  # fmt: skip
