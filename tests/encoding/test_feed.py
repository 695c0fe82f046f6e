"""Feeds as documents."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.encoding import DecodeError, build_decoder, decode_rss, encode_json

EMPTY: dict[str, Any] = {
    "items": [],
    "author": None,
    "categories": None,
    "custom": None,
    "copyright": "",
    "description": "",
    "language": "",
    "published": "",
    "title": "",
    "type": "rss",
    "updated": "",
}

NAMESPACES = (
    'xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:atom="http://www.w3.org/2005/Atom" '
    'xmlns:content="http://purl.org/rss/1.0/modules/content/" xmlns:own="urn:own" '
    'xmlns:itunes="http://www.itunes.com/dtds/podcast-1.0.dtd"'
)


def rss(inside: str) -> Any:
    text = f'<?xml version="1.0"?><rss version="2.0" {NAMESPACES}><channel>{inside}</channel></rss>'
    return decode_rss(text.encode())


def item(inside: str) -> Any:
    [found] = rss(f"<item>{inside}</item>")["items"]
    return found


def test_an_empty_feed_has_all_keys() -> None:
    assert rss("") == EMPTY
    assert decode_rss(b"<rss/>") == EMPTY


def test_channel_and_items_of_rss() -> None:
    assert rss(
        "<title>T</title><link>http://e.test/</link><description>D</description>"
        "<language>en</language><copyright>C</copyright>"
        "<managingEditor>a@b.c (Ann)</managingEditor>"
        "<pubDate>Mon, 06 Sep 2021 00:01:00 +0000</pubDate><lastBuildDate>today</lastBuildDate>"
        "<category>x</category><category>y</category><image><url>http://e.test/i</url></image>"
        "<item><title>One</title><link>http://e.test/1</link><guid>g1</guid></item>"
        "<item><title>Two</title></item>"
    ) == {
        **EMPTY,
        "title": "T",
        "description": "D",
        "language": "en",
        "copyright": "C",
        "author": {"name": "Ann", "email": "a@b.c"},
        "published": "Mon, 06 Sep 2021 00:01:00 +0000",
        "updated": "today",
        "categories": ["x", "y"],
        "img_url": "http://e.test/i",
        "items": [
            {
                "title": "One",
                "link": "http://e.test/1",
                "links": ["http://e.test/1"],
                "guid": "g1",
            },
            {"title": "Two"},
        ],
    }


@pytest.mark.parametrize(
    ("inside", "expected"),
    [
        ("<author>Bob</author>", {"author": {"name": "Bob"}, "authors": [{"name": "Bob"}]}),
        ("<content:encoded><![CDATA[<p>x</p>]]></content:encoded>", {"content": "<p>x</p>"}),
        (
            '<enclosure url="u" length="1" type="audio/x"/>',
            {"enclosures": [{"url": "u", "length": "1", "type": "audio/x"}]},
        ),
        ("<rating>5</rating>", {"custom": {"rating": "5"}}),
        ("<category>a</category><category>b</category>", {"categories": ["a", "b"]}),
        ('<link href="h"/>', {"link": "h", "links": ["h"]}),
        (
            "<pubDate>Mon, 06 Sep 2021 00:01:00 +0200</pubDate>",
            {
                "published": "Mon, 06 Sep 2021 00:01:00 +0200",
                "publishedParsed": "2021-09-05T22:01:00Z",
            },
        ),
        ("<pubDate>some day</pubDate>", {"published": "some day"}),
        (
            '<own:x a="1">v<own:y/></own:x>',
            {
                "extensions": {
                    "urn:own": {
                        "x": [
                            {
                                "name": "x",
                                "value": "v",
                                "attrs": {"a": "1"},
                                "children": {
                                    "y": [{"name": "y", "value": "", "attrs": {}, "children": {}}]
                                },
                            }
                        ]
                    }
                }
            },
        ),
    ],
)
def test_an_item_has_the_keys_of_its_elements(inside: str, expected: Any) -> None:
    assert item(inside) == expected


def test_dublin_core_and_itunes_fill_what_is_missing() -> None:
    found = item(
        "<dc:title>T</dc:title><dc:creator>Ann (a@b.c)</dc:creator><dc:subject>s</dc:subject>"
        "<dc:date>2020-01-01T00:00:00+01:00</dc:date><itunes:summary>S</itunes:summary>"
        '<itunes:image href="i"/><itunes:keywords>k,l</itunes:keywords>'
    )
    assert (found["title"], found["description"], found["image"]) == ("T", "S", {"url": "i"})
    assert found["author"] == {"name": "Ann", "email": "a@b.c"}
    assert found["publishedParsed"] == found["updatedParsed"] == "2019-12-31T23:00:00Z"
    assert found["categories"] == ["k", "l", "s"]
    assert found["dcExt"]["subject"] == ["s"]
    assert found["itunesExt"] == {"summary": "S", "image": "i", "keywords": "k,l"}


def test_the_link_of_another_format_is_not_the_link_of_an_item() -> None:
    assert "links" not in item('<atom:link href="x" rel="self"/>')


def test_items_of_rdf_are_next_to_their_channel() -> None:
    found = decode_rss(
        b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" '
        b'xmlns="http://purl.org/rss/1.0/"><channel><title>T</title></channel>'
        b"<item><title>One</title></item></rdf:RDF>"
    )
    assert found == {**EMPTY, "title": "T", "items": [{"title": "One"}]}


def test_atom() -> None:
    assert decode_rss(
        b'<feed xmlns="http://www.w3.org/2005/Atom" xml:lang="de"><title>T</title>'
        b"<subtitle>S</subtitle><updated>2020-01-01T00:00:00Z</updated><rights>R</rights>"
        b"<author><name>N</name><email>n@e.test</email></author><logo>l</logo>"
        b'<entry><title>E</title><link href="h"/><link rel="enclosure" href="f" type="t"/>'
        b"<id>1</id><updated>2020-01-01T00:00:00Z</updated><summary>s</summary>"
        b'<content>c</content><category term="t"/></entry></feed>'
    ) == {
        **EMPTY,
        "type": "atom",
        "title": "T",
        "description": "S",
        "language": "de",
        "copyright": "R",
        "updated": "2020-01-01T00:00:00Z",
        "author": {"name": "N", "email": "n@e.test"},
        "img_url": "l",
        "items": [
            {
                "title": "E",
                "description": "s",
                "content": "c",
                "link": "h",
                "links": ["h"],
                "updated": "2020-01-01T00:00:00Z",
                "updatedParsed": "2020-01-01T00:00:00Z",
                "published": "2020-01-01T00:00:00Z",
                "publishedParsed": "2020-01-01T00:00:00Z",
                "guid": "1",
                "categories": ["t"],
                "enclosures": [{"url": "f", "type": "t"}],
            }
        ],
    }


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html/>",
        b'{"version":"https://jsonfeed.org/version/1"}',
        b"<rss><channel>",
        b"<!DOCTYPE rss [<!ENTITY a 'x'>]><rss/>",
        b"<rss>" + b"<a>" * 600 + b"</a>" * 600 + b"</rss>",
    ],
)
def test_a_body_that_is_not_a_feed_is_an_error(body: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_rss(body)


def test_is_collection_has_no_effect_on_a_feed() -> None:
    assert build_decoder("rss", True) is decode_rss


elements = st.sampled_from(["item", "title", "author", "pubDate", "link", "image", "dc:date", "x"])


@given(st.lists(st.tuples(elements, st.text("aé@()1,: ", max_size=9)), max_size=6))
def test_no_feed_makes_the_decoder_raise_anything_else(pairs: list[tuple[str, str]]) -> None:
    inside = "".join(f"<{name}>{text}</{name}>" for name, text in pairs)
    encode_json(rss(inside + f"<item>{inside}</item>"))
