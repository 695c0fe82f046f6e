"""XML to documents and back, by the rules of KrakenD (clbanning/mxj). Pure.

An attribute ``id`` is the key ``-id``. Text next to attributes or elements is the key ``#text``.
Repeated elements are an array. Prefixes are removed, and every value is a string. The parser is
expat, which Python's own modules use. It allows all declarations, so this module refuses them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias
from xml.parsers import expat

from .document import TOO_DEEP, DecodeError, Document, Value, unwrap_all

MAX_DEPTH = 200
"""Levels of elements. A decoded document is encoded again later, and the encoder recurses."""

MAX_NAMESPACE = 256
"""Characters of a namespace's name: each element carries it."""

ROOT = "doc"
"""The root element of a document that does not have exactly one key."""

ATTRIBUTE, TEXT = "-", "#text"
_BLANKS = "\t\r\b\n "
_WIDE = (b"\xff\xfe", b"\xfe\xff")
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&apos;"})
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_FIRST = (
    ":A-Z_a-z\xc0-\xd6\xd8-\xf6\xf8-\u02ff\u0370-\u037d\u037f-\u1fff\u200c\u200d\u2070-\u218f"
    "\u2c00-\u2fef\u3001-\ud7ff\uf900-\ufdcf\ufdf0-\ufffd\U00010000-\U000effff"
)
_LATER = r"\-.0-9\xb7\u0300-\u036f\u203f\u2040"
_NO_NAME = re.compile(f"[^{_FIRST}{_LATER}]|^(?=[{_LATER}])")
"""Characters that no name may have, and the position before one that no name may begin with.
(XML 1.0, 2.3)"""


def decode_xml(body: bytes) -> Document | None:
    """The root element under its name. Text before and after it is ignored."""
    reader = _DocumentBuilder()
    parse_xml(body, reader)
    if reader.document is None:
        raise DecodeError("not XML: no element found")
    return reader.document


def decode_xml_collection(body: bytes) -> Document | None:
    """The same document under the key ``collection``. It does not become an array."""
    return {"collection": decode_xml(body)}


class _OpenElement:
    """An element whose end was not read yet: its keys, and the text before the first of them."""

    __slots__ = ("fields", "name", "text")

    def __init__(self, name: str, fields: Document) -> None:
        self.name = name
        self.fields = fields
        self.text = ""

    def add_text(self, text: str) -> None:
        if text and self.fields:
            self.fields[TEXT] = text
        elif text:
            self.text = text

    def add(self, name: str, value: Value) -> None:
        existing = self.fields.get(name)
        if existing is None:
            self.fields[name] = value
        elif isinstance(existing, list):
            existing.append(value)
        else:
            self.fields[name] = [existing, value]

    def value(self) -> Value:
        if not self.fields:
            return self.text
        if self.text:
            self.fields[TEXT] = self.text
        return self.fields


class XmlReader(Protocol):
    """Builds a result from the calls of expat."""

    @property
    def is_complete(self) -> bool:
        """Whether the end of the root element was read."""
        ...

    def start(self, name: str, attributes: Sequence[str]) -> None:
        """``attributes``: name, value, name, value ..."""

    def end(self, name: str) -> None: ...

    def text(self, text: str) -> None:
        """A piece of text: more may follow."""


class _DocumentBuilder:
    """Builds the document of :func:`decode_xml`."""

    def __init__(self) -> None:
        self.document: Document | None = None
        self._open: list[_OpenElement] = []
        self._text: list[str] = []

    def start(self, name: str, attributes: Sequence[str]) -> None:
        self._end_text()
        if len(self._open) >= MAX_DEPTH:
            raise DecodeError(TOO_DEEP)
        names = (ATTRIBUTE + _local(each) for each in attributes[::2])
        self._open.append(
            _OpenElement(_local(name), dict(zip(names, attributes[1::2], strict=True)))
        )

    def end(self, name: str) -> None:
        self._end_text()
        element = self._open.pop()
        if self._open:
            self._open[-1].add(element.name, element.value())
        else:
            self.document = {element.name: element.value()}

    def text(self, text: str) -> None:
        self._text.append(text)

    def _end_text(self) -> None:
        if self._text:
            self._open[-1].add_text("".join(self._text).strip(_BLANKS))
            self._text.clear()

    @property
    def is_complete(self) -> bool:
        return self.document is not None


def _local(name: str) -> str:
    prefix, _, local = name.partition(":")
    return local if prefix and local else name


def parse_xml(body: bytes, reader: XmlReader, separator: str | None = None) -> None:
    """Call ``reader``'s start, end and text; ``separator``: names are "URI separator name".

    Stops at the end of the root element. Raises :class:`DecodeError`, also for declarations of
    entities and of attributes, and for a long name of a namespace: each use repeats them, so that a
    few lines of XML could become gigabytes.
    """
    start = body.find(b"<")
    if start > 0 and not body.startswith(_WIDE):
        body = body[start:]
    parser = expat.ParserCreate(namespace_separator=separator)
    parser.ordered_attributes = True
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.EntityDeclHandler = _refuse_entities
    parser.AttlistDeclHandler = _refuse_attributes
    if separator is not None:
        parser.StartNamespaceDeclHandler = _check_namespace
    try:
        parser.Parse(body, True)
    except expat.ExpatError as error:
        if not reader.is_complete:
            raise DecodeError(f"not XML: {error}") from error
    except (ValueError, LookupError) as error:  # an encoding that Python does not know
        if isinstance(error, DecodeError):
            raise
        raise DecodeError(f"not XML: {error}") from error


def _refuse_entities(*_: object) -> None:
    raise DecodeError("not XML: declarations of entities are refused")


def _refuse_attributes(*_: object) -> None:
    raise DecodeError("not XML: declarations of attributes are refused")


def _check_namespace(prefix: str | None, space: str | None) -> None:
    if space is not None and len(space) > MAX_NAMESPACE:
        raise DecodeError(f"not XML: a namespace has more than {MAX_NAMESPACE} characters")


def encode_xml(data: Document | None) -> bytes:
    """A single key is the root element; several keys are put into ``<doc>``. Keys are sorted.

    Characters that XML does not allow are replaced: in names by "_", in text by U+FFFD. Raises
    RecursionError when the document is nested too deeply.
    """
    document = unwrap_all(data or {})
    if len(document) == 1 and not _has_bare_items(*document.values()):
        [(name, value)] = document.items()
    else:
        name, value = ROOT, document
    pieces: list[str] = []
    _write(name, value, pieces.append)
    return "".join(pieces).encode()


def _has_bare_items(value: Value) -> bool:
    return isinstance(value, list) and not all(isinstance(each, dict) for each in value)


Write: TypeAlias = Callable[[str], object]


def _write(name: str, value: Value, write: Write) -> None:
    if isinstance(value, list) and value:
        for each in value:
            _write(name, each, write)
        return
    tag = _NO_NAME.sub("_", name) or "_"
    if isinstance(value, dict):
        _write_fields(tag, value, write)
    elif value is None or value in ("", []):
        write(f"<{tag}/>")
    else:
        write(f"<{tag}>{_as_text(value)}</{tag}>")


def _write_fields(tag: str, fields: Document, write: Write) -> None:
    attributes = {
        key[1:]: value
        for key, value in sorted(fields.items())
        if key.startswith(ATTRIBUTE) and len(key) > 1
    }
    elements = {
        key: value
        for key, value in sorted(fields.items())
        if not (key.startswith(ATTRIBUTE) and len(key) > 1) and key != TEXT
    }
    write(f"<{tag}")
    for name, value in attributes.items():
        if isinstance(value, str | int | float):
            write(f' {_NO_NAME.sub("_", name)}="{_as_text(value)}"')
    text = fields.get(TEXT)
    if text is None and not elements:
        write("/>")
        return
    write(">")
    if isinstance(text, str | int | float):
        write(_as_text(text))
    for name, value in elements.items():
        _write(name, value, write)
    write(f"</{tag}>")


def _as_text(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return _NO_XML.sub("\ufffd", str(value)).translate(_ESCAPES)
