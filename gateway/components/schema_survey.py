"""How many values a document may have so that its violations of a JSON Schema are listed. Pure.

Whether a document is valid is decided in linear time. The validator's list of violations is not:
it has an entry for each way through ``anyOf`` and the like, with everything that failed on the way
(a document of 1 kB, for a schema that refers to itself: 10 GB).
"""

from __future__ import annotations

from urllib.parse import unquote

from ..config.json_types import Json

REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
ON_THE_SAME_VALUE = frozenset(
    {"allOf", "anyOf", "oneOf", "not", "if", "dependentSchemas", "dependencies"}
    | {"patternProperties", "contains", "unevaluatedItems", "unevaluatedProperties"}
)
"""Keywords that apply several schemas to the same part of a value."""
NEXT_TO_A_REFERENCE = frozenset(
    {"properties", "additionalProperties", "items", "prefixItems", "additionalItems"}
)
"""Keywords that do the same where the schema has a reference too (from 2019-09 on)."""

MAX_LISTING_WORK = 3000
"""Weight of a schema times values of a document: about 20 ms at worst (measured: 13 us a value
for ``items`` of another type, 85 us for an ``enum`` of 100 objects)."""


def max_listed_values(schema: Json) -> int:
    """The values that a document may have so that its violations are listed; 0: never listed."""
    survey = _Survey(schema)
    weight = survey.weigh(schema)
    if survey.is_unknown or (survey.is_recursive and survey.branches):
        return 0
    return MAX_LISTING_WORK // max(1, weight)


def has_more_values(value: Json, limit: int) -> bool:
    """Whether a document has more than ``limit`` values, all levels counted."""
    number = 0
    waiting = [value]
    while waiting:
        each = waiting.pop()
        number += 1
        if isinstance(each, dict | list):
            if number + len(waiting) + len(each) > limit:
                return True
            waiting.extend(each.values() if isinstance(each, dict) else each)
    return number > limit


class _Survey:
    """The weight of a schema: its objects and the elements of its lists, through all references."""

    def __init__(self, root: Json) -> None:
        self._root = root
        self._weights: dict[int, int] = {}
        self._open: set[int] = set()
        self.is_recursive = self.branches = self.is_unknown = False

    def weigh(self, part: Json) -> int:
        if isinstance(part, list):
            return sum([self.weigh(each) for each in part])
        if not isinstance(part, dict):
            return 1
        key = id(part)
        if key in self._open:
            self.is_recursive = True
            return 0
        if key not in self._weights:
            self._open.add(key)
            references = [each for name in REFERENCES if isinstance(each := part.get(name), str)]
            self.branches |= bool(ON_THE_SAME_VALUE & part.keys())
            self.branches |= bool(references and NEXT_TO_A_REFERENCE & part.keys())
            self._weights[key] = 1 + sum(
                [self.weigh(each) for each in part.values() if isinstance(each, dict | list)]
                + [self._weigh_target(each) for each in references]
            )
            self._open.remove(key)
        return self._weights[key]

    def _weigh_target(self, reference: str) -> int:
        target = self._root
        if not reference.startswith("#"):
            self.is_unknown = True
            return 0
        for step in unquote(reference[1:]).split("/")[1:]:
            step = step.replace("~1", "/").replace("~0", "~")
            if isinstance(target, list) and step.isdecimal() and int(step) < len(target):
                target = target[int(step)]
            elif isinstance(target, dict) and step in target:
                target = target[step]
            else:
                self.is_unknown = True
                return 0
        if "/" not in reference and reference != "#":
            self.is_unknown = True  # an anchor
        return self.weigh(target)
