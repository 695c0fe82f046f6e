"""Properties of a message as they are on the wire: looked up, exchanged, sent on as they were.

A codec would change them on the way: numbers lose their type, and a text that is not UTF-8 cannot
be encoded again. (AMQP 0-9-1, 2.3.5.2 and 4.2.6; types of fields as RabbitMQ has them.) Pure.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from struct import Struct as Layout
from typing import Any, NamedTuple, TypeAlias

# Flags of a content header; the properties follow in this order.
CONTENT_TYPE, CONTENT_ENCODING, HEADERS = 1 << 15, 1 << 14, 1 << 13
DELIVERY_MODE, PRIORITY, CORRELATION_ID = 1 << 12, 1 << 11, 1 << 10
REPLY_TO, EXPIRATION, MESSAGE_ID, TIMESTAMP = 1 << 9, 1 << 8, 1 << 7, 1 << 6
TYPE, USER_ID, APP_ID, CLUSTER_ID = 1 << 5, 1 << 4, 1 << 3, 1 << 2

Properties: TypeAlias = dict[int, bytes]
"""Flag -> value, encoded."""

SIZES = {DELIVERY_MODE: 1, PRIORITY: 1, TIMESTAMP: 8}
"""Bytes of the properties that are numbers; HEADERS is a table, every other a short string."""
ORDER = tuple(1 << bit for bit in range(15, 1, -1))

FIELD_SIZES = {
    b"t": 1, b"b": 1, b"B": 1, b"s": 2, b"u": 2, b"I": 4, b"i": 4, b"f": 4,
    b"l": 8, b"L": 8, b"d": 8, b"T": 8, b"D": 5, b"V": 0,
}  # fmt: skip
LONG_FIELDS = frozenset((b"S", b"x", b"A", b"F"))
"""Fields that begin with their size."""

MAX_DEPTH = 8
"""Of tables and arrays in each other, that are read."""

_flags = Layout(">H")
_size = Layout(">I")
_seconds = Layout(">Q")


class MalformedError(ValueError):
    """Not the properties of a message."""


class Field(NamedTuple):
    """A field of a table. ``encoded``: all of it; ``value``: without its name, type and size."""

    name: bytes
    kind: bytes
    value: bytes
    encoded: bytes


def split_properties(properties: bytes) -> Properties:
    """``properties``: flags and values. Raises :class:`MalformedError`."""
    try:
        (flags,) = _flags.unpack_from(properties)
    except struct.error as error:
        raise MalformedError("a content header without flags") from error
    return split(flags, properties[_flags.size :])


def split(flags: int, values: bytes) -> Properties:
    """Raises :class:`MalformedError`."""
    properties: Properties = {}
    at = 0
    try:
        for flag in ORDER:
            if flags & flag:
                if flag == HEADERS:
                    size = _size.size + _size.unpack_from(values, at)[0]
                else:
                    size = SIZES.get(flag) or 1 + values[at]
                properties[flag] = values[at : at + size]
                at += size
    except (struct.error, IndexError) as error:
        raise MalformedError("properties that break off") from error
    if at > len(values):
        raise MalformedError("properties that break off")
    return properties


def join(properties: Properties) -> bytes:
    """Flags and values, as in a content header."""
    present = [flag for flag in ORDER if flag in properties]
    return _flags.pack(sum(present)) + b"".join([properties[flag] for flag in present])


def text_of(properties: Properties, flag: int) -> str:
    """A property as text; empty when the message has none. What is not UTF-8 becomes U+FFFD."""
    value = properties.get(flag, b"")
    if not value:
        return ""
    if flag in SIZES:
        return str(int.from_bytes(value))
    return value[1:].decode(errors="replace")


def fields_of(properties: Properties) -> Iterator[Field]:
    """The fields of HEADERS. Raises :class:`MalformedError`."""
    return _fields(properties.get(HEADERS, b"")[_size.size :], has_names=True)


def _fields(table: bytes, *, has_names: bool) -> Iterator[Field]:
    """The fields of a table, or the values of an array, which have no names."""
    at = 0
    try:
        while at < len(table):
            name_at = at + 1 if has_names else at
            name_ends = name_at + table[at] if has_names else at
            name, kind = table[name_at:name_ends], table[name_ends : name_ends + 1]
            value_at = name_ends + 1
            if kind in LONG_FIELDS:
                size = _size.unpack_from(table, value_at)[0]
                value_at += _size.size
            else:
                size = FIELD_SIZES[kind]
            ends = value_at + size
            if ends > len(table):
                raise MalformedError("a malformed table of headers")
            yield Field(name, kind, table[value_at:ends], table[at:ends])
            at = ends
    except (struct.error, IndexError, KeyError) as error:
        raise MalformedError("a malformed table of headers") from error


def keep_fields(properties: Properties, keeps: Callable[[bytes], bool]) -> None:
    """Leave of HEADERS the fields whose name, in lower case, is to be kept."""
    kept = b"".join([each.encoded for each in fields_of(properties) if keeps(each.name.lower())])
    if kept:
        properties[HEADERS] = _size.pack(len(kept)) + kept
    else:
        properties.pop(HEADERS, None)


def plain_value(field: Field) -> str | int | float | bool | None:
    """A field's value; None for tables, arrays and what else has no plain text."""
    decode = PLAIN.get(field.kind)
    return None if decode is None else decode(field.value)


def nested_value(field: Field, depth: int = MAX_DEPTH) -> Any:
    """The same, with tables as dictionaries and arrays as lists; None for what is nested deeper
    than ``depth``. Raises :class:`MalformedError`."""
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


PLAIN: dict[bytes, Callable[[bytes], str | int | float | bool]] = {
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
