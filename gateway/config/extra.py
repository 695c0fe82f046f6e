"""``extra_config``: namespaces, their legacy names, their settings."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, Protocol, TypeAlias

import msgspec
from msgspec import Struct

from .absent import DOORS, LEGACY, instead, is_door
from .findings import Findings, inner_path, key_path
from .walk import COMMENT_MARKS, Walker, show

Level: TypeAlias = Literal["service", "endpoint", "backend", "agent", "source"]
"""Where a namespace may stand; "source": on a backend, as what answers."""


class Row(Protocol):
    """What is asked of a row of the catalogue here."""

    @property
    def namespace(self) -> str: ...

    @property
    def aliases(self) -> tuple[str, ...]: ...

    @property
    def settings(self) -> type[Struct]: ...

    @property
    def whole(self) -> str:
        """The field of the settings that the value itself is; empty: an object of keys."""

    @property
    def verify(self) -> Callable[[Any], Iterable[tuple[str, str]]] | None:
        """What makes settings unusable: a key, and why."""

    @property
    def root_keys(self) -> frozenset[str]:
        """Of a guard that guards nothing at the root: what counts there. Empty: all, or none."""

    @property
    def agent(self) -> object:
        """Not None: what agents take their messages from."""

    def knows(self, level: Level) -> bool: ...


class ExtraConfig:
    """Decodes the ``extra_config`` of each level by the rows of a catalogue."""

    def __init__(self, rows: Sequence[Row], findings: Findings) -> None:
        self._rows = {name: row for row in rows for name in (row.namespace, *row.aliases)}
        self._findings = findings

    def decode(self, raw: dict[str, Any], level: Level, path: str) -> dict[str, Struct]:
        """Namespace -> settings, under its current name; what is unknown is reported."""
        decoded: dict[str, Struct] = {}
        for name, value in raw.items():
            if name.startswith(COMMENT_MARKS):
                continue
            where = key_path(path, name)
            row = self._rows.get(name)
            if row is None or not row.knows(level):
                self._report(name, value, row, level, where)
            elif name != row.namespace and row.namespace in raw:
                self._findings.warning(where, f'"{row.namespace}" stands beside it, ignored')
            elif not (isinstance(value, Mapping) or row.whole or self._is_needed(row)):
                self._findings.warning(where, f"expected an object, found {show(value)}: ignored")
            else:
                self._decode_into(decoded, row, value, level, where)
        return decoded

    def _decode_into(
        self, decoded: dict[str, Struct], row: Row, value: object, level: Level, path: str
    ) -> None:
        found = Findings()
        fields = _fields(Walker(found), value, row, path)
        self._findings.extend(found)
        if fields is None or found.has_errors:
            return
        try:
            settings = msgspec.convert(fields, row.settings)
        except msgspec.ValidationError as error:
            self._findings.error(path, str(error))
            return
        decoded[row.namespace] = settings
        for key, text in row.verify(settings) if row.verify else ():
            self._findings.error(inner_path(path, key), text)
        if level == "service" and row.root_keys and (more := fields.keys() - row.root_keys):
            counting = ", ".join(sorted(row.root_keys))
            text = f"guards nothing at the root, where {counting} alone counts: put it on endpoints"
            self._findings.error(inner_path(path, min(more)), text)

    def _is_needed(self, row: Row) -> bool:
        """Without its settings the configuration would do something else, or let pass."""
        return row.namespace.startswith(DOORS) or row.knows("source") or row.agent is not None

    def _report(self, name: str, value: object, row: Row | None, level: Level, path: str) -> None:
        name = LEGACY.get(name, name)
        advice = instead(name)
        if is_door(name, value):
            told = f"; {advice}" if advice else ""
            reason = f"has no meaning on this level ({level})" if row else "not implemented"
            text = f"{reason}, and without it every request would pass{told}"
            self._findings.error(path, text)
        elif row is not None:
            self._findings.warning(path, f"has no meaning on this level ({level}), ignored")
        elif advice:
            self._findings.warning(path, f"not implemented, ignored: {advice}")
        elif advice is None:
            close = difflib.get_close_matches(name, self._rows, n=1)
            hint = f'; did you mean "{close[0]}"?' if close else ""
            self._findings.warning(path, f"unknown namespace, ignored{hint}")


def _fields(walker: Walker, value: object, row: Row, path: str) -> dict[str, Any] | None:
    if row.whole:
        return walker.whole(value, row.settings, row.whole, path)
    return walker.struct(value, row.settings, path)
