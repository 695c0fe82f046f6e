"""Properties as they are on the wire."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from struct import pack
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.amqp.wire.properties import (
    APP_ID,
    CONTENT_TYPE,
    HEADERS,
    MESSAGE_ID,
    PRIORITY,
    TIMESTAMP,
    MalformedError,
    fields_of,
    join,
    keep_fields,
    plain_value,
    split_properties,
    text_of,
)

from .codec import decode_properties, encode_known

SHORT = st.text(max_size=60)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.text(max_size=20)
    | st.floats(allow_nan=False, width=32)
    | st.just(Decimal("1.25"))
    | st.just(datetime.fromtimestamp(77, UTC)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
PROPERTIES = st.fixed_dictionaries(
    {},
    optional={
        "content_type": SHORT,
        "headers": st.dictionaries(st.text(max_size=20), VALUES, max_size=4),
        "priority": st.integers(0, 255),
        "message_id": SHORT,
        "timestamp": st.just(datetime.fromtimestamp(100, UTC)),
        "app_id": SHORT,
    },
)


def table(*fields: tuple[bytes, bytes, bytes]) -> bytes:
    """Properties of which the only one is a table of fields: name, type, value."""
    encoded = b"".join(pack(">B", len(name)) + name + kind + value for name, kind, value in fields)
    return pack(">HI", HEADERS, len(encoded)) + encoded


@given(PROPERTIES)
def test_properties_that_are_split_and_joined_are_unchanged(properties: dict[str, Any]) -> None:
    encoded = encode_known(**properties)
    assert join(split_properties(encoded)) == encoded


@given(PROPERTIES)
def test_property_strings_are_decoded_as_by_pamqp(properties: dict[str, Any]) -> None:
    encoded = encode_known(**properties)
    split, known = split_properties(encoded), decode_properties(encoded)
    assert text_of(split, CONTENT_TYPE) == (known.content_type or "")
    assert text_of(split, MESSAGE_ID) == (known.message_id or "")
    assert text_of(split, APP_ID) == (known.app_id or "")
    assert text_of(split, PRIORITY) == ("" if known.priority is None else str(known.priority))
    assert text_of(split, TIMESTAMP) == ("" if known.timestamp is None else "100")
    assert [field.name.decode() for field in fields_of(split)] == list(known.headers or {})


@given(st.binary(max_size=80), st.integers(0, 0xFFFF))
def test_any_bytes_are_properties_or_malformed(values: bytes, flags: int) -> None:
    try:
        properties = split_properties(pack(">H", flags) + values)
        list(map(plain_value, fields_of(properties)))
    except MalformedError:
        return
    assert len(join(properties)) <= len(values) + 2


@pytest.mark.parametrize(
    ("kind", "value", "plain"),
    [
        (b"S", b"\0\0\0\2hi", "hi"),
        (b"S", b"\0\0\0\1\xff", "\ufffd"),
        (b"x", b"\0\0\0\1a", "a"),
        (b"t", b"\1", True),
        (b"b", b"\xff", -1),
        (b"B", b"\xff", 255),
        (b"s", b"\xff\xff", -1),
        (b"u", b"\xff\xff", 65535),
        (b"I", b"\xff" * 4, -1),
        (b"i", b"\xff" * 4, 2**32 - 1),
        (b"l", b"\xff" * 8, -1),
        (b"L", b"\xff" * 8, -1),
        (b"f", pack(">f", 1.5), 1.5),
        (b"d", pack(">d", 1.1), 1.1),
        (b"T", pack(">Q", 7), 7),
        (b"D", b"\2\0\0\0\5", None),
        (b"V", b"", None),
        (b"A", b"\0\0\0\0", None),
        (b"F", b"\0\0\0\0", None),
    ],
)
def test_every_type_of_the_broker_is_known(kind: bytes, value: bytes, plain: object) -> None:
    encoded = table((b"k", kind, value), (b"next", b"t", b"\0"))
    first, next_field = fields_of(split_properties(encoded))
    assert plain_value(first) == plain
    assert type(plain_value(first)) is type(plain)
    assert next_field.name == b"next"
    assert join(split_properties(encoded)) == encoded


def test_kept_header_fields_are_unchanged() -> None:
    properties = split_properties(
        table((b"CC", b"S", b"\0\0\0\1a"), (b"X", b"d", pack(">d", 1.1)), (b"y", b"V", b""))
    )
    keep_fields(properties, lambda name: name in (b"x", b"y"))
    assert [(field.name, field.kind) for field in fields_of(properties)] == [
        (b"X", b"d"),
        (b"y", b"V"),
    ]
    keep_fields(properties, lambda name: False)
    assert properties == {}


def test_an_incomplete_field_is_malformed() -> None:
    whole = table((b"k", b"l", b"\xff" * 8))
    for missing in range(1, 8):
        broken = {HEADERS: split_properties(whole)[HEADERS][:-missing]}
        with pytest.raises(MalformedError):
            list(fields_of(broken))
