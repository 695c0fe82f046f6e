"""Decodes ``extra_config``, an object of namespaces and their settings:
``{"qos/ratelimit/router": {"max_rate": 5}}``.

The rows of the catalogue say which namespaces there are and what types their settings have. This
module does not know what a namespace does.
"""

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
"""Where a namespace is allowed. The first four are places in the file.

"source" is a backend as well, and the namespace says where its responses come from:
``backend/amqp/consumer`` takes them from a queue instead of an HTTP host. A backend has one source
at most. A namespace that only adds to a backend, such as ``qos/circuit-breaker``, is not one.
"""
LEVELS: dict[Level, str] = {
    "service": "the root",
    "endpoint": "an endpoint",
    "agent": "an agent",
    "backend": "a backend",
}
"""How messages name the places in the file. A namespace with the level "source" has the level
"backend", too."""
HOOKS = ("gateway", "modifier/lua-")
"""How the names of namespaces with hooks and scripts begin, such as ``gateway/python`` and
``modifier/lua-proxy``: a hook may be the part that refuses a request."""
MIN_LIKENESS = 0.85
"""From 0 to 1: a name that is at least as similar to a security setting is a misspelt one."""


class Row(Protocol):
    """One namespace: a row of the catalogue, as far as the loader needs it."""

    @property
    def namespace(self) -> str:
        """The current name: ``validation/cel``."""

    @property
    def aliases(self) -> tuple[str, ...]:
        """Older names that KrakenD 2 still reads: ``github.com/devopsfaith/krakend-cel``."""

    @property
    def settings(self) -> type[Struct]:
        """The type of the settings; its fields are the keys: ``CelSettings``."""

    @property
    def whole(self) -> str:
        """The name of the one field that gets the whole value of the namespace. Empty, as for most
        namespaces: the value is an object, and its keys are the fields.

        ``validation/cel`` has "expressions", because its value is a list:
        ``"validation/cel": [{"check_expr": "..."}]`` becomes ``CelSettings(expressions=...)``.
        """

    @property
    def verify(self) -> Callable[[Any], Iterable[tuple[str, str]]] | None:
        """Finds what makes settings unusable: pairs of a key and a reason, as
        ``("jwk_url", "...")``."""

    @property
    def root_keys(self) -> frozenset[str]:
        """The keys that are allowed at the root. Any other key there is an error, because it would
        protect no endpoint. Empty: all keys are allowed, or the namespace is not allowed there.

        ``auth/validator`` has ``{"shared_cache_duration"}``: at the root this key concerns all
        validators, but a ``jwk_url`` there would verify no token.
        """

    @property
    def agent(self) -> object:
        """Builds the source of an agent's messages; only whether it is None counts here. Not None
        for ``async/amqp``."""

    def knows(self, level: Level) -> bool:
        """Whether the namespace has an effect on that level."""


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

    A namespace may have one of these four names in a file. Any other name is an unknown namespace:

    ==========================  ================================  ===============================
    name                        example                           what happens
    ==========================  ================================  ===============================
    current: ``Row.namespace``  ``validation/cel``                decoded
    old: ``Row.aliases``        ``github.com/.../krakend-cel``    decoded as the current name
    old: ``LEGACY``             ``github_com/.../krakend-gelf``   not supported, as its current
                                                                  name, ``telemetry/gelf``
    old: ``VERSION_1_NAMES``    ``github.com/.../juju/router``    unknown, as for KrakenD 2; the
                                                                  finding has the current name
    ==========================  ================================  ===============================

    ``ignored_plugins``: names of the Go plugins that the configuration may run without.
    """

    def __init__(
        self, rows: Iterable[Row], findings: Findings, ignored_plugins: Collection[str] = ()
    ) -> None:
        # By current names and aliases.
        self._rows = {name: row for row in rows for name in (row.namespace, *row.aliases)}
        current = {name: row.namespace for name, row in self._rows.items()}
        # From each of the four names to the current one.
        self._current = {**VERSION_1_NAMES, **LEGACY, **current}
        self._findings = findings
        self._ignored_plugins = ignored_plugins

    def decode(self, raw: Fields, level: Level, path: str) -> dict[str, Struct]:
        """Current name of the namespace -> settings. Unknown namespaces become findings.

        ``raw``: the value of ``extra_config``, as ``{"validation/cel": [...]}``. ``path``: its JSON
        path, as ``$.endpoints[0].extra_config``.
        """
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
    something else, or let requests pass. So it is for security settings, hooks, and the source of a
    backend or an agent. KrakenD ignores any other namespace with a wrong value.
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
    """The fields of ``row.settings``. None: the value is not an object, and must be one."""
    if row.whole:
        return walker.whole(value, row.settings, row.whole, path)
    return walker.struct(value, row.settings, path)
