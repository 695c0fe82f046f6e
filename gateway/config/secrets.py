"""``${NAME}`` and ``${file:PATH}`` in URLs: passwords that do not belong in a file."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from pathlib import Path
from urllib.parse import quote

from .findings import Findings

_PLACE = re.compile(r"\$\{([^{}]+)\}")


def substitute(text: str, environ: Mapping[str, str], path: str, findings: Findings) -> str:
    """``text`` with every placeholder replaced. A placeholder without a value is a finding.

    Before the "@" of a URL the value is percent-encoded, so a password may have any character.
    """
    login_ends = text.rfind("@")

    def replace(place: re.Match[str]) -> str:
        value = _look_up(place[1], environ)
        if value is None:
            findings.error(path, f"{place[0]} is not set")
            return ""
        is_login = "://" in text[: place.start()] and place.end() <= login_ends
        return quote(value, safe="") if is_login else value

    return _PLACE.sub(replace, text)


def substitute_in(
    fields: object, names: Container[str], environ: Mapping[str, str], path: str, findings: Findings
) -> object:
    """An object with the placeholders in the strings of these names replaced."""
    if not isinstance(fields, Mapping):
        return fields
    return {
        name: substitute(value, environ, f"{path}.{name}", findings)
        if name in names and isinstance(value, str)
        else value
        for name, value in fields.items()
    }


def _look_up(name: str, environ: Mapping[str, str]) -> str | None:
    if not name.startswith("file:"):
        return environ.get(name)
    try:
        return Path(name.removeprefix("file:")).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None
