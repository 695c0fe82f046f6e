"""YAML as KrakenD reads it (go-yaml v3): "on" and "12:30" are strings, no key occurs twice."""

from __future__ import annotations

import re

import yaml
from yaml.constructor import ConstructorError
from yaml.nodes import MappingNode, Node, ScalarNode

from .weak_typing import parse_integer

TAG = "tag:yaml.org,2002:"

PLAIN = {
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "int": (r"[-+]?(0[bB][01_]+|0[xX][0-9a-fA-F_]+|0[oO]?[0-7_]+|[1-9][0-9_]*|0)", "-+0123456789"),
    "float": (
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+0123456789.",
    ),
    "merge": (r"<<", "<"),
}
"""Unquoted values that are not strings, by type: a pattern, and its possible first characters.
(go-yaml, resolve.go)"""


class _YamlLoader(yaml.SafeLoader):
    """Dates are strings: no key of a configuration is a date."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    def compose_mapping_node(self, anchor: dict[str, Node]) -> MappingNode:
        node: MappingNode = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key, ScalarNode) and key.tag != TAG + "merge":
                if key.value in seen:
                    raise ConstructorError(None, None, "a key occurs twice", key.start_mark)
                seen.add(key.value)
        return node

    def construct_number(self, node: ScalarNode) -> int | float:
        text = str(self.construct_scalar(node))
        try:
            return parse_integer(text) if node.tag == TAG + "int" else _float(text)
        except ValueError as error:
            raise ConstructorError(None, None, "not a number", node.start_mark) from error

    def construct_text(self, node: ScalarNode) -> str:
        return str(self.construct_scalar(node))


def _float(text: str) -> float:
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan").replace("_", ""))


for name, (pattern, first) in PLAIN.items():
    _YamlLoader.add_implicit_resolver(TAG + name, re.compile(rf"(?:{pattern})\Z"), list(first))
for name in ("int", "float"):
    _YamlLoader.add_constructor(TAG + name, _YamlLoader.construct_number)
for name in ("timestamp", "binary"):
    _YamlLoader.add_constructor(TAG + name, _YamlLoader.construct_text)


def load_yaml(content: bytes) -> object:
    """The document. Raises ``yaml.YAMLError``."""
    try:  # the loader is a subclass of the safe loader
        return yaml.load(content, Loader=_YamlLoader)  # noqa: S506
    except KeyError as error:  # an explicit !!bool of something else
        raise yaml.YAMLError(f"the value does not fit its tag: {error}") from error
