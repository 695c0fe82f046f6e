"""Findings about a configuration: one line each, with the file and the JSON path.

An error stops the start. A warning is about something that is probably not meant. A hint is about
something that is right and good to know; ``run`` does not print it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from ..errors import GatewayError
from ..telemetry.logs import escape

Severity: TypeAlias = Literal["error", "warning", "hint"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "hint")

_LOGIN = re.compile(r"([a-zA-Z][\w+.-]{0,20}://)[^/?#\s]*@")
"""The login of a URL, which may have quotes."""
_BEFORE_AT = re.compile(r"(?<![^\s\"'])[^\s\"']+@")
"""Also that of a malformed URL."""


_INDEX = re.compile(r"\[\d+\]")
_PART = re.compile(r"\$\.(endpoints|async_agent)\[(\d+)\]")


class Finding(Struct, frozen=True):
    """``path``: such as ``$.endpoints[0].backend[1].host``. ``text``: without credentials.

    ``name``: of the endpoint or agent that the path belongs to. ``file``: the configuration.
    """

    path: str
    severity: Severity
    text: str
    name: str = ""
    file: str = ""

    def __str__(self) -> str:
        return f"{self.severity}: {self.line()}"

    def line(self, others: int = 0) -> str:
        """The line without the severity. ``others``: how many more places have the finding."""
        path = "" if self.file and self.path == "$" else self.path
        where = ": ".join(filter(None, (self.file, self.name, path)))
        more = f" (and {others} more)" if others else ""
        return f"{where}: {self.text}{more}"


class ConfigError(GatewayError):
    """The configuration cannot be used. ``findings``: all findings, also warnings and hints."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings = tuple(findings)
        super().__init__("\n".join(lines(self.findings, ("error", "warning"))))


def lines(findings: Iterable[Finding], severities: Sequence[Severity]) -> Iterator[str]:
    """A line for each finding, the most severe ones first. A finding of several places is one line,
    with the first place and the number of the others.
    """
    groups: dict[tuple[Severity, str, str], list[Finding]] = {}
    for each in findings:
        groups.setdefault((each.severity, _INDEX.sub("", each.path), each.text), []).append(each)
    for severity in severities:
        for (found, _, _), group in groups.items():
            if found == severity:
                others = len({each.path for each in group}) - 1
                yield f"{severity}: {group[0].line(others)}"


def part_of(path: str) -> str:
    """The path of the endpoint or agent that a path belongs to; "$" when there is none."""
    found = _PART.match(path)
    return found[0] if found else "$"


class Places(Struct, frozen=True):
    """The positions of endpoints and agents in the file. The service has other positions when some
    of them were left out.

    ``endpoints``, ``async_agent``: the position in the file, by the position in the service.
    ``names``: of endpoints and agents, by their paths in the file.
    """

    file: str = ""
    endpoints: tuple[int, ...] = ()
    async_agent: tuple[int, ...] = ()
    names: dict[str, str] = {}

    def of_service(self, findings: Iterable[Finding]) -> Iterator[Finding]:
        """Findings with positions in the service become findings with positions in the file."""
        for each in findings:
            path, text = self.in_file(each.path), self.in_file(each.text)
            yield self.named(Finding(path, each.severity, on_one_line(text)))

    def in_file(self, text: str) -> str:
        """``text`` with the paths of the service replaced by those of the file."""

        def replaced(found: re.Match[str]) -> str:
            positions: tuple[int, ...] = getattr(self, found[1])
            number = int(found[2])
            return f"$.{found[1]}[{positions[number] if number < len(positions) else number}]"

        return _PART.sub(replaced, text)

    def with_name(self, path: str) -> str:
        """``GET /a: $.endpoints[0].timeout``."""
        name = self.names.get(part_of(path))
        return f"{name}: {path}" if name else path

    def named(self, finding: Finding) -> Finding:
        """The finding with the file and the name of its endpoint or agent."""
        if finding.path != "$" and not finding.path.startswith("$."):
            return finding  # of a template or of the environment
        return replace(finding, name=self.names.get(part_of(finding.path), ""), file=self.file)


class Findings:
    """Collects findings while a document is read."""

    def __init__(self) -> None:
        self._found: list[Finding] = []

    def error(self, path: str, text: str) -> None:
        self._add(path, "error", text)

    def warning(self, path: str, text: str) -> None:
        self._add(path, "warning", text)

    def hint(self, path: str, text: str) -> None:
        self._add(path, "hint", text)

    def _add(self, path: str, severity: Severity, text: str) -> None:
        self._found.append(Finding(on_one_line(path), severity, on_one_line(text)))

    def extend(self, others: Iterable[Finding]) -> None:
        self._found.extend(others)

    def __iter__(self) -> Iterator[Finding]:
        return iter(self._found)

    def has_error_at(self, path: str) -> bool:
        return any(each.path == path and each.severity == "error" for each in self._found)

    @property
    def has_errors(self) -> bool:
        return any(finding.severity == "error" for finding in self._found)


def on_one_line(text: str) -> str:
    """Printable, and without the login of a URL, also of a malformed one ("amqp:me:secret@")."""
    return escape(without_logins(text))


def without_logins(text: str) -> str:
    """``text`` with ``***@`` in place of each login."""
    text = _LOGIN.sub(r"\1***@", text)
    return _BEFORE_AT.sub(lambda place: _hidden(place[0]), text)


def _hidden(login: str) -> str:
    if ":" not in login:
        return login
    scheme, slashes, _ = login.rpartition("://") if login.count("://") == 1 else ("", "", "")
    return f"{scheme}{slashes}***@"


def key_path(path: str, key: str) -> str:
    """The path of ``key`` below ``path``."""
    return f"{path}.{key}" if key.isidentifier() else f'{path}["{key}"]'


def inner_path(path: str, inner: str) -> str:
    """The path of ``inner`` below ``path``; ``inner``: such as ``a.b`` or ``[0].a``, or empty."""
    return path + inner if not inner or inner[0] == "[" else f"{path}.{inner}"
