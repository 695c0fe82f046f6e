"""Documents as YAML."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import Raw

from gateway.encoding import Document, encode_yaml

ESCAPED = r"""a: "\a\N"
b: "x\n\L"
c: "\U0001F600"
"""


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ({"a": "x", "l": ["p", "q"], "o": {"k": True}}, "a: x\nl:\n- p\n- q\no:\n  k: true\n"),
        (
            {"a": "true", "b": "12", "c": "", "d": "x: y", "e": "line1\nline2", "f": "é"},
            'a: "true"\nb: "12"\nc: ""\nd: "x: y"\ne: |-\n  line1\n  line2\nf: é\n',
        ),
        ({"n": None, "l": [], "o": {}}, 'l: []\n"n": null\no: {}\n'),
        ({"l": [{"a": "b", "c": ["d"]}, ["e"]]}, "l:\n- a: b\n  c:\n  - d\n- - e\n"),
        ({"a": "y", "b": "No", "c": "~", "d": "-", "e": ".inf"}, None),
        ({"a": "1.5e10", "b": "-0.1E5", "c": "1.5e+10"}, None),
        ({"a": "2020-01-01", "b": "a#b", "c": "a: b", "d": "a:", "e": "- a", "f": "\\"}, None),
        ({"a": "http://a.test/b, c?d=e", "b": "x y"}, "a: http://a.test/b, c?d=e\nb: x y\n"),
        ({"a": "/x", "b": "?x", "c": ":x", "d": "-x"}, "a: /x\nb: ?x\nc: :x\nd: -x\n"),
        ({"a": "---", "b": "...x", "c": "? x", "d": "?", "e": ""}, None),
        ({"": [[1, [2]], {}]}, '"":\n- - 1\n  - - 2\n- {}\n'),
        ({"a": "\x07\x85", "b": "x\n\u2028", "c": "😀"}, ESCAPED),
        ({}, "{}\n"),
        (None, "{}\n"),
    ],
)
def test_document_is_written_as_krakend_writes_it(document: Any, text: str | None) -> None:
    if text is None:
        text = "".join(f'{key}: "{value}"\n' for key, value in document.items())
        text = text.replace("\\", "\\\\")
    assert encode_yaml(document).decode() == text


def test_numbers_of_json_keep_their_text_in_quotes() -> None:
    document: Document = {"a": Raw(b'{"x":1.50,"y":[1e5,-0]}'), "b": Raw(b"1" * 5_000)}
    assert yaml.safe_load(encode_yaml(document)) == {
        "a": {"x": "1.50", "y": ["1e5", "-0"]},
        "b": "1" * 5_000,
    }


def test_long_text_stays_on_its_line_and_equal_parts_stay_themselves() -> None:
    part = {"x": "word " * 100 + "end"}
    text = encode_yaml({"a": part, "b": part}).decode()
    assert text.count("\n") == 4
    assert "&" not in text


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=10,
)


words = st.sampled_from(
    ["a", "-", "~", "x: y", "a:b", "y", "No", "1e5", "0x1f", "12:30", "2020-01-01", "=", "<<", "é"]
) | st.text(st.sampled_from("ab1 -:#.,?&*!|>%@`'\"{}[]\\/~=<é龍\u00a0\u2028\t"), max_size=6)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(words, plain, max_size=4))
@example({"a" * 127: [], "b" * 128: {}})
@example({"a": [[["b"], {"c": [{"d": []}]}], {}]})
def test_text_is_never_in_single_quotes_and_stays_the_same(document: Any) -> None:
    text = encode_yaml(document)
    tokens = yaml.scan(text)
    assert "'" not in {token.style for token in tokens if isinstance(token, yaml.ScalarToken)}
    assert yaml.safe_load(text) == document


@given(st.dictionaries(texts, values, max_size=4))
@example({"\n\x85": "\n\u2028"})
def test_what_is_written_is_read_as_the_same_document(document: Any) -> None:
    assert yaml.safe_load(encode_yaml(document)) == document
