"""The normalising walker: what KrakenD tolerates becomes what the Structs say.

msgspec stops at the first error and takes no text for a number; KrakenD (mapstructure, weakly
typed) takes it. The walker goes through a document beside a Struct type, converts, and collects
everything there is to say. It knows types, not meaning.
"""

from __future__ import annotations

import difflib
import types
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import NODEFAULT, Struct

from .findings import Findings, key_path
from .units import parse_duration

COMMENT_MARKS = ("@", "$", "_", "#")
_MISSING = object()


class Walker:
    """Converts one document; ``findings`` gets what is wrong or odd."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings

    def struct(self, value: object, kind: type[Struct], path: str) -> dict[str, Any] | None:
        """The fields of ``kind`` that the object has, converted; None when it is no object."""
        if not isinstance(value, Mapping):
            self._findings.error(path, f"expected an object, found {_show(value)}")
            return None
        hints = get_type_hints(kind, include_extras=True)
        fields: dict[str, Any] = {}
        for key, inner in value.items():
            if key.startswith(COMMENT_MARKS):
                continue
            where = key_path(path, key)
            if key not in hints:
                self._findings.warning(where, _unknown_key(key, hints))
                continue
            converted = self.value(inner, hints[key], where)
            if converted is not _MISSING:
                fields[key] = converted
        for field in msgspec.structs.fields(kind):
            needed = field.default is NODEFAULT and field.default_factory is NODEFAULT
            if needed and field.name not in fields and value.get(field.name) is None:
                self._findings.error(path, f'"{field.name}" is missing')
        return fields

    def whole(self, value: object, kind: type[Struct], field: str, path: str) -> dict[str, Any]:
        """The fields of ``kind`` where the value itself is one of them."""
        converted = self.value(value, get_type_hints(kind, include_extras=True)[field], path)
        return {} if converted is _MISSING else {field: converted}

    def value(self, value: object, hint: Any, path: str) -> Any:
        """``value`` as ``hint`` wants it, or ``_MISSING`` when nothing is to be said."""
        if value is None:  # Go leaves the default
            return _MISSING
        origin = get_origin(hint)
        if origin is Annotated:
            return self._scalar(value, "duration", path)
        if origin in (Union, types.UnionType):
            hints = [arg for arg in get_args(hint) if arg is not type(None)]
            # Of "bool | tuple[...]" a value that is neither is a list of one.
            hint = bool if bool in hints and isinstance(value, bool) else hints[-1]
            return self.value(value, hint, path)
        if origin is tuple:
            return self._items(value, get_args(hint)[0], path)
        if origin is dict:
            return self._mapping(value, get_args(hint)[1], path)
        if hint is Any:
            return value
        if isinstance(hint, type) and issubclass(hint, Struct):
            fields = self.struct(value, hint, path)
            return _MISSING if fields is None else fields
        return self._scalar(value, hint.__name__, path)

    def _items(self, value: object, hint: Any, path: str) -> Any:
        if not isinstance(value, list | tuple):
            self._findings.warning(
                path, f"expected a list, found {_show(value)}: taken as its only item"
            )
            value = [value]
        items = [self.value(item, hint, f"{path}[{place}]") for place, item in enumerate(value)]
        return [item for item in items if item is not _MISSING]

    def _mapping(self, value: object, hint: Any, path: str) -> Any:
        if not isinstance(value, Mapping):
            self._findings.error(path, f"expected an object, found {_show(value)}")
            return _MISSING
        inner = {key: self.value(each, hint, key_path(path, key)) for key, each in value.items()}
        return {key: each for key, each in inner.items() if each is not _MISSING}

    def _scalar(self, value: object, kind: str, path: str) -> Any:
        expected, convert = SCALARS[kind]
        try:
            converted, is_exact = convert(value)
        except (TypeError, ValueError):
            self._findings.error(path, f"expected {expected}, found {_show(value)}")
            return _MISSING
        if not is_exact:
            self._findings.warning(
                path, f"expected {expected}, found {_show(value)}: taken as {converted!r}"
            )
        return converted


def _text(value: object) -> tuple[str, bool]:
    if isinstance(value, bool):
        return ("1" if value else "0"), False
    if isinstance(value, int | float):
        return str(value), False
    if not isinstance(value, str):
        raise TypeError
    return value, True


def _whole(value: object) -> tuple[int, bool]:
    if isinstance(value, bool):
        return int(value), False
    if isinstance(value, str):
        return int(value), False
    if isinstance(value, float):
        return int(value), value.is_integer()
    if not isinstance(value, int):
        raise TypeError
    return value, True


def _number(value: object) -> tuple[float, bool]:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise TypeError
    return float(value), not isinstance(value, str)


def _truth(value: object) -> tuple[bool, bool]:
    if isinstance(value, bool):
        return value, True
    if isinstance(value, int | float):
        return bool(value), False
    words = {"true": True, "1": True, "t": True, "false": False, "0": False, "f": False, "": False}
    if isinstance(value, str) and value.lower() in words:
        return words[value.lower()], False
    raise TypeError


def _duration(value: object) -> tuple[float, bool]:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise TypeError
    if isinstance(value, str):
        return (parse_duration(value), True) if value else (0.0, True)
    return value / 1e9, value == 0  # Go counts nanoseconds


SCALARS: dict[str, tuple[str, Callable[[object], tuple[Any, bool]]]] = {
    "str": ("a text", _text),
    "int": ("a whole number", _whole),
    "float": ("a number", _number),
    "bool": ("true or false", _truth),
    "duration": ('a duration such as "2s"', _duration),
}


def _unknown_key(key: str, known: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    hint = f'; did you mean "{close[0]}"?' if close else ""
    return f"unknown key, ignored{hint}"


def _show(value: object) -> str:
    """What was found, short, and without what may be a secret."""
    if isinstance(value, str):
        return f'the text "{value}"' if len(value) <= 40 and "://" not in value else "a text"
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list | tuple):
        return "a list"
    return str(value).lower() if isinstance(value, bool) else f"the number {value}"
