"""How much work it is to say why a value does not fit a JSON Schema. Pure.

Whether it fits is decided in linear time. The validator's list of reasons is not: it has one for
each way through ``anyOf`` and the like, with all that failed on the way (a document of 1 kB for a
schema that refers to itself: 10 GB).
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
ON_THE_SAME_VALUE = frozenset(
    {"allOf", "anyOf", "oneOf", "not", "if", "dependentSchemas", "dependencies"}
    | {"patternProperties", "contains", "unevaluatedItems", "unevaluatedProperties"}
)
"""Keywords by which one part of a value is looked at several times."""
BESIDE_A_REFERENCE = frozenset(
    {"properties", "additionalProperties", "items", "prefixItems", "additionalItems"}
)
"""The same, where they have a reference beside them (from 2019-09 on)."""

MAX_WORK = 3000
"""Weight of a schema times values of a document: about 20 ms at worst (measured: 13 us a value
for ``items`` of another type, 85 us for an ``enum`` of 100 objects)."""


def explained_size(schema: Any) -> int:
    """The values that a document may have so that its faults may be listed; 0: never."""
    survey = _Survey(schema)
    weight = survey.weigh(schema)
    if survey.is_unknown or (survey.is_recursive and survey.branches):
        return 0
    return MAX_WORK // max(1, weight)


def has_more_values(value: Any, most: int) -> bool:
    """Whether a document has more than ``most`` values, all levels counted."""
    number = 0
    waiting = [value]
    while waiting:
        each = waiting.pop()
        number += 1
        if isinstance(each, dict | list):
            if number + len(waiting) + len(each) > most:
                return True
            waiting.extend(each.values() if isinstance(each, dict) else each)
    return number > most


class _Survey:
    """Weighs a schema: its objects and the elements of its lists, through all references."""

    def __init__(self, root: Any) -> None:
        self._root = root
        self._weights: dict[int, int] = {}
        self._open: set[int] = set()
        self.is_recursive = self.branches = self.is_unknown = False

    def weigh(self, part: Any) -> int:
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
            references = [part[name] for name in REFERENCES if isinstance(part.get(name), str)]
            self.branches |= bool(ON_THE_SAME_VALUE & part.keys())
            self.branches |= bool(references and BESIDE_A_REFERENCE & part.keys())
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
