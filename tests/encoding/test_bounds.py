"""Decoders and encoders take time that grows with their input, and no faster."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.encoding import DECODERS, DecodeError, decode_rss, decode_value, encode_json
from gateway.encoding.text_json import _repaired
from gateway.encoding.text_xml import MAX_NAMESPACE
from gateway.router.render import ENCODERS
from tests.watchdog import outcome

DECODE = [(name, number) for name in DECODERS for number in (0, 1)]
SIZE = 60_000


def filled(piece: bytes) -> bytes:
    return piece * (SIZE // len(piece))


def feed(element: bytes) -> bytes:
    return b"<rss><channel><item>%b</item></channel></rss>" % element


WORST = {
    "deep arrays": filled(b"["),
    "deep objects": filled(b'{"a":'),
    "backslashes": b'"' + filled(b"\\"),
    "pairs of backslashes": b'{"a":"' + filled(b"\\\\") + b'\\ud800"}',
    "lone surrogates": b'{"a":"' + filled(b"\\ud800") + b'"}',
    "pairs of surrogates": b'{"a":"' + filled(b"\\ud83d\\ude00") + b'"}',
    "halves of escapes": b'{"a":"' + filled(b"\\uD8") + b'"}',
    "invalid UTF-8": b'{"a":"' + filled(b"\xff") + b'"}',
    "blanks": filled(b" "),
    "documents behind each other": filled(b"{}"),
    "digits": filled(b"1"),
    "keys": b"{" + b",".join(b'"%d":1' % number for number in range(SIZE // 10)) + b"}",
    "many elements": b"<a>" + filled(b"<b/>") + b"</a>",
    "attributes": b"<a " + b" ".join(b'x%d=""' % number for number in range(SIZE // 9)) + b"/>",
    "one long name": b"<" + filled(b"a") + b"/>",
    "defaults of attributes": b"<!DOCTYPE a [<!ATTLIST b "
    + b"".join(b'x%d CDATA "" ' % number for number in range(SIZE // 14))
    + b">]><a>"
    + filled(b"<b/>")
    + b"</a>",
    "a long default": b'<!DOCTYPE a [<!ATTLIST b x CDATA "%b">]><a>%b</a>'
    % (filled(b"v"), filled(b"<b/>")),
    "a long namespace": b'<rss xmlns="%b"><channel>%b</channel></rss>'
    % (filled(b"u"), filled(b"<a/>")),
    "persons of blanks": feed(b"<author>a" + filled(b" ") + b"</author>"),
    "persons of parentheses": feed(b"<author>a" + filled(b" (") + b"@</author>"),
    "persons of both": feed(b"<author>a" + filled(b" (b") + b"@)</author>"),
    "persons of at signs": feed(b"<author>" + filled(b"@") + b")</author>"),
    "dates": feed(b"<pubDate>1 Jan 2000 " + filled(b":") + b"</pubDate>"),
    "dates in parentheses": feed(b"<pubDate>" + filled(b"(") + b"</pubDate>"),
    "keywords": feed(filled(b",")),
}


@pytest.mark.parametrize("body", WORST.values(), ids=WORST)
@pytest.mark.parametrize(("encoding", "number"), DECODE)
def test_decoding_takes_no_longer_than_its_size_allows(
    encoding: str, number: int, body: bytes
) -> None:
    result = outcome(DECODERS[encoding][number], body)
    assert result is None or isinstance(result, dict | DecodeError | RecursionError)


@pytest.mark.parametrize("body", WORST.values(), ids=WORST)
def test_values_take_no_longer_than_their_size_allows(body: bytes) -> None:
    outcome(decode_value, body)


PIECES = st.lists(
    st.sampled_from(
        [
            *(b"{", b"}", b"[", b"]", b'"', b":", b",", b"\\", b"1", b"1e9", b"null", b"\0", b" "),
            *(b"\\ud800", b"\\udc00", b"\\u00e9", b"\xff"),
            *(b"<a>", b"</a>", b"<a/>", b"<![CDATA[", b"]]>", b"<!--", b"-->", b"&lt;"),
            *(b"<rss>", b"<channel>", b"<item>", b"<author>", b"(", b")", b"@"),
        ]
    ),
    max_size=12,
).map(b"".join)


@pytest.mark.parametrize(("encoding", "number"), DECODE)
@given(piece=PIECES, times=st.integers(1, 400), begin=PIECES, end=PIECES)
def test_a_body_of_repeated_pieces_is_decoded_or_refused_in_time(
    encoding: str, number: int, piece: bytes, times: int, begin: bytes, end: bytes
) -> None:
    result = outcome(DECODERS[encoding][number], begin + piece * times + end)
    assert result is None or isinstance(result, dict | DecodeError | RecursionError)


def nested(depth: int, inner: Any) -> Any:
    for number in range(depth):
        inner = {"a": inner} if number % 2 else [inner]
    return inner


DOCUMENTS = {
    "many keys": {str(number): number for number in range(10_000)},
    "many texts": {"a": ["x: y"] * 10_000},
    "one long text": {"a": "1:" * 30_000},
    "backslashes": {"a": "\\" * 50_000},
    "breaks": {"a": "\u2028\n" * 5_000},
    "names that are none": {"<" * 50_000: 1},
    "deep": {"a": nested(150, list(range(100)))},
    "controls": {"a": "\x01" * 50_000},
}


@pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS)
@pytest.mark.parametrize("encoding", ENCODERS)
def test_encoding_takes_no_longer_than_its_size_allows(encoding: str, document: Any) -> None:
    encode = ENCODERS[encoding].encode
    for data in (document, DECODERS["json"][0](encode_json(document))):
        assert isinstance(outcome(encode, data), bytes)


def test_a_namespace_has_a_bound_and_attributes_are_not_declared() -> None:
    space = b"u" * (MAX_NAMESPACE + 1)
    with pytest.raises(DecodeError, match="namespace"):
        decode_rss(b'<rss xmlns:p="%b"/>' % space)
    with pytest.raises(DecodeError, match="attributes"):
        DECODERS["xml"][0](b"<!DOCTYPE a [<!ATTLIST a x CDATA 'y'>]><a/>")


LONE = re.compile(
    rb"(?<!\\)((?:\\\\)*)"
    rb"(?:(\\u[dD][89abAB][\da-fA-F]{2}\\u[dD][c-fC-F][\da-fA-F]{2})|\\u[dD][89a-fA-F][\da-fA-F]{2})"
)
"""The rule as one expression: slow, and plain."""
ESCAPES = st.lists(
    st.sampled_from(
        [b"\\", b"\\\\", b"\\ud83d", b"\\uDE00", b"\\uD8", b"\\n", b"\\u00e9", b"a", b"u", b"d8"]
    ),
    max_size=10,
).map(b"".join)


@given(ESCAPES)
def test_lone_surrogates_are_replaced_and_pairs_are_kept(body: bytes) -> None:
    expected = LONE.sub(lambda match: match[1] + (match[2] or rb"\ufffd"), body)
    assert _repaired(body) == expected


@pytest.mark.parametrize(
    ("text", "person"),
    [
        (b"a b  (c@d)", {"name": "a b ", "email": "c@d"}),
        (b"a (b (c@d)", {"name": "a (b", "email": "c@d"}),
        (b"a (@d)", {}),
        (b"c@d (a b)", {"name": "a b", "email": "c@d"}),
        (b"a b", {"name": "a b"}),
        (b"c@d", {"email": "c@d"}),
    ],
)
def test_a_person_is_a_name_an_address_or_both(text: bytes, person: dict[str, str]) -> None:
    document: Any = decode_rss(feed(b"<author>%b</author>" % text))
    assert document["items"][0].get("author", {}) == person
