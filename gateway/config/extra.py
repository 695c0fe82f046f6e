"""``extra_config``: namespaces, their legacy names, their settings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, Protocol, TypeAlias

import msgspec
from msgspec import Struct

from .findings import Findings, key_path
from .walk import COMMENT_MARKS, Walker, show

Level: TypeAlias = Literal["service", "endpoint", "backend", "agent", "source"]
"""Where a namespace may stand; "source": on a backend, as what answers."""

DOORS = ("auth/", "validation/", "security/http", "security/bot-detector", "security/policies")
"""Without these a request would pass that should not: not to know one stops the start."""
LEGACY_DOORS = ("jose", "jsonschema", "cel", "httpsecure", "botdetector")

NOT_HERE = {
    "documentation/": "",  # for other tools; nothing to say
    "plugin/": "Go plugins cannot be loaded",
    "telemetry/": "this exporter is not implemented",
}


class Row(Protocol):
    """What is asked of a row of the catalogue here."""

    @property
    def namespace(self) -> str: ...

    @property
    def aliases(self) -> tuple[str, ...]: ...

    @property
    def settings(self) -> type[Struct]: ...

    @property
    def verify(self) -> Callable[[Any], Iterable[tuple[str, str]]] | None:
        """What makes settings unusable: a key, and why."""

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
                self._report(name, row, level, where)
            elif name != row.namespace and row.namespace in raw:
                self._findings.warning(where, f'"{row.namespace}" stands beside it, ignored')
            elif not isinstance(value, Mapping) and not self._is_needed(row):
                self._findings.warning(where, f"expected an object, found {show(value)}: ignored")
            else:
                self._decode_into(decoded, row, value, where)
        return decoded

    def _decode_into(self, decoded: dict[str, Struct], row: Row, value: object, path: str) -> None:
        found = Findings()
        fields = Walker(found).struct(value, row.settings, path)
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
            self._findings.error(f"{path}{key and '.'}{key}", text)

    def _is_needed(self, row: Row) -> bool:
        """Without its settings the configuration would do something else, or let pass."""
        return row.namespace.startswith(DOORS) or row.knows("source") or row.agent is not None

    def _report(self, name: str, row: Row | None, level: Level, path: str) -> None:
        is_legacy_door = name.startswith("github") and any(word in name for word in LEGACY_DOORS)
        if is_legacy_door or name.startswith(DOORS):
            self._findings.error(path, "not implemented, and without it every request would pass")
        elif row is not None:
            self._findings.warning(path, f"has no meaning on this level ({level}), ignored")
        else:
            reasons = [text for prefix, text in NOT_HERE.items() if name.startswith(prefix)]
            reason = reasons[0] if reasons else "unknown namespace"
            if reason:
                self._findings.warning(path, f"{reason}, ignored")
