"""RSS and Atom feeds as documents of the shape KrakenD gives them (mmcdole/gofeed). Pure.

The tables say which element becomes which key. An item has only the keys that the feed has
elements for; the feed itself always has the same keys. A feed must be well-formed XML.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from .document import TOO_DEEP, DecodeError, Document, Value
from .text_xml import MAX_DEPTH, parse_xml

_SEPARATOR = " "
_CONTENT = "http://purl.org/rss/1.0/modules/content/"
_PREFIXES = {
    _CONTENT: "content",
    "http://purl.org/dc/elements/1.1/": "dc",
    "http://purl.org/dc/terms/": "dcterms",
    "http://www.itunes.com/dtds/podcast-1.0.dtd": "itunes",
    "http://search.yahoo.com/mrss": "media",
    "http://purl.org/rss/1.0/modules/syndication/": "sy",
    "http://purl.org/rss/1.0/modules/slash/": "slash",
    "http://www.georss.org/georss": "georss",
    "http://wellformedweb.org/commentapi/": "wfw",
    "http://www.w3.org/2005/atom": "atom",
}
"""The name of each extension, by its namespace in lower case, without the "/" at the end where
feeds use both forms. Any other namespace is its own name."""

_RSS = frozenset(
    {
        "",
        "http://purl.org/rss/1.0/",
        "http://my.netscape.com/rdf/simple/0.9/",
        "http://backend.userland.com/rss2",
    }
)
"""Namespaces of the feed's own format: they are not extensions."""

_PERSONS = (
    re.compile(r"(?P<email>[^@]+@[^\s]+)\s+\((?P<name>[^@]+)\)"),
    # The end is matched first: if it matches, the last "(" before the "@" matches, too.
    re.compile(r"(?=[^@]+@[^)]+\)\Z)(?P<name>[^@]+)\s\((?P<email>[^@]+@[^)]+)\)"),
    re.compile(r"(?P<name>[^@()]+)"),
    re.compile(r"(?P<email>[^@()]+@[^@()]+)"),
)


class _FeedElement:
    """An element: its namespace ("" for that of the root), its name and its content."""

    __slots__ = ("attributes", "children", "name", "pieces", "space", "text")

    def __init__(self, name: str, attributes: Sequence[str], home: str | None) -> None:
        space, _, self.name = name.rpartition(_SEPARATOR)
        self.space = "" if space == home else space
        names = (each.rpartition(_SEPARATOR)[2] for each in attributes[::2])
        self.attributes = dict(zip(names, attributes[1::2], strict=True))
        self.children: list[_FeedElement] = []
        self.pieces: list[str] = []
        self.text = ""

    @property
    def key(self) -> str:
        return self.name.lower()

    def plain(self, key: str) -> list[_FeedElement]:
        """The children of that name that belong to the feed's own format."""
        return [each for each in self.children if each.key == key and not _extension(each)]

    def first(self, key: str) -> str:
        """The text of the last child of that name."""
        found = self.plain(key)
        return found[-1].text if found else ""


class _FeedReader:
    """Builds the tree of a feed."""

    def __init__(self) -> None:
        self.root: _FeedElement | None = None
        self.is_complete = False
        self._open: list[_FeedElement] = []

    def start(self, name: str, attributes: Sequence[str]) -> None:
        element = _FeedElement(name, attributes, self.root.space if self.root else None)
        if len(self._open) >= MAX_DEPTH:
            raise DecodeError(TOO_DEEP)
        if self._open:
            self._open[-1].children.append(element)
        else:
            self.root = element
        self._open.append(element)

    def end(self, name: str) -> None:
        element = self._open.pop()
        element.text = "".join(element.pieces).strip()
        self.is_complete = not self._open

    def text(self, text: str) -> None:
        self._open[-1].pieces.append(text)


def decode_rss(body: bytes) -> Document | None:
    """A feed: RSS 0.9 to 2.0, RDF, Atom. Raises DecodeError for anything else."""
    reader = _FeedReader()
    parse_xml(body, reader, _SEPARATOR)
    root = reader.root
    translate = FORMATS.get(root.key) if root is not None else None
    if root is None or translate is None:
        raise DecodeError("not a feed: neither RSS nor Atom")
    return translate(root)


def _from_rss(root: _FeedElement) -> Document:
    channel = next(iter(root.plain("channel")), root)
    items = [*channel.plain("item"), *(root.plain("item") if channel is not root else ())]
    dublin, itunes = _dublin_core(channel), _itunes(channel)
    author = channel.first("managingeditor") or channel.first("webmaster")
    author = author or _any_of(dublin, "author", "creator") or itunes.get("author", "")
    image = [each.first("url") for each in (*channel.plain("image"), *root.plain("image"))]
    image = image or [itunes[key] for key in ("image",) if key in itunes]
    categories = [each.text for each in channel.plain("category")]
    categories += [each for each in itunes.get("keywords", "").split(",") if each]
    feed: Document = {
        "items": [_rss_item(item) for item in items],
        "author": _person(author) if author else None,
        "categories": [*categories, *dublin.get("subject", ())] or None,
        "custom": None,
        "copyright": channel.first("copyright") or _any_of(dublin, "rights"),
        "description": channel.first("description") or itunes.get("summary", ""),
        "type": "rss",
        "language": channel.first("language") or _any_of(dublin, "language"),
        "title": channel.first("title") or _any_of(dublin, "title"),
        "published": channel.first("pubdate"),
        "updated": channel.first("lastbuilddate") or _any_of(dublin, "date"),
    }
    return {**feed, "img_url": image[-1]} if image else feed


RSS_ITEM = frozenset(
    {"title", "description", "link", "author", "comments", "pubdate", "source", "enclosure"}
    | {"guid", "category", "encoded"}
)
"""The elements of an RSS item. Other elements go into its ``custom``."""


def _rss_item(item: _FeedElement) -> Document:
    dublin, itunes = _dublin_core(item), _itunes(item)
    links = [each.text or each.attributes.get("href", "") for each in item.plain("link")]
    published = item.first("pubdate") or _any_of(dublin, "date")
    updated = _any_of(dublin, "date")
    author = item.first("author") or _any_of(dublin, "author", "creator")
    author = author or itunes.get("author", "")
    categories = [each.text for each in item.plain("category")]
    categories += [each for each in itunes.get("keywords", "").split(",") if each]
    return _present(
        title=item.first("title") or _any_of(dublin, "title"),
        description=item.first("description")
        or _any_of(dublin, "description")
        or itunes.get("summary", ""),
        content="".join(each.text for each in item.children if _is_content(each)),
        link=links[-1] if links else "",
        links=links,
        updated=updated,
        updatedParsed=_date(updated),
        published=published,
        publishedParsed=_date(published),
        author=_person(author) if author else None,
        authors=[_person(author)] if author else None,
        guid=item.first("guid"),
        image={"url": itunes["image"]} if "image" in itunes else None,
        categories=[*categories, *dublin.get("subject", ())],
        enclosures=[_enclosure(each, "url") for each in item.plain("enclosure")],
        dcExt=dublin,
        itunesExt=itunes,
        extensions=_extensions(item),
        custom={
            each.name: each.text
            for each in item.children
            if not _extension(each) and each.key not in RSS_ITEM
        },
    )


def _from_atom(root: _FeedElement) -> Document:
    authors = [_atom_person(each) for each in root.plain("author")]
    logo = root.first("logo")
    feed: Document = {
        "items": [_atom_item(entry) for entry in root.plain("entry")],
        "author": authors[0] if authors else None,
        "categories": [each.attributes.get("term", "") for each in root.plain("category")] or None,
        "custom": None,
        "copyright": root.first("rights"),
        "description": root.first("subtitle"),
        "type": "atom",
        "language": root.attributes.get("lang", ""),
        "title": root.first("title"),
        "published": "",
        "updated": root.first("updated"),
    }
    return {**feed, "img_url": logo} if logo else feed


def _atom_item(entry: _FeedElement) -> Document:
    links = [(each.attributes.get("rel", "alternate"), each) for each in entry.plain("link")]
    authors = [_atom_person(each) for each in entry.plain("author")]
    updated = entry.first("updated")
    published = entry.first("published") or updated
    return _present(
        title=entry.first("title"),
        description=entry.first("summary"),
        content=entry.first("content"),
        link=next((_href(each) for rel, each in links if rel == "alternate"), ""),
        links=[_href(each) for rel, each in links if rel in ("alternate", "self")],
        updated=updated,
        updatedParsed=_date(updated),
        published=published,
        publishedParsed=_date(published),
        author=authors[0] if authors else None,
        authors=authors,
        guid=entry.first("id"),
        categories=[each.attributes.get("term", "") for each in entry.plain("category")],
        enclosures=[_enclosure(each, "href") for rel, each in links if rel == "enclosure"],
        extensions=_extensions(entry),
    )


FORMATS: dict[str, Callable[[_FeedElement], Document]] = {
    "rss": _from_rss,
    "rdf": _from_rss,
    "feed": _from_atom,
}
"""By the name of the root element."""


def _present(**fields: Value) -> Document:
    return {key: value for key, value in fields.items() if value}


def _href(link: _FeedElement) -> str:
    return link.attributes.get("href", "")


def _enclosure(element: _FeedElement, url: str) -> Document:
    attributes = element.attributes
    keys = (("url", url), ("length", "length"), ("type", "type"))
    return {key: attributes[name] for key, name in keys if attributes.get(name)}


def _person(text: str) -> Document:
    found = next((match for each in _PERSONS if (match := each.fullmatch(text))), None)
    return {key: value for key, value in found.groupdict().items() if value} if found else {}


def _atom_person(element: _FeedElement) -> Document:
    return _present(name=element.first("name"), email=element.first("email"))


def _date(text: str) -> str | None:
    """A date in RFC 2822 or ISO 8601 as RFC 3339 in UTC. None for any other text."""
    for parse in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            date = parse(text)
            date = date.replace(tzinfo=UTC) if date.tzinfo is None else date.astimezone(UTC)
        except (ValueError, OverflowError):
            continue
        return date.isoformat().replace("+00:00", "Z")
    return None


def _is_content(element: _FeedElement) -> bool:
    return element.key == "encoded" and element.space == _CONTENT


def _extension(element: _FeedElement) -> str:
    """The name of the extension that an element belongs to; "" for the feed's own format."""
    space = element.space.lower()
    if element.space in _RSS or _is_content(element):
        return ""
    return _PREFIXES.get(space) or _PREFIXES.get(space.rstrip("/")) or element.space


def _extensions(element: _FeedElement) -> Document:
    """``{extension: {element: [{name, value, attrs, children}]}}``."""
    found: dict[str, list[_FeedElement]] = {}
    for each in element.children:
        if prefix := _extension(each):
            found.setdefault(prefix, []).append(each)
    return {prefix: _by_name(children) for prefix, children in found.items()}


def _by_name(elements: Iterable[_FeedElement]) -> dict[str, list[Document]]:
    found: dict[str, list[Document]] = {}
    for each in elements:
        found.setdefault(each.name, []).append(
            {
                "name": each.name,
                "value": each.text,
                "attrs": each.attributes,
                "children": _by_name(each.children),
            }
        )
    return found


DUBLIN_CORE = frozenset(
    (
        *("title", "creator", "author", "subject", "description", "publisher", "contributor"),
        *("date", "type", "format", "identifier", "source", "language", "relation", "coverage"),
        "rights",
    )
)
ITUNES = frozenset(
    (
        *("author", "block", "duration", "explicit", "keywords", "subtitle", "summary"),
        *("isClosedCaptioned", "episode", "season", "order", "episodeType"),
    )
)


def _dublin_core(element: _FeedElement) -> dict[str, list[str]]:
    """The texts of each Dublin Core element."""
    found: dict[str, list[str]] = {}
    for each in element.children:
        if _extension(each) == "dc" and each.name in DUBLIN_CORE:
            found.setdefault(each.name, []).append(each.text)
    return found


def _itunes(element: _FeedElement) -> dict[str, str]:
    """The first text of each iTunes element; of the image its address."""
    found: dict[str, str] = {}
    for each in element.children:
        if _extension(each) != "itunes":
            continue
        text = _href(each) if each.name == "image" else each.text
        if text and (each.name in ITUNES or each.name == "image"):
            found.setdefault(each.name, text)
    return found


def _any_of(found: dict[str, list[str]], *keys: str) -> str:
    return next((found[key][0] for key in keys if found.get(key)), "")
