"""JSON to documents and back. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from json import JSONDecoder
from typing import TypeVar

from msgspec import DecodeError as MsgspecDecodeError
from msgspec import Raw
from msgspec.json import Decoder, Encoder

from ..config.json_types import Json
from .document import TOO_DEEP, DecodeError, Document, Value, decode_array, decode_object
from .json_errors import explain

T = TypeVar("T")

encode_json: Callable[[object], bytes] = Encoder().encode

_decode_raw: Callable[[bytes], Raw] = Decoder(Raw).decode
_decode_json: Callable[[bytes], Json] = Decoder().decode
# Numbers become strings: Python refuses integers of more than 4300 digits.
_find_end = JSONDecoder(parse_int=str, parse_float=str).raw_decode

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
"""An escaped surrogate. This search takes a seventieth of the time of ``_BEFORE_LONE``."""
_ALONE = rb"u[dD][89a-fA-F][\da-fA-F]{2}"
_PAIR = rb"u[dD][89abAB][\da-fA-F]{2}\\u[dD][c-fC-F][\da-fA-F]{2}"
_BEFORE_LONE = re.compile(
    rb"((?:[^\\]++|\\(?:%b|(?!%b)(?:.|\Z)))*+)(?:\\%b|\Z)" % (_PAIR, _ALONE, _ALONE), re.DOTALL
)
"""Everything up to an escaped surrogate without its other half, or up to the end. It matches at
every position, so that no byte is read twice."""
_LENGTH_ESCAPED = len(rb"\ud800")
_BLANKS = b" \t\r\n"

GO_OBJECT, GO_ARRAY = "map[string]interface {}", "[]interface {}"
"""Go's types of an object and an array: KrakenD's error messages name them."""

BACKSLASH = ord("\\")
"""A number: ``in`` finds it in a tenth of the time of a bytes object."""


def decode_json(body: bytes) -> Document | None:
    """A JSON object. None for ``null`` and an empty body."""
    if body.isascii() and (BACKSLASH not in body or b"\\u" not in body):
        try:
            return decode_object(body)
        except (MsgspecDecodeError, RecursionError):
            pass  # the tolerant decoder below repairs the body, or says what is wrong
    if _is_blank(body):
        return None
    return _tolerantly(decode_object, body, GO_OBJECT)


def decode_collection(body: bytes) -> Document | None:
    """A JSON array, undecoded, under the key ``collection``."""
    if _is_blank(body):
        return None
    value = _tolerantly(_decode_raw, body, GO_ARRAY)
    first = bytes(memoryview(value)[:1])
    if first != b"[":  # null; anything else raises DecodeError
        return {"collection": _tolerantly(decode_array, body, GO_ARRAY)}
    return {"collection": value}


def decode_safejson(body: bytes) -> Document | None:
    """Any JSON: an array becomes ``collection``, anything but an object ``content``."""
    if _is_blank(body):
        return None
    value = _tolerantly(_decode_raw, body, "")
    first = bytes(memoryview(value)[:1])
    if first == b"{":
        try:
            return decode_object(value)
        except RecursionError as error:
            raise DecodeError(TOO_DEEP) from error
    return {"collection" if first == b"[" else "content": value}


def decode_value(body: bytes) -> Json:
    """Exactly one JSON document as Python values. Its numbers are Python's numbers.

    Raises :class:`DecodeError`, also for a number that Python cannot represent.
    """
    try:
        return _decode_json(_repaired(body))
    except MsgspecDecodeError as error:
        raise DecodeError(str(error)) from error
    except RecursionError as error:
        raise DecodeError(TOO_DEEP) from error


def to_value(data: Value) -> Json:
    """A document as Python values, without undecoded JSON in it.

    Raises :class:`DecodeError`, as :func:`decode_value` does.
    """
    try:
        return decode_value(encode_json(data))
    except RecursionError as error:
        raise DecodeError(TOO_DEEP) from error


def _is_blank(body: bytes) -> bool:
    return not body.strip(_BLANKS)


def _tolerantly(decode: Callable[[bytes], T], body: bytes, wanted: str) -> T:
    """Decode what Go decodes: invalid UTF-8 is replaced, bytes after the document are ignored.

    ``wanted``: the Go type that KrakenD decodes into, for the error message.
    """
    repaired = _repaired(body)
    try:
        return decode(repaired)
    except MsgspecDecodeError as error:
        try:
            return _decode_first(decode, repaired)
        except (ValueError, RecursionError):
            raise DecodeError(explain(body, wanted) or str(error)) from error
    except RecursionError as error:
        raise DecodeError(TOO_DEEP) from error


def _repaired(body: bytes) -> bytes:
    """Invalid UTF-8 and lone surrogates become U+FFFD."""
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError:
            body = body.decode(errors="replace").encode()
    return _without_lone_surrogates(body) if _SURROGATE.search(body) else body


def _without_lone_surrogates(body: bytes) -> bytes:
    pieces = _BEFORE_LONE.findall(body)
    number = (len(body) - sum(map(len, pieces))) // _LENGTH_ESCAPED
    return rb"\ufffd".join(pieces[: number + 1])


def _decode_first(decode: Callable[[bytes], T], body: bytes) -> T:
    """The first document of several. Raises ValueError or RecursionError."""
    text = body.lstrip(_BLANKS).decode()
    _, end = _find_end(text)
    return decode(text[:end].encode())
