"""``luaTable``, ``luaList``, ``luaNil``: documents as scripts see them.

They are references, as in KrakenD: what a script changes in one is changed in the document. Numbers
that nobody changes keep their digits. (krakend-lua, decorator)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from msgspec import Raw
from msgspec.json import decode as decode_json

from ...core.large import check_decoded
from ...encoding import DecodeError, unwrap
from .digits import float_text, number_text
from .sandbox import NOTHING, Function, Returned, ScriptError, Session

NEED_ARGUMENTS = "need arguments"
COST = 64
"""Bytes of what is added, about, besides what it holds."""
IGNORED = object()
"""A function, say: no value of a document, and left out as in KrakenD."""


class Nil:
    """JSON's null."""


class LuaTable:
    __slots__ = ("data",)

    def __init__(self, data: dict[str, Any]) -> None:
        self.data = data


class Items:
    __slots__ = ("data",)

    def __init__(self, data: list[Any]) -> None:
        self.data = data


def own(value: Any) -> Any:
    """Containers of its own; JSON text stays."""
    if isinstance(value, dict):
        return {key: own(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [own(each) for each in value]
    return value


def stand_for(session: Session, kind: bytes, subject: object) -> Returned:
    session.spend(COST)
    return kind, session.number(subject)


def to_script(session: Session, container: Any, key: Any) -> Returned:
    """A value of a document. JSON text becomes a container where a script goes into it."""
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
        return stand_for(session, b"luaNil", Nil())
    if isinstance(value, dict):
        return stand_for(session, b"luaTable", LuaTable(value))
    if isinstance(value, list):
        return stand_for(session, b"luaList", Items(value))
    return b"", plain(value)


def plain(value: Any) -> Any:
    """What Lua has a type for."""
    if isinstance(value, str):
        return value.encode(errors="replace")
    if isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            return math.copysign(math.inf, value)
    return value


def from_script(session: Session, value: Any) -> Any:
    """A script's value as one of a document, or IGNORED. A table is an object."""
    session.spend(COST)
    if isinstance(value, bytes):
        session.spend(len(value))
        return value.decode(errors="replace")
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        if not math.isfinite(value):
            raise ScriptError("no number of JSON")
        return value
    if not hasattr(value, "items"):
        return IGNORED
    referred = value[True]
    if referred is not None:
        return _document_of(session.objects[referred])
    inner = {_key(key): _inner(session, each) for key, each in value.items()}
    return {key: each for key, each in inner.items() if each is not IGNORED}


def _inner(session: Session, value: Any) -> Any:
    """Below the first level a table whose keys are all whole numbers is a list."""
    found = from_script(session, value)
    if isinstance(found, dict) and hasattr(value, "items") and value[True] is None:
        try:
            places = sorted((int(key), key) for key in found)
        except ValueError:
            return found
        return [found[key] for _, key in places]
    return found


def _document_of(subject: object) -> Any:
    if isinstance(subject, Nil):
        return None
    return subject.data if isinstance(subject, LuaTable | Items) else IGNORED


def _key(key: Any) -> str:
    return key.decode(errors="replace") if isinstance(key, bytes) else number_text(key)


def text(value: Any) -> bytes:
    """An argument that has to be text; a number is as well."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return number_text(value).encode()
    raise ScriptError("string expected")


def decoded(value: Any) -> str:
    return text(value).decode(errors="replace")


def whole(value: Any) -> int:
    """An argument that has to be a number; a text that holds one is as well."""
    if isinstance(value, bytes):
        try:
            value = float(value)
        except ValueError as error:
            raise ScriptError("number expected") from error
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return int(value)
    raise ScriptError("number expected")


def _needs(arguments: tuple[Any, ...], count: int) -> None:
    if len(arguments) != count:
        raise ScriptError(NEED_ARGUMENTS)


def table_new(session: Session, _: None, arguments: tuple[Any, ...]) -> Returned:
    return stand_for(session, b"luaTable", LuaTable({}))


def table_get(session: Session, table: LuaTable, arguments: tuple[Any, ...]) -> Returned:
    _needs(arguments, 1)
    key = decoded(arguments[0])
    return to_script(session, table.data, key) if key in table.data else NOTHING


def table_set(session: Session, table: LuaTable, arguments: tuple[Any, ...]) -> Returned:
    _needs(arguments, 2)
    value = from_script(session, arguments[1])
    if value is not IGNORED:
        table.data[decoded(arguments[0])] = value
    return NOTHING


def table_len(session: Session, table: LuaTable, arguments: tuple[Any, ...]) -> Returned:
    return b"", len(table.data)


def table_del(session: Session, table: LuaTable, arguments: tuple[Any, ...]) -> Returned:
    _needs(arguments, 1)
    table.data.pop(decoded(arguments[0]), None)
    return NOTHING


def table_keys(session: Session, table: LuaTable, arguments: tuple[Any, ...]) -> Returned:
    session.spend(8 * len(table.data))
    return stand_for(session, b"luaList", Items(sorted(table.data)))


def table_has(session: Session, table: LuaTable, arguments: tuple[Any, ...]) -> Returned:
    _needs(arguments, 1)
    return b"", decoded(arguments[0]) in table.data


def list_new(session: Session, _: None, arguments: tuple[Any, ...]) -> Returned:
    return stand_for(session, b"luaList", Items([]))


def list_get(session: Session, items: Items, arguments: tuple[Any, ...]) -> Returned:
    """From 0."""
    _needs(arguments, 1)
    place = whole(arguments[0])
    return to_script(session, items.data, place) if 0 <= place < len(items.data) else NOTHING


def list_set(session: Session, items: Items, arguments: tuple[Any, ...]) -> Returned:
    """Beyond the end the list grows, with nulls between."""
    _needs(arguments, 2)
    place, value = whole(arguments[0]), from_script(session, arguments[1])
    if place >= 0:
        growth = max(0, place + 1 - len(items.data))
        session.spend(8 * growth)
        items.data.extend([None] * growth)
        if value is not IGNORED:
            items.data[place] = value
    return NOTHING


def list_len(session: Session, items: Items, arguments: tuple[Any, ...]) -> Returned:
    return b"", len(items.data)


def list_del(session: Session, items: Items, arguments: tuple[Any, ...]) -> Returned:
    _needs(arguments, 1)
    place = whole(arguments[0])
    if 0 <= place < len(items.data):
        del items.data[place]
    return NOTHING


def nil_new(session: Session, _: None, arguments: tuple[Any, ...]) -> Returned:
    return stand_for(session, b"luaNil", Nil())


def text_of_number(session: Session, _: None, arguments: tuple[Any, ...]) -> Returned:
    return b"", number_text(arguments[0]).encode()


def shown_number(session: Session, _: None, arguments: tuple[Any, ...]) -> Returned:
    return b"", float_text(arguments[0]).encode()


def text_lower(session: Session, _: None, arguments: tuple[Any, ...]) -> Returned:
    return b"", decoded(arguments[0]).lower().encode()


def text_upper(session: Session, _: None, arguments: tuple[Any, ...]) -> Returned:
    return b"", decoded(arguments[0]).upper().encode()


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
