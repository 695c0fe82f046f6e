"""``extra_config``: namespaces, their legacy names, their settings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, Protocol, TypeAlias

import msgspec
from msgspec import Struct

from .findings import Findings, inner_path, key_path
from .walk import COMMENT_MARKS, Walker

Level: TypeAlias = Literal["service", "endpoint", "backend", "agent", "source"]
"""Where a namespace may stand; "source": on a backend, as what answers."""

DOORS = ("auth/", "validation/", "security/http", "security/bot-detector", "security/policies")
"""Without these a request would pass that should not: not to know one stops the start."""
LEGACY_DOORS = ("jose", "jsonschema", "cel", "httpsecure", "botdetector")

NOT_HERE = {
    "documentation/": "",  # for other tools; nothing to say
    "plugin/": 'Go plugins cannot be loaded: "gateway/python" calls functions of Python instead',
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
    def whole(self) -> str:
        """The field of the settings that the value itself is; empty: an object of keys."""

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
                continue
            found = Findings()
            fields = _fields(Walker(found), value, row, where)
            self._findings.extend(found)
            if fields is not None and not found.has_errors:
                settings = msgspec.convert(fields, row.settings)
                decoded[row.namespace] = settings
                for key, text in row.verify(settings) if row.verify else ():
                    self._findings.error(inner_path(where, key), text)
        return decoded

    def _report(self, name: str, row: Row | None, level: Level, path: str) -> None:
        is_legacy_door = name.startswith("github") and any(word in name for word in LEGACY_DOORS)
        if is_legacy_door or name.startswith(DOORS):
            reason = f"has no meaning on this level ({level})" if row else "not implemented"
            self._findings.error(path, f"{reason}, and without it every request would pass")
        elif row is not None:
            self._findings.warning(path, f"has no meaning on this level ({level}), ignored")
        else:
            reasons = [text for prefix, text in NOT_HERE.items() if name.startswith(prefix)]
            reason = reasons[0] if reasons else "unknown namespace"
            if reason:
                self._findings.warning(path, f"{reason}, ignored")


def _fields(walker: Walker, value: object, row: Row, path: str) -> dict[str, Any] | None:
    if row.whole:
        return walker.whole(value, row.settings, row.whole, path)
    return walker.struct(value, row.settings, path)
