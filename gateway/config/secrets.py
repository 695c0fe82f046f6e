"""``${NAME}`` and ``${file:PATH}`` in URLs: passwords that do not belong in a file."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from pathlib import Path
from urllib.parse import quote

from .findings import Findings, inner_path, key_path

REDIS_SECRETS = ("address", "user_name", "password")

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


def with_secrets_of_root(
    extra: Mapping[str, object], environ: Mapping[str, str], findings: Findings
) -> dict[str, object]:
    """The ``extra_config`` of the root with the placeholders replaced where secrets belong: in
    the pools of ``redis``, and in the headers of ``telemetry/opentelemetry-security``."""

    def pool(value: object, path: str) -> object:
        return substitute_in(value, REDIS_SECRETS, environ, path, findings)

    def exporter(value: object, path: str) -> object:
        if not isinstance(value, Mapping) or not isinstance(value.get("headers"), Mapping):
            return value
        headers = value["headers"]
        return {
            **value,
            "headers": substitute_in(headers, headers, environ, f"{path}.headers", findings),
        }

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
