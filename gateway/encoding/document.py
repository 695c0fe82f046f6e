"""Documents as they go through the gateway, whatever encoding they came in. Pure.

They are decoded as shallowly as can be: the values of an object stay JSON text
(:class:`msgspec.Raw`), so numbers keep their digits and nothing is decoded that is only passed on.
"""

from __future__ import annotations

from collections.abc import Callable
from json import JSONDecoder
from typing import Any, TypeAlias

from msgspec import Raw
from msgspec.json import Decoder

from ..errors import GatewayError

Document: TypeAlias = dict[str, Any]
Decode: TypeAlias = Callable[[bytes], Document | None]
"""None: there is no document (nothing, or JSON's null). Raises :class:`DecodeError`."""

TOO_DEEP = "nested too deeply"

decode_object = Decoder(dict[str, Raw] | None).decode
decode_array = Decoder(list[Raw] | None).decode
# Numbers stay text: they keep their digits, and Python refuses integers of more than 4300.
_decode_all = JSONDecoder(parse_int=str, parse_float=str).decode


class DecodeError(ValueError):
    """The bytes do not have the encoding that was announced."""


def reason_of(error: Exception) -> str:
    """Why bytes cannot be decoded; ``error``: whatever their decoder raised."""
    if isinstance(error, DecodeError | GatewayError):
        return str(error)
    return f"{type(error).__name__}: {error}"


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
            return decode_object(value)
        return decode_array(value) if first == b"[" else value
    except RecursionError as error:
        raise DecodeError(TOO_DEEP) from error


def unwrap_all(value: Any) -> Any:
    """A document without any JSON text left in it; its numbers are text then.

    Raises RecursionError when it is nested too deeply.
    """
    if isinstance(value, Raw):
        return _decode_all(bytes(value).decode())
    if isinstance(value, dict):
        return {key: unwrap_all(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [unwrap_all(each) for each in value]
    return value
