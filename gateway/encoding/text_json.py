"""JSON to documents and back. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from json import JSONDecoder
from typing import Any

from msgspec import DecodeError as MsgspecDecodeError
from msgspec import Raw
from msgspec.json import Decoder, Encoder

from .document import TOO_DEEP, DecodeError, Document, decode_array, decode_object, unwrap
from .json_errors import explain

encode_json: Callable[[object], bytes] = Encoder().encode

_decode_any = Decoder(Raw).decode
_decode_value = Decoder().decode
# Numbers stay text: Python refuses integers of more than 4300 digits.
_find_end = JSONDecoder(parse_int=str, parse_float=str).raw_decode

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
"""What an escaped surrogate looks like: found in a seventieth of the time of the next one."""
_ALONE = rb"u[dD][89a-fA-F][\da-fA-F]{2}"
_PAIR = rb"u[dD][89abAB][\da-fA-F]{2}\\u[dD][c-fC-F][\da-fA-F]{2}"
_BEFORE_LONE = re.compile(
    rb"((?:[^\\]++|\\(?:%b|(?!%b)(?:.|\Z)))*+)(?:\\%b|\Z)" % (_PAIR, _ALONE, _ALONE), re.DOTALL
)
"""All up to an escaped surrogate without its other half, or up to the end. It matches wherever it
begins: no byte is looked at twice."""
_LENGTH_ESCAPED = len(rb"\ud800")
_BLANKS = b" \t\r\n"

GO_OBJECT, GO_ARRAY = "map[string]interface {}", "[]interface {}"
"""What Go decodes an object and an array into, for the message of a failure."""

BACKSLASH = ord("\\")
"""As a number: so it is found in a tenth of the time."""


def decode_json(body: bytes) -> Document | None:
    """A JSON object; ``null`` and nothing at all are no document."""
    if body.isascii() and (BACKSLASH not in body or b"\\u" not in body):
        try:
            whole: Document | None = decode_object(body)
            return whole
        except (MsgspecDecodeError, RecursionError):
            pass  # it is looked at again, with more patience
    if _is_blank(body):
        return None
    document: Document | None = _tolerantly(decode_object, body, GO_OBJECT)
    return document


def decode_collection(body: bytes) -> Document | None:
    """A JSON array, under the key ``collection``, as JSON text."""
    if _is_blank(body):
        return None
    value = _tolerantly(_decode_any, body, GO_ARRAY)
    first = bytes(memoryview(value)[:1])
    if first != b"[":  # null, or what is refused with a reason
        value = _tolerantly(decode_array, body, GO_ARRAY)
    return {"collection": value}


def decode_safejson(body: bytes) -> Document | None:
    """Any JSON: an array becomes ``collection``, anything but an object ``content``."""
    if _is_blank(body):
        return None
    value = _tolerantly(_decode_any, body, "")
    first = bytes(memoryview(value)[:1])
    if first == b"{":
        document: Document = unwrap(value)
        return document
    return {"collection" if first == b"[" else "content": value}


def decode_value(body: bytes) -> Any:
    """Exactly one JSON document, as Python values; its numbers are numbers.

    Raises :class:`DecodeError` also for a number that is none of Python's.
    """
    try:
        return _decode_value(_repaired(body))
    except MsgspecDecodeError as error:
        raise DecodeError(str(error)) from error
    except RecursionError as error:
        raise DecodeError(TOO_DEEP) from error


def to_value(data: Any) -> Any:
    """A document as Python values, without any JSON text left in it.

    Raises :class:`DecodeError` as :func:`decode_value`.
    """
    try:
        return decode_value(encode_json(data))
    except RecursionError as error:
        raise DecodeError(TOO_DEEP) from error


def _is_blank(body: bytes) -> bool:
    return not body.strip(_BLANKS)


def _tolerantly(decode: Callable[[bytes], Any], body: bytes, wanted: str) -> Any:
    """Decode what Go decodes: invalid UTF-8 is replaced, text behind the document ignored.

    ``wanted``: what Go would decode into, for the message of a failure.
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


def _decode_first(decode: Callable[[bytes], Any], body: bytes) -> Any:
    """The first document of several. Raises ValueError or RecursionError."""
    text = body.lstrip(_BLANKS).decode()
    _, end = _find_end(text)
    return decode(text[:end].encode())
