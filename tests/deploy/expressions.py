"""Reads expressions of PromQL: as much of the language as our dashboard and alerts use."""

from __future__ import annotations

import re
from typing import NamedTuple

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_GROUPING = re.compile(r"\b(by|without|on|ignoring|group_left|group_right)\s*\(([^()]*)\)")
_SELECTOR = re.compile(r"([a-zA-Z_:][\w:]*)\s*\{([^{}]*)\}")
_MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"')
_NAME = re.compile(r"[a-zA-Z_:][\w:]*(?!\w|\s*\()")
_VARIABLE = re.compile(r"\$\w+")

OPERATORS = {"and", "or", "unless", "bool", "offset"}


class Matcher(NamedTuple):
    """A condition of a selector: ``label``, ``operator``, ``value``."""

    label: str
    operator: str
    value: str

    def accepts(self, labels: dict[str, str]) -> bool:
        found = labels.get(self.label, "")
        is_equal = (
            re.fullmatch(self.value, found) is not None
            if self.operator.endswith("~")
            else found == self.value
        )
        return is_equal is not self.operator.startswith("!")


def with_values(expression: str) -> str:
    """With a value in place of each of Grafana's variables: a duration, or what matches all."""
    expression = re.sub(r"\[\$\w+\]", "[5m]", expression)
    return _VARIABLE.sub(".*", expression)


def metric_names(expression: str) -> set[str]:
    text = _GROUPING.sub(" ", _STRING.sub(" ", with_values(expression)))
    text = re.sub(r"\{[^{}]*\}|\[[^\[\]]*\]", " ", text)
    return set(_NAME.findall(text)) - OPERATORS


def selectors(expression: str) -> list[tuple[str, list[Matcher]]]:
    """The metrics with conditions, and the conditions."""
    return [
        (found[1], [Matcher(*each) for each in _MATCHER.findall(found[2])])
        for found in _SELECTOR.finditer(with_values(expression))
    ]


def grouping_labels(expression: str) -> set[str]:
    """The labels in ``by (...)`` and the like."""
    lists = (found[2] for found in _GROUPING.finditer(with_values(expression)))
    return {label.strip() for each in lists for label in each.split(",") if label.strip()}
