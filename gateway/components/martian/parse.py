"""The language of martian: ``{"name": {settings}}``, ``scope``, nesting. Pure.

An unknown name disables the whole namespace, as in KrakenD, and so has an exception of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias, TypeVar

import msgspec
from msgspec import Struct

from ...config.json_types import JsonObject
from .messages import MartianRequest, MartianResponse

OnRequest: TypeAlias = Callable[[MartianRequest], None]
OnResponse: TypeAlias = Callable[[MartianResponse], None]


class Modifiers(NamedTuple):
    """The changes to a request and to its response; None: no change."""

    on_request: OnRequest | None = None
    on_response: OnResponse | None = None


class MartianError(ValueError):
    """``path``: below the namespace, such as ``fifo.Group.modifiers[0]``."""

    def __init__(self, path: str, text: str) -> None:
        super().__init__(text)
        self.path = path


class UnknownModifierError(MartianError):
    """No modifier has this name."""


S = TypeVar("S", bound=Struct)
BuildModifier: TypeAlias = Callable[["ModifierPlace"], Modifiers]


class ModifierPlace(NamedTuple):
    """The settings of one modifier, and their path."""

    settings: JsonObject
    path: str
    table: Mapping[str, BuildModifier]

    def read(self, kind: type[S]) -> S:
        """The settings as a Struct. As in Go keys match in any case; unknown keys are ignored."""
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

    def inner(self, key: str, document: object) -> Modifiers:
        """The modifier in ``document``, the value of ``key``."""
        return parse(document, f"{self.path}.{key}", self.table)

    def error(self, text: str, key: str = "") -> MartianError:
        return MartianError(f"{self.path}.{key}" if key else self.path, text)


def parse(document: object, path: str, table: Mapping[str, BuildModifier]) -> Modifiers:
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


def _in_scope(modifiers: Modifiers, settings: JsonObject, path: str) -> Modifiers:
    scope = settings.get("scope")
    if scope is None:
        return modifiers
    if not isinstance(scope, list) or not set(map(str, scope)) <= {"request", "response"}:
        raise MartianError(f"{path}.scope", 'expected a list of "request", "response"')
    for name, modifier in zip(("request", "response"), modifiers, strict=True):
        if name in scope and modifier is None:
            raise MartianError(f"{path}.scope", f'this modifier has no effect on a "{name}"')
    return Modifiers(
        modifiers.on_request if "request" in scope else None,
        modifiers.on_response if "response" in scope else None,
    )
