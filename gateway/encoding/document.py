"""Documents as they go through the gateway, whatever encoding they came in. Pure.

A document is decoded as shallowly as possible: the values of an object stay undecoded JSON
(:class:`msgspec.Raw`). Numbers keep their digits, and what is only passed on is never decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from json import JSONDecoder
from typing import TypeAlias, overload

from msgspec import Raw
from msgspec.json import Decoder

from ..errors import GatewayError

Value: TypeAlias = "Mapping[str, Value] | Sequence[Value] | Raw | str | int | float | bool | None"
Document: TypeAlias = dict[str, Value]
Decode: TypeAlias = Callable[[bytes], Document | None]
"""None: the body is empty, or JSON's null. Raises :class:`DecodeError`."""

TOO_DEEP = "nested too deeply"

decode_object: Callable[[bytes | Raw], Document | None] = Decoder(dict[str, Raw] | None).decode
decode_array: Callable[[bytes | Raw], list[Value] | None] = Decoder(list[Raw] | None).decode
# Numbers become strings: they keep their digits, and Python refuses integers of more than 4300.
_decode_all: Callable[[str], Value] = JSONDecoder(parse_int=str, parse_float=str).decode


class DecodeError(ValueError):
    """The bytes are not valid in the encoding that the configuration names."""


def reason_of(error: Exception) -> str:
    """Why bytes cannot be decoded. ``error``: what their decoder raised."""
    if isinstance(error, DecodeError | GatewayError):
        return str(error)
    return f"{type(error).__name__}: {error}"


def unwrap(value: Value) -> Value:
    """Undecoded JSON, decoded by one level; any other value as it is.

    A scalar (number, string, true, false, null) stays undecoded. Raises :class:`DecodeError` when
    the value is nested too deeply.
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


@overload
def unwrap_all(value: Document) -> Document: ...


@overload
def unwrap_all(value: Value) -> Value: ...


def unwrap_all(value: Value) -> Value:
    """A value with all of its undecoded JSON decoded. The numbers of that JSON become strings.

    Raises RecursionError when the value is nested too deeply.
    """
    if isinstance(value, Raw):
        return _decode_all(bytes(value).decode())
    if isinstance(value, dict):
        return {key: unwrap_all(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [unwrap_all(each) for each in value]
    return value
