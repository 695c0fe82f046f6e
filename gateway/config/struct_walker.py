"""Walks an object together with the Struct that describes it, and converts its values.

KrakenD accepts a string for a number (mapstructure with weak typing); msgspec does not, and it
stops at the first error. The walker converts what KrakenD converts and collects every finding. It
knows types, not meanings.
"""

from __future__ import annotations

import re
import types
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Annotated, Any, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints

from msgspec import NODEFAULT, Struct
from msgspec.structs import fields as fields_of

from .findings import Findings, key_path
from .structs import without_own
from .suggest import did_you_mean
from .unknown_keys import Explain
from .weak_typing import SCALARS

COMMENT_MARKS = ("@", "$", "_", "#")
"""A key that begins with one of these is a comment."""
_MISSING = object()
"""The result for a value that is treated as if its key were absent."""

Hints: TypeAlias = dict[str, object]
"""The types of the fields of a Struct."""
Fields: TypeAlias = dict[str, Any]
"""The fields of a Struct by name, converted; what follows from other keys is still to be added."""


def _suggest_field(key: str, kind: type[Struct]) -> str:
    return did_you_mean(key, kind.__struct_encode_fields__)


class StructWalker:
    """Converts one document. ``findings`` collects what is wrong or unusual.

    ``is_core``: for the parts that KrakenD decodes into Go structs, where a zero means that the key
    is absent. ``explain``: makes the rest of the message about an unknown key.
    """

    def __init__(
        self, findings: Findings, is_core: bool = False, explain: Explain = _suggest_field
    ) -> None:
        self._findings = findings
        self._is_core = is_core
        self._explain = explain

    def struct(self, value: object, kind: type[Struct], path: str) -> Fields | None:
        """The fields of ``kind`` that the object has, converted. None when it is not an object."""
        if not isinstance(value, Mapping):
            self._findings.error(path, f"expected an object, found {_shown(value, path)}")
            return None
        hints = _hints(kind)
        fields: Fields = {}
        seen = set()
        for key, name, where in self._named(value, kind, hints, path):
            seen.add(name)
            converted = self.value(value[key], hints[name], where)
            if converted is not _MISSING and not (self._is_core and _is_zero(converted)):
                fields[name] = converted
            elif value[key] is None:
                seen.discard(name)
        for field in fields_of(kind):
            is_required = field.default is NODEFAULT and field.default_factory is NODEFAULT
            if is_required and field.encode_name not in seen:
                self._findings.error(path, f'"{field.encode_name}" is missing')
        return fields

    def whole(self, value: object, kind: type[Struct], field: str, path: str) -> Fields:
        """The fields of ``kind`` when the value itself is one of them."""
        converted = self.value(value, _hints(kind)[field], path)
        return {} if converted is _MISSING else {field: converted}

    def _named(
        self, value: Mapping[str, object], kind: type[Struct], hints: Hints, path: str
    ) -> Iterator[tuple[str, str, str]]:
        """Key, field and path of each key that the Struct has. A key in other letter case counts
        when the exact name is absent."""
        for key in value:
            if key.startswith(COMMENT_MARKS):
                continue
            name, where = key.lower(), key_path(path, key)
            if key in hints:
                yield key, key, where
            elif name in hints and name not in value:
                self._findings.warning(where, f'taken as "{name}"')
                yield key, name, where
            else:
                self._findings.warning(where, f"unknown key, ignored{self._explain(key, kind)}")

    def value(self, value: object, hint: object, path: str) -> object:
        """``value`` converted to the type ``hint``, or ``_MISSING``."""
        if value is None:  # Go keeps the default
            return None if hint is Any else _MISSING
        origin = get_origin(hint)
        if origin is Literal:
            return self._choice(value, get_args(hint), path)
        if origin in (Union, types.UnionType):
            hints = [arg for arg in get_args(hint) if arg is not type(None)]
            words = [
                word for each in hints if get_origin(each) is Literal for word in get_args(each)
            ]
            if words:  # "Seconds | Literal[...]"
                [scalar] = [each for each in hints if get_origin(each) is not Literal]
                return self._scalar_or_word(value, _scalar_name(scalar), words, path)
            # With "bool | tuple[...]" a value of another type is the only item of a list.
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
        return self._scalar(value, _scalar_name(hint), path)

    def _items(self, value: object, hint: object, path: str) -> list[object]:
        if isinstance(value, Mapping) and not value:
            self._findings.warning(path, "expected a list, found an object: taken as an empty list")
            return []
        if not isinstance(value, list | tuple):
            text = f"expected a list, found {_shown(value, path)}: taken as its only item"
            self._findings.warning(path, text)
            value = [value]
        return [self._item(item, hint, f"{path}[{place}]") for place, item in enumerate(value)]

    def _item(self, value: object, hint: object, path: str) -> object:
        """None for a value that should be an object and is not: the items after it keep their
        positions."""
        if isinstance(hint, type) and issubclass(hint, Struct):
            return self.struct(value, hint, path)
        if value is None:
            self._findings.warning(path, "null: taken as the empty value of its type")
        converted = self.value(value, hint, path)
        return _zero(hint) if converted is _MISSING else converted

    def _mapping(self, value: object, hint: object, path: str) -> object:
        if isinstance(value, list | tuple) and all(isinstance(each, Mapping) for each in value):
            text = "expected an object, found a list: its objects are merged"
            self._findings.warning(path, text)
            value = {key: inner for each in value for key, inner in each.items()}
        if not isinstance(value, Mapping):
            self._findings.error(path, f"expected an object, found {_shown(value, path)}")
            return _MISSING
        inner = {key: self.value(each, hint, key_path(path, key)) for key, each in value.items()}
        return {key: each for key, each in inner.items() if each is not _MISSING}

    def _choice(self, value: object, known: tuple[object, ...], path: str) -> object:
        if value in known:
            return value
        choices = ", ".join(str(each) or '""' for each in known)
        meant = did_you_mean(value, map(str, known)) if isinstance(value, str) else ""
        self._findings.error(path, f"expected one of {choices}, found {describe(value)}{meant}")
        return _MISSING

    def _scalar_or_word(self, value: object, kind: str, words: list[str], path: str) -> object:
        """A scalar, or one of ``words``."""
        if value in words:
            return value
        alternatives = "".join(f', or "{word}"' for word in words)
        meant = did_you_mean(value, words) if isinstance(value, str) else ""
        return self._scalar(value, kind, path, alternatives, meant)

    def _scalar(
        self, value: object, kind: str, path: str, alternatives: str = "", meant: str = ""
    ) -> object:
        """``alternatives``, ``meant``: for messages: other values that are allowed; the one that
        was probably meant."""
        expected, convert, _ = SCALARS[kind]
        expected += alternatives
        if kind == "duration" and value == "" and not self._is_core:
            self._findings.warning(path, f"expected {expected}, found nothing: ignored")
            return _MISSING
        try:
            converted, is_exact = convert(value)
        except (TypeError, ValueError):
            self._findings.error(path, f"expected {expected}, found {_shown(value, path)}{meant}")
            return _MISSING
        if not is_exact:
            found = _kind_of(value) if kind == "str" else _shown(value, path)
            text = f"expected {expected}, found {found}: {_taken(kind, converted)}"
            self._findings.warning(path, text)
        return converted


_SECRET_KEY = re.compile(r"secret|passw|salt|token|users|key|telemetry-security", re.IGNORECASE)
"""A value whose path has one of these parts is not printed."""


def _shown(value: object, path: str) -> str:
    """As :func:`describe`, but without the value when it may be a secret."""
    described = describe(value)
    if _SECRET_KEY.search(path):
        return re.sub(r"^the (string|number) .*", r"a \1", described)
    return described


def _kind_of(value: object) -> str:
    return "true or false" if isinstance(value, bool) else "a number"


def _taken(kind: str, converted: object) -> str:
    """What a value of another type was taken as. A string is not repeated: it may be a secret."""
    if kind == "str":
        return "taken as a string"
    if kind == "duration" and isinstance(converted, float):
        nanoseconds = round(converted * 1e9)
        meant = f'; did you mean "{nanoseconds}s"?' if abs(nanoseconds) < 1_000_000 else ""
        return f"taken as {nanoseconds} nanoseconds, as in KrakenD{meant}"
    shown = str(converted).lower() if isinstance(converted, bool) else repr(converted)
    return f"taken as {shown}"


@cache
def _hints(kind: type[Struct]) -> Hints:
    """By the key in the file, which may have another name in Python (``global``)."""
    hints = get_type_hints(kind, include_extras=True)
    return {each.encode_name: without_own(hints[each.name]) for each in fields_of(kind)}


def _is_zero(converted: object) -> bool:
    return not converted and not isinstance(converted, dict)


def _zero(hint: object) -> object:
    name = _scalar_name(hint)
    return SCALARS[name].zero if name in SCALARS else None


def _scalar_name(hint: object) -> str:
    """The key of ``SCALARS``; "" or another name when the type is not a scalar."""
    return "duration" if get_origin(hint) is Annotated else getattr(hint, "__name__", "")


def describe(value: object) -> str:
    """A value for a message: short, and without a login in it."""
    if isinstance(value, str):
        return f'the string "{value}"' if len(value) <= 40 and "://" not in value else "a string"
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list | tuple):
        return "a list"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int | float) and abs(value) < 1e300:
        return f"the number {value}"
    return "a number that is too large"
