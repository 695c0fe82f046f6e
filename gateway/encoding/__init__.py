"""Bytes to documents and back, as tables of functions. Pure.

The rules are those of KrakenD's encodings. What a backend does with a document is in
``manipulation.py``.
"""

from __future__ import annotations

from .document import Decode, DecodeError, Document, Value, reason_of, unwrap, unwrap_all
from .feed import decode_rss
from .text_json import (
    decode_collection,
    decode_json,
    decode_safejson,
    decode_value,
    encode_json,
    to_value,
)
from .text_xml import decode_xml, decode_xml_collection, encode_xml
from .text_yaml import encode_yaml

__all__ = [
    "Decode",
    "DecodeError",
    "Document",
    "Value",
    "build_decoder",
    "decode_collection",
    "decode_json",
    "decode_nothing",
    "decode_rss",
    "decode_safejson",
    "decode_string",
    "decode_value",
    "decode_xml",
    "encode_json",
    "encode_xml",
    "encode_yaml",
    "reason_of",
    "to_value",
    "unwrap",
    "unwrap_all",
]


def decode_string(body: bytes) -> Document | None:
    """The body as a string under the key ``content``. Invalid UTF-8 becomes U+FFFD."""
    return {"content": body.decode(errors="replace")}


def decode_nothing(body: bytes) -> Document | None:
    """``no-op``: the body is passed on as bytes, so its document is empty."""
    return {}


DECODERS: dict[str, tuple[Decode, Decode]] = {
    "json": (decode_json, decode_collection),
    "safejson": (decode_safejson, decode_safejson),
    "xml": (decode_xml, decode_xml_collection),
    "rss": (decode_rss, decode_rss),
    "string": (decode_string, decode_string),
    "no-op": (decode_nothing, decode_nothing),
}
"""For each encoding: the decoder of a body, and the one with ``is_collection``."""


def build_decoder(encoding: str, is_collection: bool) -> Decode:
    """The decoder of a backend's ``encoding``; an unknown name means "json", as in KrakenD."""
    single, collection = DECODERS.get(encoding, DECODERS["json"])
    return collection if is_collection else single
