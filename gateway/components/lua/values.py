"""``luaTable``, ``luaList``, ``luaNil``: documents as scripts see them.

They are references, as in KrakenD: a change by a script is a change of the document. Numbers that a
script does not change keep their digits. (krakend-lua, decorator)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol, TypeGuard, TypeVar

from msgspec import Raw
from msgspec.json import decode as decode_json

from ...core.large import check_decoded
from ...encoding import DecodeError, unwrap
from .digits import float_text, number_text
from .sandbox import (
    NOTHING,
    Arguments,
    Function,
    Returned,
    ScriptError,
    Session,
    is_table,
)

NEED_ARGUMENTS = "need arguments"
VALUE_BYTES = 64
"""About the bytes of a value that is added to a document, without its content."""
IGNORED = object()
"""In place of a value that no document can have, such as a function, which is left out."""

K = TypeVar("K", contravariant=True)


class Container(Protocol[K]):
    """A part of a document, by keys or by indices."""

    def __getitem__(self, key: K, /) -> object: ...

    def __setitem__(self, key: K, value: object, /) -> None: ...


class LuaNil:
    """JSON's null."""


class LuaTable:
    __slots__ = ("data",)

    def __init__(self, data: dict[str, object]) -> None:
        self.data = data


class LuaList:
    __slots__ = ("data",)

    def __init__(self, data: list[object]) -> None:
        self.data = data


def copied(value: object) -> object:
    """A deep copy; JSON text is not decoded."""
    if isinstance(value, dict):
        return {key: copied(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [copied(each) for each in value]
    return value


def handle(session: Session, kind: bytes, subject: object) -> Returned:
    """What a script gets for an object of Python."""
    session.spend(VALUE_BYTES)
    return kind, session.number(subject)


def to_script(session: Session, container: Container[K], key: K) -> Returned:
    """A value of a document. JSON text is decoded when a script reads it."""
    value = container[key]
    if isinstance(value, Raw):
        try:
            check_decoded({"": value})
            value = unwrap(value)
        except DecodeError as error:
            raise ScriptError(str(error)) from error
        if isinstance(value, Raw):
            value = decode_json(value)
        else:
            container[key] = value
    if value is None:
        return handle(session, b"luaNil", LuaNil())
    if isinstance(value, dict):
        return handle(session, b"luaTable", LuaTable(value))
    if isinstance(value, list):
        return handle(session, b"luaList", LuaList(value))
    return b"", plain(value)


def plain(value: object) -> object:
    """A value of a type that Lua has."""
    if isinstance(value, str):
        return value.encode(errors="replace")
    if isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            return math.copysign(math.inf, value)
    return value


def from_script(session: Session, value: object) -> object:
    """The value as one of a document, or IGNORED. A table becomes an object."""
    session.spend(VALUE_BYTES)
    if isinstance(value, bytes):
        session.spend(len(value))
        return value.decode(errors="replace")
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        if not math.isfinite(value):
            raise ScriptError("not a number of JSON")
        return value
    if not is_table(value):
        return IGNORED
    number = value[True]
    if number is not None:
        return _document_of(session.objects[number])
    inner = {_key(key): _inner(session, each) for key, each in value.items()}
    return {key: each for key, each in inner.items() if each is not IGNORED}


def _inner(session: Session, value: object) -> object:
    """Below the first level a table becomes a list if all its keys are whole numbers."""
    found = from_script(session, value)
    if isinstance(found, dict) and is_table(value) and value[True] is None:
        try:
            places = sorted((int(key), key) for key in found)
        except ValueError:
            return found
        return [found[key] for _, key in places]
    return found


def _document_of(subject: object) -> object:
    if isinstance(subject, LuaNil):
        return None
    return subject.data if isinstance(subject, LuaTable | LuaList) else IGNORED


def _key(key: bytes | float) -> str:
    return key.decode(errors="replace") if isinstance(key, bytes) else number_text(key)


def string_argument(value: object) -> bytes:
    """Accepts a string or a number."""
    if isinstance(value, bytes):
        return value
    if is_number(value):
        return number_text(value).encode()
    raise ScriptError("string expected")


def text_argument(value: object) -> str:
    return string_argument(value).decode(errors="replace")


def number_argument(value: object) -> float:
    if is_number(value):
        return value
    raise ScriptError("number expected")


def whole_number(value: object) -> int:
    """Accepts a number, or a string that contains one."""
    if isinstance(value, bytes):
        try:
            value = float(value)
        except ValueError as error:
            raise ScriptError("number expected") from error
    if is_number(value) and math.isfinite(value):
        return int(value)
    raise ScriptError("number expected")


def is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _needs(arguments: Arguments, count: int) -> None:
    if len(arguments) != count:
        raise ScriptError(NEED_ARGUMENTS)


def table_new(session: Session, _: None, arguments: Arguments) -> Returned:
    return handle(session, b"luaTable", LuaTable({}))


def table_get(session: Session, table: LuaTable, arguments: Arguments) -> Returned:
    _needs(arguments, 1)
    key = text_argument(arguments[0])
    return to_script(session, table.data, key) if key in table.data else NOTHING


def table_set(session: Session, table: LuaTable, arguments: Arguments) -> Returned:
    _needs(arguments, 2)
    value = from_script(session, arguments[1])
    if value is not IGNORED:
        table.data[text_argument(arguments[0])] = value
    return NOTHING


def table_len(session: Session, table: LuaTable, arguments: Arguments) -> Returned:
    return b"", len(table.data)


def table_del(session: Session, table: LuaTable, arguments: Arguments) -> Returned:
    _needs(arguments, 1)
    table.data.pop(text_argument(arguments[0]), None)
    return NOTHING


def table_keys(session: Session, table: LuaTable, arguments: Arguments) -> Returned:
    session.spend(8 * len(table.data))
    return handle(session, b"luaList", LuaList([*sorted(table.data)]))


def table_has(session: Session, table: LuaTable, arguments: Arguments) -> Returned:
    _needs(arguments, 1)
    return b"", text_argument(arguments[0]) in table.data


def list_new(session: Session, _: None, arguments: Arguments) -> Returned:
    return handle(session, b"luaList", LuaList([]))


def list_get(session: Session, items: LuaList, arguments: Arguments) -> Returned:
    """The index begins with 0."""
    _needs(arguments, 1)
    index = whole_number(arguments[0])
    return to_script(session, items.data, index) if 0 <= index < len(items.data) else NOTHING


def list_set(session: Session, items: LuaList, arguments: Arguments) -> Returned:
    """After the end the list is filled with nulls."""
    _needs(arguments, 2)
    index, value = whole_number(arguments[0]), from_script(session, arguments[1])
    if index >= 0:
        growth = max(0, index + 1 - len(items.data))
        session.spend(8 * growth)
        items.data.extend([None] * growth)
        if value is not IGNORED:
            items.data[index] = value
    return NOTHING


def list_len(session: Session, items: LuaList, arguments: Arguments) -> Returned:
    return b"", len(items.data)


def list_del(session: Session, items: LuaList, arguments: Arguments) -> Returned:
    _needs(arguments, 1)
    index = whole_number(arguments[0])
    if 0 <= index < len(items.data):
        del items.data[index]
    return NOTHING


def nil_new(session: Session, _: None, arguments: Arguments) -> Returned:
    return handle(session, b"luaNil", LuaNil())


def text_of_number(session: Session, _: None, arguments: Arguments) -> Returned:
    return b"", number_text(number_argument(arguments[0])).encode()


def shown_number(session: Session, _: None, arguments: Arguments) -> Returned:
    return b"", float_text(number_argument(arguments[0])).encode()


def text_lower(session: Session, _: None, arguments: Arguments) -> Returned:
    return b"", text_argument(arguments[0]).lower().encode()


def text_upper(session: Session, _: None, arguments: Arguments) -> Returned:
    return b"", text_argument(arguments[0]).upper().encode()


VALUES: Mapping[bytes, Function] = {
    b"luaTable.new": table_new,
    b"luaTable.get": table_get,
    b"luaTable.set": table_set,
    b"luaTable.len": table_len,
    b"luaTable.del": table_del,
    b"luaTable.keys": table_keys,
    b"luaTable.keyExists": table_has,
    b"luaList.new": list_new,
    b"luaList.get": list_get,
    b"luaList.set": list_set,
    b"luaList.len": list_len,
    b"luaList.del": list_del,
    b"luaNil.new": nil_new,
    b"number.text": text_of_number,
    b"number.shown": shown_number,
    b"text.lower": text_lower,
    b"text.upper": text_upper,
}
