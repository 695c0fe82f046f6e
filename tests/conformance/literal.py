"""Equality of JSON documents: true is not 1; and, where wanted, numbers by their text. Pure."""

from __future__ import annotations

import json
from typing import Any


class Number(str):
    """A JSON number that keeps its text."""

    __slots__ = ()


def read_literal(text: str) -> Any:
    return json.loads(text, parse_int=Number, parse_float=Number)


def is_same(left: Any, right: Any) -> bool:
    if isinstance(left, dict) and isinstance(right, dict):
        same_keys = left.keys() == right.keys()
        return same_keys and all(is_same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(is_same, left, right))
    if {type(left), type(right)} <= {int, float}:
        return bool(left == right)
    return type(left) is type(right) and bool(left == right)
