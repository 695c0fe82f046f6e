"""``extra_config``: namespaces, their legacy names, their settings."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, Protocol, TypeAlias

import msgspec
from msgspec import Struct

from .findings import Finding, Findings, inner_path, key_path
from .suggest import closest, likeness
from .unsupported import (
    AGGREGATOR,
    IGNORE,
    LEGACY,
    NO_PLUGINS,
    OF_VERSION_1,
    PLUGINS,
    instead,
    is_door,
    plugin_names,
)
from .walk import COMMENT_MARKS, Walker, show

Level: TypeAlias = Literal["service", "endpoint", "backend", "agent", "source"]
"""Where a namespace may stand; "source": on a backend, as what answers."""
LEVELS: dict[Level, str] = {
    "service": "the root",
    "endpoint": "an endpoint",
    "agent": "an agent",
    "backend": "a backend",
}
OURS = ("gateway", "modifier/lua-")
"""A hook or a script may be what refuses a request."""
MISSPELT = 0.85
"""So alike (0 to 1) are a misspelt name and the one that was meant."""


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


class Rows(Protocol):
    """What is asked of the catalogue here. ``encodings``, ``output_encodings``: the known ones."""

    @property
    def encodings(self) -> Sequence[str]: ...

    @property
    def output_encodings(self) -> Sequence[str]: ...

    def __iter__(self) -> Iterator[Row]: ...


class ExtraConfig:
    """Decodes the ``extra_config`` of each level by the rows of a catalogue.

    ``dispensable``: the names of plugins without which the configuration may run.
    """

    def __init__(
        self, rows: Iterable[Row], findings: Findings, dispensable: Collection[str] = ()
    ) -> None:
        self._rows = {name: row for row in rows for name in (row.namespace, *row.aliases)}
        current = {name: row.namespace for name, row in self._rows.items()}
        self._current = {**OF_VERSION_1, **LEGACY, **current}
        self._findings = findings
        self._dispensable = dispensable

    def decode(self, raw: dict[str, Any], level: Level, path: str) -> dict[str, Struct]:
        """Namespace -> settings, under its current name; what is unknown is reported."""
        decoded: dict[str, Struct] = {}
        for name, value in raw.items():
            if name.startswith(COMMENT_MARKS):
                continue
            where = key_path(path, name)
            row = self._rows.get(name)
            if LEGACY.get(name, name) in PLUGINS:
                self._report_plugins(value, level if row else None, where)
            if row is None or not row.knows(level):
                self._report(name, row, level, where)
            elif name != row.namespace and row.namespace in raw:
                self._findings.warning(where, f'"{row.namespace}" is beside it: ignored')
            elif not (isinstance(value, Mapping) or row.whole or _is_needed(row)):
                self._findings.warning(where, f"expected an object, found {show(value)}: ignored")
            else:
                self._decode_into(decoded, row, value, level, where)
        return decoded

    def _decode_into(
        self, decoded: dict[str, Struct], row: Row, value: object, level: Level, path: str
    ) -> None:
        found = Findings()
        fields = _fields(Walker(found), value, row, path)
        if _is_needed(row):
            self._findings.extend(found)
        else:
            self._findings.extend(_tolerated(each, row.namespace) for each in found)
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

    def _report(self, name: str, row: Row | None, level: Level, path: str) -> None:
        """A namespace that has no row, or none on this level."""
        name = LEGACY.get(name, name)
        if name in PLUGINS or (row is None and instead(name) == ""):  # the latter: of another tool
            return
        if row is not None:
            reason = f"has no meaning on this level ({level})"
            advice = f"it belongs to {_levels_of(row)}"
        elif advice := instead(name) or "":
            reason = "not implemented"
        else:
            reason = "unknown namespace"
            advice = self._did_you_mean(name)
        if is_door(name) or (reason == "unknown namespace" and self._is_misspelt_door(name)):
            reason = f"{reason}, and without it every request would pass"
            self._findings.error(path, f"{reason}: {advice}" if advice else reason)
        else:
            self._findings.warning(path, f"{reason}, ignored" + (f": {advice}" if advice else ""))

    def _did_you_mean(self, name: str) -> str:
        if name in OF_VERSION_1:
            return f'KrakenD 1\'s name of "{OF_VERSION_1[name]}"'
        close = closest(name, self._current)
        return f'did you mean "{self._current[close]}"?' if close else ""

    def _is_misspelt_door(self, name: str) -> bool:
        close = closest(name, self._current)
        return (
            close is not None
            and is_door(self._current[close])
            and likeness(name, close) >= MISSPELT
        )

    def _report_plugins(self, settings: object, level: Level | None, path: str) -> None:
        """Go plugins are not loaded, and each of them may be what refuses requests."""
        names = plugin_names(settings) if isinstance(settings, Mapping) else ()
        if not names:
            self._findings.warning(path, "names no plugin, ignored")
        for name in names:
            if name == AGGREGATOR and level == "service":
                continue
            if name in self._dispensable:
                self._findings.hint(path, f'plugin "{name}" is ignored, as gateway.{IGNORE} says')
                continue
            text = (
                f'plugin "{name}" is not here, and it may refuse requests that pass without it: '
                f'{NO_PLUGINS}, or list "{name}" in {IGNORE} of the root\'s extra_config.gateway'
            )
            self._findings.error(path, text)


def _is_needed(row: Row) -> bool:
    """Without its settings the configuration would do something else, or let pass. KrakenD leaves
    out any other namespace with a value of a wrong type.
    """
    is_ours = row.namespace.startswith(OURS)
    return is_door(row.namespace) or is_ours or row.knows("source") or row.agent is not None


def _tolerated(finding: Finding, namespace: str) -> Finding:
    """Of a namespace that KrakenD leaves out when a value in it is wrong."""
    if finding.severity != "error":
        return finding
    text = f"{finding.text}: all of {namespace} is left out, as in KrakenD"
    return Finding(finding.path, "warning", text)


def _levels_of(row: Row) -> str:
    levels = [name for level, name in LEVELS.items() if row.knows(level)]
    return " or ".join(levels)


def _fields(walker: Walker, value: object, row: Row, path: str) -> dict[str, Any] | None:
    if row.whole:
        return walker.whole(value, row.settings, row.whole, path)
    return walker.struct(value, row.settings, path)
