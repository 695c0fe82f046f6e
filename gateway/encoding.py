"""Bytes to documents and back, as tables of functions. Pure.

Documents are decoded as shallowly as can be: the values of an object stay JSON text
(:class:`msgspec.Raw`), so numbers keep their digits and nothing is decoded that is only passed on.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from json import JSONDecoder
from typing import Any, TypeAlias

from msgspec import DecodeError as MsgspecDecodeError
from msgspec import Raw
from msgspec.json import Decoder, Encoder

Document: TypeAlias = dict[str, Any]
Decode: TypeAlias = Callable[[bytes], Document | None]
"""None: there is no document (nothing, or JSON's null). Raises :class:`DecodeError`."""


class DecodeError(ValueError):
    """The bytes do not have the encoding that was announced."""


encode_json: Callable[[object], bytes] = Encoder().encode

_decode_object = Decoder(dict[str, Raw] | None).decode
_decode_array = Decoder(list[Raw] | None).decode
_decode_any = Decoder(Raw).decode
# Numbers stay text: Python refuses integers of more than 4300 digits.
_find_end = JSONDecoder(parse_int=str, parse_float=str).raw_decode
_LONE_SURROGATE = re.compile(
    rb"(?<!\\)((?:\\\\)*)"
    rb"(?:(\\u[dD][89abAB][\da-fA-F]{2}\\u[dD][c-fC-F][\da-fA-F]{2})"
    rb"|\\u[dD][89a-fA-F][\da-fA-F]{2})"
)
"""An escaped surrogate: with its other half (group 2), or alone."""
_BLANKS = b" \t\r\n"
TOO_DEEP = "nested too deeply"


def build_decoder(encoding: str, is_collection: bool) -> Decode:
    """The decoder of a backend's ``encoding``; an unknown name means "json", as in KrakenD."""
    if encoding in ("string", "no-op", "safejson"):
        return DECODERS[encoding]
    return decode_collection if is_collection else DECODERS.get(encoding, decode_json)


def decode_json(body: bytes) -> Document | None:
    """A JSON object; ``null`` and nothing at all are no document."""
    if _is_blank(body):
        return None
    document: Document | None = _tolerantly(_decode_object, body)
    return document


def decode_collection(body: bytes) -> Document | None:
    """A JSON array, under the key ``collection``."""
    return None if _is_blank(body) else {"collection": _tolerantly(_decode_array, body)}


def decode_safejson(body: bytes) -> Document | None:
    """Any JSON: an array becomes ``collection``, anything but an object ``content``."""
    if _is_blank(body):
        return None
    value = unwrap(_tolerantly(_decode_any, body))
    if isinstance(value, dict):
        return value
    return {"collection" if isinstance(value, list) else "content": value}


def decode_string(body: bytes) -> Document | None:
    """Text, under the key ``content``."""
    return {"content": body.decode(errors="replace")}


def decode_nothing(body: bytes) -> Document | None:
    """``no-op``: nobody looks inside."""
    return {}


DECODERS: dict[str, Decode] = {
    "json": decode_json,
    "safejson": decode_safejson,
    "string": decode_string,
    "no-op": decode_nothing,
}


def unwrap(value: Any) -> Any:
    """A JSON text as a document one level deep; any other value as it is.

    Numbers, and whatever else is neither object nor array, stay text. Raises
    :class:`DecodeError` when it is nested too deeply.
    """
    if not isinstance(value, Raw):
        return value
    first = bytes(memoryview(value)[:1])
    try:
        if first == b"{":
            return _decode_object(value)
        return _decode_array(value) if first == b"[" else value
    except RecursionError as error:
        raise DecodeError(TOO_DEEP) from error


def _is_blank(body: bytes) -> bool:
    return not body.strip(_BLANKS)


def _tolerantly(decode: Callable[[bytes], Any], body: bytes) -> Any:
    """Decode what Go decodes: invalid UTF-8 is replaced, text behind the document ignored."""
    if not body.isascii():
        body = body.decode(errors="replace").encode()
    if b"\\u" in body:
        body = _LONE_SURROGATE.sub(_keep_pairs, body)
    try:
        return decode(body)
    except MsgspecDecodeError as error:
        return _decode_first(decode, body, error)
    except RecursionError as error:
        raise DecodeError(TOO_DEEP) from error


def _decode_first(decode: Callable[[bytes], Any], body: bytes, error: MsgspecDecodeError) -> Any:
    """The first document of several; ``error`` when there is no first one either."""
    text = body.lstrip(_BLANKS).decode()
    try:
        _, end = _find_end(text)
        return decode(text[:end].encode())
    except (ValueError, RecursionError):
        raise DecodeError(str(error)) from error


def _keep_pairs(match: re.Match[bytes]) -> bytes:
    return match[1] + (match[2] or rb"\ufffd")
