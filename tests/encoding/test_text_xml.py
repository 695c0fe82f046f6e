"""XML to documents and back."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree as Tree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from gateway.encoding import DecodeError, build_decoder, decode_xml, encode_json, encode_xml


@pytest.mark.parametrize(
    ("text", "document"),
    [
        (
            '<user id="7"><name>Ann</name><age>30</age></user>',
            {"user": {"-id": "7", "name": "Ann", "age": "30"}},
        ),
        ("<r><i>1</i><i>2</i><i>3</i></r>", {"r": {"i": ["1", "2", "3"]}}),
        ("<r><a/><b></b><c> </c></r>", {"r": {"a": "", "b": "", "c": ""}}),
        ("<r/>", {"r": ""}),
        ('<r a="1"/>', {"r": {"-a": "1"}}),
        ('<n:r xmlns:n="urn:x"><n:a>1</n:a></n:r>', {"r": {"-n": "urn:x", "a": "1"}}),
        ("<n:r><undeclared:a/></n:r>", {"r": {"a": ""}}),
        (
            '<r><i n="1">a</i><i n="2"/></r>',
            {"r": {"i": [{"-n": "1", "#text": "a"}, {"-n": "2"}]}},
        ),
        ("<p>hello <b>bold</b> world</p>", {"p": {"b": "bold", "#text": "hello"}}),
        ('<a x="1">t<b/>more</a>', {"a": {"-x": "1", "b": "", "#text": "more"}}),
        ("<a>1 &lt;<![CDATA[<b>]]><!-- c -->&#233;</a>", {"a": "1 <<b>é"}),
        ("\n\n<?xml version='1.0'?><!-- c --><?pi x?><r>é</r>", {"r": "é"}),
        ("<!DOCTYPE r SYSTEM 'nowhere.dtd'><r>1</r>", {"r": "1"}),
        ("<r>1</r>behind it<not closed", {"r": "1"}),
        ("before it<r>1</r>", {"r": "1"}),
    ],
)
def test_the_document_is_equal_to_krakends(text: str, document: Any) -> None:
    assert decode_xml(text.encode()) == document


def test_the_declaration_or_the_byte_order_mark_says_the_encoding() -> None:
    latin = b"<?xml version='1.0' encoding='ISO-8859-1'?><r>\xe9</r>"
    assert decode_xml(latin) == {"r": "é"}
    assert decode_xml("<r>é</r>".encode("utf-16")) == {"r": "é"}


def test_long_text_is_kept() -> None:
    text = "é" * 100_000
    assert decode_xml(f"<r>{text}</r>".encode()) == {"r": text}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"  \n",
        b"text",
        b"<r><a></r>",
        b"<r",
        b"<r>&nbsp;</r>",
        b"<r>\xff</r>",
        b"<r>\x00</r>",
        b"<?xml version='1.0' encoding='nosuch'?><r/>",
        b"<a>" * 201 + b"</a>" * 201,
    ],
)
def test_a_body_that_is_not_xml_is_an_error(body: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_xml(body)


ENTITIES = "".join(
    f"<!ENTITY {name} '{f'&{before};' * 10}'>"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
BOMB = f"<!DOCTYPE r [<!ENTITY a 'ha'>{ENTITIES}]><r>&i;</r>"


@pytest.mark.parametrize(
    "text",
    [
        BOMB,
        "<!DOCTYPE r [<!ENTITY a SYSTEM 'file:///etc/hostname'>]><r>&a;</r>",
        "<!DOCTYPE r [<!ENTITY % a 'x'>]><r/>",
        "<!DOCTYPE r [<!ENTITY a 'never used'>]><r/>",
    ],
)
def test_declared_entities_are_refused(text: str) -> None:
    with pytest.raises(DecodeError, match="entities are refused"):
        decode_xml(text.encode())


def test_is_collection_puts_the_document_under_the_key_collection() -> None:
    assert build_decoder("xml", True)(b"<r><i>1</i></r>") == {"collection": {"r": {"i": "1"}}}


def test_a_document_of_the_largest_depth_can_be_encoded() -> None:
    document = decode_xml(b"<a>" * 200 + b"</a>" * 200)
    assert encode_json(document)
    assert encode_xml(document)


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ({"content": "t<x>"}, "<content>t&lt;x&gt;</content>"),
        ({"a": "&\"'"}, "<a>&amp;&quot;&apos;</a>"),
        ({"content": ["a", "b"]}, "<doc><content>a</content><content>b</content></doc>"),
        ({"content": {"a": "1"}}, "<content><a>1</a></content>"),
        ({"b": 1, "a": True}, "<doc><a>true</a><b>1</b></doc>"),
        ({}, "<doc/>"),
        (None, "<doc/>"),
        (
            {"r": {"n": None, "e": "", "l": [], "o": {}, "t": " "}},
            "<r><e/><l/><n/><o/><t> </t></r>",
        ),
        (
            {"r": Raw(b'{"z":1.50,"-id":7,"a":["x",{"b":null}]}')},
            '<r id="7"><a>x</a><a><b/></a><z>1.50</z></r>',
        ),
        ({"r": {"-id": "<", "#text": "t"}}, '<r id="&lt;">t</r>'),
        ({"r": {"-id": 1}}, '<r id="1"/>'),
        ({"r": {"#text": 5, "a": 1}}, "<r>5<a>1</a></r>"),
        (
            {"r": {"-bad": {}, "-": 1}},
            "<r><_>1</_></r>".replace("<_>", "<_->").replace("</_>", "</_->"),
        ),
        ({"l": [{"a": 1}, {"a": 2}]}, "<l><a>1</a></l><l><a>2</a></l>"),
        ({"x": "\x00\ud800"}, "<x>\ufffd\ufffd</x>"),
        ({"a b><c": 1, "1": 2, "": 3}, "<doc><_>3</_><_1>2</_1><a_b__c>1</a_b__c></doc>"),
    ],
)
def test_document_is_written_as_krakend_writes_it(document: Any, text: str) -> None:
    assert encode_xml(document).decode() == text


def test_numbers_keep_their_digits_in_xml() -> None:
    assert encode_xml({"a": Raw(b"1.50"), "b": Raw(b"1e5")}) == b"<doc><a>1.50</a><b>1e5</b></doc>"


names = st.text("a1-._ <>&\"'/=éж\x00\u2028²", max_size=4)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(names, values, min_size=2, max_size=4))
def test_every_document_is_written_as_well_formed_xml(document: Any) -> None:
    Tree.fromstring(encode_xml({"root": document}))


@given(st.binary(max_size=60) | st.text("<>/&;ab=\"'!-[]?: ", max_size=40).map(str.encode))
def test_no_bytes_make_the_decoder_raise_anything_else(body: bytes) -> None:
    for each in (body, b"<a>" + body + b"</a>", b"<" + body):
        try:
            encode_json(decode_xml(each))
        except DecodeError:
            continue
