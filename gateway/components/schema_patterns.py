"""``pattern`` in a JSON Schema, as Go reads it: RE2, where the standard has ECMA 262.

So ``[[:alpha:]]`` and ``(?s)`` mean something, ``\\s`` is ASCII's, and matching takes linear time.
What RE2 does not have (a look-ahead, a back-reference) is left to the validator, and so are the
names in ``patternProperties``. Pure.
"""

from __future__ import annotations

from typing import Any

from ..core.patterns import bad_patterns, build_search

KEYWORD = "x-go-pattern"
"""Stands for ``pattern``, which the meta-schemas want to be ECMA's."""

SCHEMAS_BY_NAME = frozenset(
    {"properties", "patternProperties", "definitions", "$defs", "dependentSchemas", "dependencies"}
)
VALUES = frozenset({"const", "enum", "default", "examples"})
"""Keywords that hold no schemas."""


class GoPattern:
    """:data:`KEYWORD` for the validator; one for each place in a schema."""

    def __init__(self, schema: object, pattern: str, path: object) -> None:
        self._search = build_search(pattern)
        self._told = f'value does not match "{pattern}"'

    def validate(self, value: object) -> None:
        """Raises ValueError for a text that does not match."""
        if isinstance(value, str) and not self._search(value):
            raise ValueError(self._told)


def with_go_patterns(schema: Any) -> Any:
    """The schema, every ``pattern`` that RE2 has as :data:`KEYWORD`."""
    if isinstance(schema, list):
        return [with_go_patterns(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    changed = {}
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
