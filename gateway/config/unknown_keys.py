"""What to say about a key that a level of the configuration does not have. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import TypeAlias

from msgspec import Struct

from .structs import Agent, Backend, Endpoint, Service
from .suggest import did_you_mean

VERSION_1_KEYS = {
    "whitelist": "allow",
    "blacklist": "deny",
    "headers_to_pass": "input_headers",
    "querystring_params": "input_query_strings",
}
"""Keys of KrakenD 1, which KrakenD 2 does not read, and their names today."""

LEVELS: tuple[tuple[type[Struct], str], ...] = (
    (Service, "the root"),
    (Endpoint, "an endpoint"),
    (Backend, "a backend"),
    (Agent, "an agent"),
)

Explain: TypeAlias = Callable[[str, type[Struct]], str]
"""A key that a Struct does not have -> the end of the message "unknown key, ignored"."""


def build_explain(namespaces: Iterable[str]) -> Explain:
    """``namespaces``: the names that ``extra_config`` may have."""
    known = frozenset(namespaces)

    def explain(key: str, kind: type[Struct]) -> str:
        return _explain(key.lower(), kind, known)

    return explain


def _explain(key: str, kind: type[Struct], namespaces: Collection[str]) -> str:
    fields = kind.__struct_encode_fields__
    if VERSION_1_KEYS.get(key) in fields:
        return f': it is KrakenD 1\'s name of "{VERSION_1_KEYS[key]}"'
    if key in namespaces and "extra_config" in fields:
        return ": it belongs in extra_config"
    levels = [name for level, name in LEVELS if key in level.__struct_fields__]
    if levels and any(kind is level for level, _ in LEVELS):
        return f": it belongs to {' or '.join(levels)}"
    return did_you_mean(key, fields)
