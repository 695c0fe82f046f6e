"""What is to be said about a configuration: one line each, with the JSON path."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Literal, TypeAlias

from msgspec import Struct

from ..errors import GatewayError

Severity: TypeAlias = Literal["error", "warning"]


_BEFORE_AT = re.compile(r"(?<![^\s\"'])[^\s\"']+@")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class Finding(Struct, frozen=True):
    """``path``: as in ``$.endpoints[0].backend[1].host``. ``text`` carries no credentials."""

    path: str
    severity: Severity
    text: str

    def __str__(self) -> str:
        return f"{self.severity}: {self.path}: {self.text}"


class ConfigError(GatewayError):
    """A configuration that cannot be used. ``findings``: all of it, warnings included."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings = tuple(findings)
        super().__init__("\n".join(map(str, self.findings)))


class Findings:
    """Collects them while a document is read."""

    def __init__(self) -> None:
        self._found: list[Finding] = []

    def error(self, path: str, text: str) -> None:
        self._add(path, "error", text)

    def warning(self, path: str, text: str) -> None:
        self._add(path, "warning", text)

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
    """Printable, and without the login of a URL, also of one written badly ("amqp:me:secret@")."""
    without = _BEFORE_AT.sub(lambda place: _hidden(place[0]), text)
    return _UNPRINTABLE.sub(lambda place: f"\\u{ord(place[0]):04x}", without)


def _hidden(login: str) -> str:
    if ":" not in login:
        return login
    scheme, slashes, _ = login.rpartition("://") if login.count("://") == 1 else ("", "", "")
    return f"{scheme}{slashes}***@"


def key_path(path: str, key: str) -> str:
    """The path of ``key`` below ``path``."""
    return f"{path}.{key}" if key.isidentifier() else f'{path}["{key}"]'


def inner_path(path: str, inner: str) -> str:
    """The path of something below ``path``: ``inner`` as in ``a.b``, ``[0].a``, or empty."""
    return path + inner if not inner or inner[0] == "[" else f"{path}.{inner}"
