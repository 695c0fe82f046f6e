"""Go's words for JSON that is refused. Each text is what Go 1.26's decoder says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.encoding import DecodeError, decode_collection, decode_json, decode_safejson
from gateway.encoding.json_errors import MAX_EXPLAINED, explain

OBJECT = "map[string]interface {}"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"<html>", "invalid character '<' looking for beginning of value"),
        (b'{"a":1,}', "invalid character '}' looking for beginning of object key string"),
        (b"{1:2}", "invalid character '1' looking for beginning of object key string"),
        (b'{"a" 1}', "invalid character '1' after object key"),
        (b'{"a":1 "b":2}', "invalid character '\"' after object key:value pair"),
        (b'{"a":01}', "invalid character '1' after object key:value pair"),
        (b"[1 2]", "invalid character '2' after array element"),
        (b"[1,]", "invalid character ']' looking for beginning of value"),
        (b'{"a":-x}', "invalid character 'x' in numeric literal"),
        (b'{"a":1.}', "invalid character '}' after decimal point in numeric literal"),
        (b'{"a":1e+}', "invalid character '}' in exponent of numeric literal"),
        (b'{"a":tru}', "invalid character '}' in literal true (expecting 'e')"),
        (b'{"a":nil}', "invalid character 'i' in literal null (expecting 'u')"),
        (b'{"a":"\n"}', r"invalid character '\n' in string literal"),
        (b'{"a":"\x01"}', r"invalid character '\x01' in string literal"),
        (b'{"a":"\\x"}', "invalid character 'x' in string escape code"),
        (b'{"a":"\\u12g4"}', r"invalid character 'g' in \u hexadecimal character escape"),
        (b"{'a':1}", r"invalid character '\'' looking for beginning of object key string"),
        (b"\xef\xbb\xbf{}", "invalid character 'ï' looking for beginning of value"),
        (b"\x85", r"invalid character '\u0085' looking for beginning of value"),
        (b"\\", r"invalid character '\\' looking for beginning of value"),
        (b'{"a":[1,{"b":', "unexpected EOF"),
        (b'{"a":"x', "unexpected EOF"),
        (b'{"a":-', "unexpected EOF"),
        (b"[1,2]", "json: cannot unmarshal array into Go value of type map[string]interface {}"),
        (b'"x"', "json: cannot unmarshal string into Go value of type map[string]interface {}"),
        (b"1.5 x", "json: cannot unmarshal number into Go value of type map[string]interface {}"),
        (b"true", "json: cannot unmarshal bool into Go value of type map[string]interface {}"),
    ],
)
def test_an_object_is_refused_in_the_words_of_go(body: bytes, text: str) -> None:
    with pytest.raises(DecodeError) as caught:
        decode_json(body)
    assert str(caught.value) == text


def test_a_collection_and_any_document_are_refused_in_the_words_of_go() -> None:
    with pytest.raises(DecodeError, match=r"object into Go value of type \[\]interface \{\}$"):
        decode_collection(b"{}")
    with pytest.raises(DecodeError, match=r"^invalid character 'x' looking for"):
        decode_safejson(b"x")


def test_a_long_body_keeps_the_message_of_the_decoder() -> None:
    assert explain(b"[" * MAX_EXPLAINED + b"x", OBJECT) == ""
    with pytest.raises(DecodeError, match=r"."):
        decode_json(b"[" * MAX_EXPLAINED + b"x")


@given(st.binary(max_size=60))
def test_no_bytes_make_an_explanation_raise(body: bytes) -> None:
    assert isinstance(explain(body, OBJECT), str)


def test_a_deeply_nested_body_is_explained() -> None:
    assert explain(b"[" * 5000 + b"x", OBJECT) == (
        "invalid character 'x' looking for beginning of value"
    )
