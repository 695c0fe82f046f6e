"""Bytes to documents and back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from gateway.encoding import (
    DecodeError,
    build_decoder,
    decode_collection,
    decode_json,
    decode_nothing,
    decode_safejson,
    decode_string,
    decode_value,
    encode_json,
    to_value,
    unwrap,
)

BACKEND_ENCODINGS = ["json", "safejson", "string", "no-op", "nobody-knows-it"]

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
objects = st.dictionaries(st.text(), values, max_size=6)


def decoded_all(document: Any) -> Any:
    """What a client reads."""
    return json.loads(encode_json(document))


@given(objects, st.booleans())
def test_decoded_object_is_encoded_as_the_same_document(value: Any, as_ascii: bool) -> None:
    body = json.dumps(value, ensure_ascii=as_ascii).encode(errors="replace")
    assert decoded_all(decode_json(body)) == json.loads(body)


@given(st.lists(values, max_size=6))
def test_decoded_collection_has_the_same_values(value: Any) -> None:
    body = json.dumps(value).encode()
    assert decoded_all(decode_collection(body)) == {"collection": json.loads(body)}


@given(st.sampled_from(BACKEND_ENCODINGS), st.booleans(), st.binary() | objects.map(encode_json))
def test_no_bytes_make_a_decoder_raise_anything_else_or_return_invalid_json(
    encoding: str, is_collection: bool, body: bytes
) -> None:
    decode = build_decoder(encoding, is_collection)
    for changed in (
        body,
        body[:-1],
        body[1:],
        b"[" + body,
        body + b"}",
        body.replace(b"a", b"\\u"),
    ):
        try:
            document = decode(changed)
        except DecodeError:
            continue
        decoded_all(document)


def test_numbers_keep_their_digits() -> None:
    body = b'{"big":12345678901234567890123,"e":1e3,"f":1.10,"z":-0}'
    assert encode_json(decode_json(body)) == body


def test_the_last_of_two_equal_keys_is_used() -> None:
    assert decoded_all(decode_json(b'{"a":1,"a":2}')) == {"a": 2}


@pytest.mark.parametrize("body", [b"", b" \r\n\t ", b"null", b" null "])
def test_an_empty_body_and_null_are_no_document(body: bytes) -> None:
    assert decode_json(body) is None


@pytest.mark.parametrize(
    "body",
    [
        b"[1,2,3]",
        b"42",
        b'"text"',
        b'{"a":',
        b'{"a":1,}',
        b'{"a":NaN}',
        b'{"a":"x\ty"}',
        b'{"a":01}',
        b'{"a":"\\q"}',
        b'{"a":"\\ud8"x","b":1}',
        b'\xef\xbb\xbf{"a":1}',
        b"\x0b",
    ],
)
def test_a_body_that_is_not_a_json_object_is_an_error(body: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_json(body)


@pytest.mark.parametrize("behind", [b" trailing", b'{"b":2}', b"}", b"\x00", b"\xff"])
def test_bytes_after_the_document_are_ignored(behind: bytes) -> None:
    assert decoded_all(decode_json(b' {"a":1}' + behind)) == {"a": 1}
    assert decoded_all(decode_collection(b"[1]" + behind)) == {"collection": [1]}


def test_bytes_after_a_number_of_many_digits_are_ignored() -> None:
    digits = b"1" * 5000
    decoded = decode_json(b'{"a":%b} more' % digits)
    assert encode_json(decoded) == b'{"a":%b}' % digits


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"a":"x\xffy"}', "x\ufffdy"),
        (b'{"a":"\xff\xfe"}', "\ufffd\ufffd"),
        (b'{"a":"x\\ud800y"}', "x\ufffdy"),
        (b'{"a":"\\udc00\\ud83d\\ude00"}', "\ufffd\U0001f600"),
        (b'{"a":"\\ud83d\\ud83d\\ude00"}', "\ufffd\U0001f600"),
        (b'{"a":"\\\\ud800"}', "\\ud800"),
        (b'{"a":"\\\\\\ud800"}', "\\\ufffd"),
        ('{"a":"é€"}'.encode(), "é€"),
    ],
)
def test_bytes_that_are_not_unicode_are_replaced(body: bytes, text: str) -> None:
    assert decoded_all(decode_json(body)) == {"a": text}


def test_a_key_that_is_not_unicode_is_replaced() -> None:
    assert decoded_all(decode_json(b'{"\\ud800":1,"\xff":2}')) == {"\ufffd": 2}


@pytest.mark.parametrize("depth", [1_100, 100_000])
def test_deep_nesting_raises_decode_error(depth: int) -> None:
    nested = b"[" * depth + b"]" * depth
    for decode in (decode_json, decode_safejson, decode_collection):
        with pytest.raises(DecodeError):
            decode(b'{"a":%b}' % nested)
        with pytest.raises(DecodeError):
            decode(b'{"a":%b} behind' % nested)


def test_deep_nesting_raises_decode_error_when_it_is_unwrapped() -> None:
    with pytest.raises(DecodeError):
        unwrap(Raw(b'{"a":' + b"[" * 5_000 + b"]" * 5_000 + b"}"))


def test_collection_accepts_only_arrays() -> None:
    assert decode_collection(b"") is None
    assert decode_collection(b"null") == {"collection": None}
    with pytest.raises(DecodeError):
        decode_collection(b'{"a":1}')


@pytest.mark.parametrize(
    ("body", "document"),
    [
        (b'{"a":[1]}', {"a": [1]}),
        (b"[1,2]", {"collection": [1, 2]}),
        (b"[]", {"collection": []}),
        (b"42", {"content": 42}),
        (b" true ", {"content": True}),
        (b"null", {"content": None}),
        (b'"text"', {"content": "text"}),
    ],
)
def test_safejson_accepts_any_json(body: bytes, document: Any) -> None:
    assert decoded_all(decode_safejson(body)) == document


def test_safejson_numbers_keep_their_digits() -> None:
    assert encode_json(decode_safejson(b"12.50")) == b'{"content":12.50}'


def test_string_is_the_content() -> None:
    assert decode_string(b"plain \xff text") == {"content": "plain \ufffd text"}
    assert decode_string(b"") == {"content": ""}


def test_no_op_decodes_nothing() -> None:
    assert decode_nothing(b"\xff{") == {}


def test_is_collection_has_an_effect_on_json_only() -> None:
    assert build_decoder("json", True) is decode_collection
    assert build_decoder("nobody-knows-it", True) is decode_collection
    assert build_decoder("nobody-knows-it", False) is decode_json
    assert build_decoder("safejson", True) is decode_safejson
    assert build_decoder("string", True) is decode_string


def test_unwrap_decodes_one_level_of_objects_and_arrays() -> None:
    assert unwrap(Raw(b'{"a":{"b":1.0}}')) == {"a": Raw(b'{"b":1.0}')}
    assert unwrap(Raw(b"[1.0]")) == [Raw(b"1.0")]
    assert unwrap(Raw(b"1.0")) == Raw(b"1.0")
    assert unwrap("decoded") == "decoded"


@given(st.binary() | values.map(lambda value: json.dumps(value).encode()))
def test_a_value_is_decoded_completely_or_refused(body: bytes) -> None:
    try:
        value = decode_value(body)
    except DecodeError:
        return
    assert encode_json(value)
    assert to_value(value) == value


@given(objects)
def test_a_shallow_document_has_the_value(value: Any) -> None:
    body = json.dumps(value).encode()
    assert to_value(decode_json(body)) == decode_value(body)


@pytest.mark.parametrize(
    "body", [b"", b"{}{}", b"{} x", b"1e400", b"1" * 5000, b"nope", b"[" * 9999, b"\xef\xbb\xbf{}"]
)
def test_a_body_of_none_or_several_documents_has_no_value(body: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_value(body)


def test_invalid_unicode_in_a_value_is_replaced() -> None:
    assert decode_value(b'["\xff", "\\ud800", "\\ud83d\\ude00"]') == [
        "\ufffd",
        "\ufffd",
        "\U0001f600",
    ]


def test_a_document_that_is_nested_too_deeply_has_no_value() -> None:
    deep: Any = {}
    for _ in range(100_000):
        deep = {"a": deep}
    with pytest.raises(DecodeError):
        to_value(deep)
