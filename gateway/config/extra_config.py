"""Decodes ``extra_config``: namespaces, their legacy names, their settings. Knows no namespace's
meaning: what a namespace is, the rows of the catalogue say."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, Protocol, TypeAlias

import msgspec
from msgspec import Struct

from .findings import Finding, Findings, inner_path, key_path
from .struct_walker import COMMENT_MARKS, Fields, StructWalker, describe
from .suggest import closest, likeness
from .unsupported import (
    AGGREGATOR,
    IGNORE,
    LEGACY,
    NO_PLUGINS,
    PLUGINS,
    VERSION_1_NAMES,
    instead,
    is_security,
    plugin_names,
)

Level: TypeAlias = Literal["service", "endpoint", "backend", "agent", "source"]
"""Where a namespace is allowed. "source": on a backend, as the kind of the backend."""
LEVELS: dict[Level, str] = {
    "service": "the root",
    "endpoint": "an endpoint",
    "agent": "an agent",
    "backend": "a backend",
}
HOOKS = ("gateway", "modifier/lua-")
"""Namespaces of hooks and scripts: these may be the part that refuses a request."""
MIN_LIKENESS = 0.85
"""From 0 to 1: a name that is at least as similar to a security setting is a misspelt one."""


class Row(Protocol):
    """A row of the catalogue, as far as the loader needs it."""

    @property
    def namespace(self) -> str: ...

    @property
    def aliases(self) -> tuple[str, ...]: ...

    @property
    def settings(self) -> type[Struct]: ...

    @property
    def whole(self) -> str:
        """The field of the settings that the namespace's value itself is. Empty: the value is an
        object with the fields as its keys."""

    @property
    def verify(self) -> Callable[[Any], Iterable[tuple[str, str]]] | None:
        """Finds what makes settings unusable: pairs of a key and a reason."""

    @property
    def root_keys(self) -> frozenset[str]:
        """The keys that have an effect at the root, where others would protect nothing. Empty: all
        keys, or the namespace is not allowed there."""

    @property
    def agent(self) -> object:
        """Not None when agents can take their messages from it."""

    def knows(self, level: Level) -> bool: ...


class Rows(Protocol):
    """The catalogue, as far as the loader needs it. ``encodings``, ``output_encodings``: the known
    names."""

    @property
    def encodings(self) -> Sequence[str]: ...

    @property
    def output_encodings(self) -> Sequence[str]: ...

    def __iter__(self) -> Iterator[Row]: ...


class ExtraConfig:
    """Decodes the ``extra_config`` of each level by the rows of a catalogue.

    ``ignored_plugins``: the Go plugins that the configuration may run without.
    """

    def __init__(
        self, rows: Iterable[Row], findings: Findings, ignored_plugins: Collection[str] = ()
    ) -> None:
        self._rows = {name: row for row in rows for name in (row.namespace, *row.aliases)}
        current = {name: row.namespace for name, row in self._rows.items()}
        self._current = {**VERSION_1_NAMES, **LEGACY, **current}
        self._findings = findings
        self._ignored_plugins = ignored_plugins

    def decode(self, raw: Fields, level: Level, path: str) -> dict[str, Struct]:
        """Current name of the namespace -> settings. Unknown namespaces become findings."""
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
                self._findings.warning(where, f'ignored: "{row.namespace}" is set, too')
            elif not (isinstance(value, Mapping) or row.whole or _is_required(row)):
                self._findings.warning(
                    where, f"expected an object, found {describe(value)}: ignored"
                )
            else:
                self._decode_into(decoded, row, value, level, where)
        return decoded

    def _decode_into(
        self, decoded: dict[str, Struct], row: Row, value: object, level: Level, path: str
    ) -> None:
        found = Findings()
        fields = _fields(StructWalker(found), value, row, path)
        if _is_required(row):
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
            text = f"at the root only {counting} has an effect: put the other keys on endpoints"
            self._findings.error(inner_path(path, min(more)), text)

    def _report(self, name: str, row: Row | None, level: Level, path: str) -> None:
        """Report a namespace that is unknown, or not allowed on this level."""
        name = row.namespace if row else LEGACY.get(name, name)
        if name in PLUGINS or (row is None and instead(name) == ""):  # "": it is for other tools
            return
        if row is not None:
            reason = f"has no meaning on this level ({level})"
            advice = f"it belongs to {_levels_of(row)}"
        elif advice := instead(name) or "":
            reason = "not supported"
        else:
            reason = "unknown namespace"
            advice = self._did_you_mean(name)
        if is_security(name) or (row is None and self._is_misspelt_security(name)):
            is_sure = reason != "unknown namespace"
            verb = "is" if is_sure else "looks like"
            reason = f"{reason}; it {verb} a security setting, so the gateway does not start"
            self._findings.error(path, f"{reason}: {advice}" if advice else reason)
        else:
            self._findings.warning(path, f"{reason}, ignored" + (f": {advice}" if advice else ""))

    def _did_you_mean(self, name: str) -> str:
        if name in VERSION_1_NAMES:
            return f'KrakenD 1\'s name of "{VERSION_1_NAMES[name]}"'
        close = closest(name, self._current)
        return f'did you mean "{self._current[close]}"?' if close else ""

    def _is_misspelt_security(self, name: str) -> bool:
        close = closest(name, self._current)
        return (
            close is not None
            and is_security(self._current[close])
            and likeness(name, close) >= MIN_LIKENESS
        )

    def _report_plugins(self, settings: object, level: Level | None, path: str) -> None:
        """Go plugins cannot be loaded, and each of them may be the part that refuses requests."""
        names = plugin_names(settings) if isinstance(settings, Mapping) else ()
        if not names:
            self._findings.warning(path, "names no plugin, ignored")
        for name in names:
            if name == AGGREGATOR and level == "service":
                continue
            if name in self._ignored_plugins:
                self._findings.hint(path, f'plugin "{name}" is ignored: it is in gateway.{IGNORE}')
                continue
            text = (
                f'plugin "{name}" cannot be loaded, and it may be the part that refuses requests: '
                f'{NO_PLUGINS}, or list "{name}" in {IGNORE} of the root\'s extra_config.gateway'
            )
            self._findings.error(path, text)


def _is_required(row: Row) -> bool:
    """Whether a wrong value stops the start: without these settings the configuration would do
    something else, or let requests pass. KrakenD ignores any other namespace with a wrong value.
    """
    is_hook = row.namespace.startswith(HOOKS)
    return is_security(row.namespace) or is_hook or row.knows("source") or row.agent is not None


def _tolerated(finding: Finding, namespace: str) -> Finding:
    """An error in a namespace that KrakenD ignores as a whole when a value in it is wrong."""
    if finding.severity != "error":
        return finding
    text = f"{finding.text}: all of {namespace} is ignored, as in KrakenD"
    return Finding(finding.path, "warning", text)


def _levels_of(row: Row) -> str:
    levels = [name for level, name in LEVELS.items() if row.knows(level)]
    return " or ".join(levels)


def _fields(walker: StructWalker, value: object, row: Row, path: str) -> Fields | None:
    if row.whole:
        return walker.whole(value, row.settings, row.whole, path)
    return walker.struct(value, row.settings, path)
