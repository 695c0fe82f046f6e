"""``pattern`` in a JSON Schema: RE2, as in Go, in place of the standard's ECMA 262.

So ``[[:alpha:]]`` and ``(?s)`` work, ``\\s`` is ASCII only, and matching takes linear time. The
validator still matches what RE2 does not have (look-aheads, back-references) and the names in
``patternProperties``. Pure.
"""

from __future__ import annotations

from ..config.json_types import Json, JsonObject
from ..core.patterns import bad_patterns, build_search

KEYWORD = "x-go-pattern"
"""Replaces ``pattern``: the meta-schemas require ECMA patterns there."""

SCHEMAS_BY_NAME = frozenset(
    {"properties", "patternProperties", "definitions", "$defs", "dependentSchemas", "dependencies"}
)
"""Keywords whose value is an object of schemas."""
VALUES = frozenset({"const", "enum", "default", "examples"})
"""Keywords whose value contains no schemas."""


class GoPattern:
    """The validator's class for :data:`KEYWORD`; it makes one for each place in a schema."""

    def __init__(self, schema: object, pattern: str, path: object) -> None:
        self._search = build_search(pattern)
        self._violation = f'value does not match "{pattern}"'

    def validate(self, value: object) -> None:
        """Raises ValueError for a string that does not match."""
        if isinstance(value, str) and not self._search(value):
            raise ValueError(self._violation)


def with_go_patterns(schema: Json) -> Json:
    """The schema with :data:`KEYWORD` in place of each ``pattern`` that RE2 can match."""
    if isinstance(schema, list):
        return [with_go_patterns(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    changed: JsonObject = {}
    for key, value in schema.items():
        if key == "pattern" and "$ref" not in schema and _is_go(value):
            changed[KEYWORD] = value
        elif key in SCHEMAS_BY_NAME and isinstance(value, dict):
            changed[key] = {name: with_go_patterns(each) for name, each in value.items()}
        else:
            changed[key] = value if key in VALUES else with_go_patterns(value)
    return changed


def _is_go(pattern: object) -> bool:
    return isinstance(pattern, str) and not any(bad_patterns([pattern], "pattern"))
