"""``${NAME}`` and ``${file:PATH}`` in URLs: passwords that do not belong in a file."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from pathlib import Path
from urllib.parse import quote

from .findings import Findings, inner_path, key_path

REDIS_SECRETS = ("address", "user_name", "password")

_PLACE = re.compile(r"\$\{([^{}]+)\}")


class Placeholders:
    """Replaces placeholders. ``replaced``: each string that had one, and its text before."""

    def __init__(self, environ: Mapping[str, str], findings: Findings) -> None:
        self._environ = environ
        self._findings = findings
        self.replaced: dict[str, str] = {}

    def fill(self, text: str, path: str) -> str:
        """``text`` with every placeholder replaced. A placeholder without a value is a finding.

        Before the "@" of a URL the value is percent-encoded, so a password may have any character.
        """
        login_ends = text.rfind("@")

        def replace(place: re.Match[str]) -> str:
            value = _look_up(place[1], self._environ)
            if value is None:
                self._findings.error(path, f"{place[0]} is not set")
                return ""
            is_login = "://" in text[: place.start()] and place.end() <= login_ends
            return quote(value, safe="") if is_login else value

        filled, number = _PLACE.subn(replace, text)
        if number:
            self.replaced[filled] = text
        return filled

    def fill_in(self, fields: object, names: Container[str], path: str) -> object:
        """An object with the placeholders in the strings of these names replaced."""
        if not isinstance(fields, Mapping):
            return fields
        return {
            name: self.fill(value, f"{path}.{name}")
            if name in names and isinstance(value, str)
            else value
            for name, value in fields.items()
        }


def with_secrets_of_root(
    extra: Mapping[str, object], placeholders: Placeholders
) -> dict[str, object]:
    """The ``extra_config`` of the root with the placeholders replaced where secrets belong: in
    the pools of ``redis``, and in the headers of ``telemetry/opentelemetry-security``."""

    def pool(value: object, path: str) -> object:
        return placeholders.fill_in(value, REDIS_SECRETS, path)

    def exporter(value: object, path: str) -> object:
        if not isinstance(value, Mapping) or not isinstance(value.get("headers"), Mapping):
            return value
        headers = value["headers"]
        return {**value, "headers": placeholders.fill_in(headers, headers, f"{path}.headers")}

    filled = dict(extra)
    for name, key, replace in (
        ("redis", "connection_pools", pool),
        ("telemetry/opentelemetry-security", "otlp", exporter),
    ):
        settings = extra.get(name)
        if isinstance(settings, Mapping) and isinstance(settings.get(key), list):
            path = inner_path(key_path("$.extra_config", name), key)
            items = [replace(each, f"{path}[{at}]") for at, each in enumerate(settings[key])]
            filled[name] = {**settings, key: items}
    return filled


def _look_up(name: str, environ: Mapping[str, str]) -> str | None:
    if not name.startswith("file:"):
        return environ.get(name)
    try:
        return Path(name.removeprefix("file:")).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None
