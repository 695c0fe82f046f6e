"""The language of martian: ``{"name": {settings}}``, ``scope``, nesting. Pure.

A name that nobody knows makes nothing of the whole, as in KrakenD; whatever else is wrong raises
:class:`MartianError`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias, TypeVar

import msgspec
from msgspec import Struct

from .exchange import Answered, Sent

OnRequest: TypeAlias = Callable[[Sent], None]
OnAnswer: TypeAlias = Callable[[Answered], None]


class Modifiers(NamedTuple):
    """What is done to a request, and to its answer; None: nothing."""

    on_request: OnRequest | None = None
    on_answer: OnAnswer | None = None


class MartianError(ValueError):
    """``path``: below the namespace, as in ``fifo.Group.modifiers[0]``."""

    def __init__(self, path: str, text: str) -> None:
        super().__init__(text)
        self.path = path


class UnknownModifierError(MartianError):
    """A name that is none of the table's."""


S = TypeVar("S", bound=Struct)
Build: TypeAlias = Callable[["ModifierPlace"], Modifiers]


class ModifierPlace(NamedTuple):
    """The settings of one modifier, and where they stand."""

    settings: Any
    path: str
    table: Mapping[str, Build]

    def read(self, kind: type[S]) -> S:
        """The settings as a Struct. As in Go the case of a key does not matter, and a key that
        nobody knows neither."""
        known = {
            field.encode_name.lower(): field.encode_name for field in msgspec.structs.fields(kind)
        }
        given = {
            known.get(key.lower(), key): value
            for key, value in self.settings.items()
            if value is not None
        }
        try:
            return msgspec.convert(given, kind)
        except msgspec.ValidationError as error:
            raise MartianError(self.path, str(error)) from error

    def inner(self, key: str, document: Any) -> Modifiers:
        """What stands below, under ``key``."""
        return parse(document, f"{self.path}.{key}", self.table)

    def error(self, text: str, key: str = "") -> MartianError:
        return MartianError(f"{self.path}.{key}" if key else self.path, text)


def parse(document: Any, path: str, table: Mapping[str, Build]) -> Modifiers:
    """``document``: one modifier. Raises :class:`MartianError`."""
    if not isinstance(document, dict) or len(document) != 1:
        found = ", ".join(document) if isinstance(document, dict) else type(document).__name__
        raise MartianError(path, f"expected one modifier, found {found or 'none'}")
    [(name, settings)] = document.items()
    where = f"{path}.{name}" if path else name
    if name not in table:
        raise UnknownModifierError(where, f'unknown modifier "{name}"')
    if not isinstance(settings, dict):
        raise MartianError(where, f"expected an object, found {type(settings).__name__}")
    return _in_scope(table[name](ModifierPlace(settings, where, table)), settings, where)


def _in_scope(modifiers: Modifiers, settings: Mapping[str, Any], path: str) -> Modifiers:
    scope = settings.get("scope")
    if scope is None:
        return modifiers
    if not isinstance(scope, list) or not set(map(str, scope)) <= {"request", "response"}:
        raise MartianError(f"{path}.scope", 'expected a list of "request", "response"')
    for name, modifier in zip(("request", "response"), modifiers, strict=True):
        if name in scope and modifier is None:
            raise MartianError(f"{path}.scope", f'it has nothing to do with a "{name}"')
    return Modifiers(
        modifiers.on_request if "request" in scope else None,
        modifiers.on_answer if "response" in scope else None,
    )
