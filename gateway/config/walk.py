"""The normalising walker: what KrakenD tolerates becomes what the Structs say.

msgspec stops at the first error and takes no text for a number; KrakenD (mapstructure, weakly
typed) takes it. The walker goes through a document beside a Struct type, converts, and collects
everything there is to say. It knows types, not meaning.
"""

from __future__ import annotations

import re
import types
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from msgspec import NODEFAULT, Struct
from msgspec.structs import fields as fields_of

from .coercion import SCALARS
from .findings import Findings, key_path
from .keys import Explain
from .structs import without_own
from .suggest import did_you_mean

COMMENT_MARKS = ("@", "$", "_", "#")
_MISSING = object()


def _like_a_field(key: str, kind: type[Struct]) -> str:
    return did_you_mean(key, kind.__struct_fields__)


class Walker:
    """Converts one document; ``findings`` gets what is wrong or odd.

    ``is_core``: what KrakenD decodes into Go structs, where a zero cannot be told from nothing.
    ``explain``: what to append about an unknown key.
    """

    def __init__(
        self, findings: Findings, is_core: bool = False, explain: Explain = _like_a_field
    ) -> None:
        self._findings = findings
        self._is_core = is_core
        self._explain = explain

    def struct(self, value: object, kind: type[Struct], path: str) -> dict[str, Any] | None:
        """The fields of ``kind`` that the object has, converted; None when it is no object."""
        if not isinstance(value, Mapping):
            self._findings.error(path, f"expected an object, found {_shown(value, path)}")
            return None
        hints = _hints(kind)
        fields: dict[str, Any] = {}
        seen = set()
        for key, name, where in self._named(value, kind, hints, path):
            seen.add(name)
            converted = self.value(value[key], hints[name], where)
            if converted is not _MISSING and not (self._is_core and _is_zero(converted)):
                fields[name] = converted
            elif value[key] is None:
                seen.discard(name)
        for field in fields_of(kind):
            needed = field.default is NODEFAULT and field.default_factory is NODEFAULT
            if needed and field.name not in seen:
                self._findings.error(path, f'"{field.name}" is missing')
        return fields

    def whole(self, value: object, kind: type[Struct], field: str, path: str) -> dict[str, Any]:
        """The fields of ``kind`` where the value itself is one of them."""
        converted = self.value(value, _hints(kind)[field], path)
        return {} if converted is _MISSING else {field: converted}

    def _named(
        self, value: Mapping[str, Any], kind: type[Struct], hints: Mapping[str, Any], path: str
    ) -> Iterator[tuple[str, str, str]]:
        """Key, field and path of what the Struct has; the exact name wins over its spellings."""
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

    def value(self, value: object, hint: Any, path: str) -> Any:
        """``value`` as ``hint`` wants it, or ``_MISSING`` when nothing is to be said."""
        if value is None:  # Go leaves the default
            return None if hint is Any else _MISSING
        origin = get_origin(hint)
        if origin is Annotated:
            return self._scalar(value, "duration", path)
        if origin is Literal:
            return self._choice(value, get_args(hint), path)
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
        if isinstance(value, Mapping) and not value:
            self._findings.warning(path, "expected a list, found an object: taken as empty")
            return []
        if not isinstance(value, list | tuple):
            text = f"expected a list, found {_shown(value, path)}: taken as its only item"
            self._findings.warning(path, text)
            value = [value]
        return [self._item(item, hint, f"{path}[{place}]") for place, item in enumerate(value)]

    def _item(self, value: object, hint: Any, path: str) -> Any:
        """None for an object that is none: what follows it keeps its place."""
        if isinstance(hint, type) and issubclass(hint, Struct):
            return self.struct(value, hint, path)
        if value is None:
            self._findings.warning(path, "null: taken as nothing of its kind")
        converted = self.value(value, hint, path)
        return _zero(hint) if converted is _MISSING else converted

    def _mapping(self, value: object, hint: Any, path: str) -> Any:
        if isinstance(value, list | tuple) and all(isinstance(each, Mapping) for each in value):
            text = "expected an object, found a list: its objects are taken together"
            self._findings.warning(path, text)
            value = {key: inner for each in value for key, inner in each.items()}
        if not isinstance(value, Mapping):
            self._findings.error(path, f"expected an object, found {_shown(value, path)}")
            return _MISSING
        inner = {key: self.value(each, hint, key_path(path, key)) for key, each in value.items()}
        return {key: each for key, each in inner.items() if each is not _MISSING}

    def _choice(self, value: object, known: tuple[Any, ...], path: str) -> Any:
        if value in known:
            return value
        choices = ", ".join(str(each) or '""' for each in known)
        meant = did_you_mean(value, map(str, known)) if isinstance(value, str) else ""
        self._findings.error(path, f"expected one of {choices}, found {show(value)}{meant}")
        return _MISSING

    def _scalar(self, value: object, kind: str, path: str) -> Any:
        expected, convert, _ = SCALARS[kind]
        if kind == "duration" and value == "" and not self._is_core:
            self._findings.warning(path, f"expected {expected}, found nothing: ignored")
            return _MISSING
        try:
            converted, is_exact = convert(value)
        except (TypeError, ValueError):
            self._findings.error(path, f"expected {expected}, found {_shown(value, path)}")
            return _MISSING
        if not is_exact:
            found = _kind_of(value) if kind == "str" else _shown(value, path)
            text = f"expected {expected}, found {found}: {_taken(kind, converted)}"
            self._findings.warning(path, text)
        return converted


_SECRET = re.compile(r"secret|passw|salt|token|users|key", re.IGNORECASE)
"""Parts of the names of keys whose values are not printed."""


def _shown(value: object, path: str) -> str:
    """As :func:`show`, and without the value where the key may hold a secret."""
    if _SECRET.search(path):
        return re.sub(r"^(the text|the number) .*", lambda place: f"a {place[1][4:]}", show(value))
    return show(value)


def _kind_of(value: object) -> str:
    return "true or false" if isinstance(value, bool) else "a number"


def _taken(kind: str, converted: Any) -> str:
    """What a value of another type was taken as. A text is not repeated: it may be a secret."""
    if kind == "str":
        return "taken as text"
    if kind == "duration":
        nanoseconds = round(converted * 1e9)
        meant = f'; did you mean "{nanoseconds}s"?' if abs(nanoseconds) < 1_000_000 else ""
        return f"taken as {nanoseconds} nanoseconds, as in KrakenD{meant}"
    shown = str(converted).lower() if isinstance(converted, bool) else repr(converted)
    return f"taken as {shown}"


@cache
def _hints(kind: type[Struct]) -> dict[str, Any]:
    hints = get_type_hints(kind, include_extras=True)
    return {name: without_own(hint) for name, hint in hints.items()}


def _is_zero(converted: object) -> bool:
    return not converted and not isinstance(converted, dict)


def _zero(hint: Any) -> Any:
    name = "duration" if get_origin(hint) is Annotated else getattr(hint, "__name__", "")
    return SCALARS[name][2] if name in SCALARS else None


def show(value: object) -> str:
    """What was found, short, and without what may be a secret."""
    if isinstance(value, str):
        return f'the text "{value}"' if len(value) <= 40 and "://" not in value else "a text"
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list | tuple):
        return "a list"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int | float) and abs(value) < 1e300:
        return f"the number {value}"
    return "no number that can be used"
