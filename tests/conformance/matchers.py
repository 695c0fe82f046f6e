"""Comparison of an observation with what a case expects. Pure.

An object names the keys that count; below ``json`` it is compared exactly. An object with one key
that begins with "$" is a matcher.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any


def differences(expected: Any, got: Any, path: str = "", is_exact: bool = False) -> list[str]:
    """What differs, one text each; empty when it matches."""
    if isinstance(expected, dict):
        if len(expected) == 1 and (name := next(iter(expected))).startswith("$"):
            return MATCHERS[name](expected[name], got, path, is_exact)
        return _objects(expected, got, path, is_exact)
    if isinstance(expected, list):
        if not isinstance(got, list) or len(got) != len(expected):
            return [f"{path}: {_short(got)} != {_short(expected)}"]
        pairs = enumerate(zip(expected, got, strict=True))
        return [
            problem
            for place, (want, have) in pairs
            for problem in differences(want, have, f"{path}[{place}]", is_exact)
        ]
    is_same = expected == got and isinstance(expected, bool) == isinstance(got, bool)
    return [] if is_same else [f"{path}: {_short(got)} != {_short(expected)}"]


def _objects(expected: dict[str, Any], got: Any, path: str, is_exact: bool) -> list[str]:
    if not isinstance(got, dict):
        return [f"{path}: {_short(got)} is no object, expected {_short(expected)}"]
    problems = [
        problem
        for key, want in expected.items()
        for problem in differences(want, got.get(key), f"{path}.{key}", is_exact or key == "json")
    ]
    extra = sorted(got.keys() - expected.keys()) if is_exact else []
    return problems + [f"{path}.{key}: unexpected" for key in extra]


def _any(arg: Any, got: Any, path: str, is_exact: bool) -> list[str]:
    return []


def _absent(arg: Any, got: Any, path: str, is_exact: bool) -> list[str]:
    return [] if got in (None, "", [], {}) else [f"{path}: {_short(got)} should be absent"]


def _in(arg: Any, got: Any, path: str, is_exact: bool) -> list[str]:
    if any(not differences(each, got, path, is_exact) for each in arg):
        return []
    return [f"{path}: {_short(got)} is none of {_short(arg)}"]


def _not(arg: Any, got: Any, path: str, is_exact: bool) -> list[str]:
    return [] if differences(arg, got, path, is_exact) else [f"{path}: {_short(got)} not allowed"]


def _between(arg: Any, got: Any, path: str, is_exact: bool) -> list[str]:
    if isinstance(got, int | float) and arg[0] <= got <= arg[1]:
        return []
    return [f"{path}: {_short(got)} is not between {arg}"]


def _re(arg: Any, got: Any, path: str, is_exact: bool) -> list[str]:
    is_found = isinstance(got, str) and re.search(arg, got)
    return [] if is_found else [f"{path}: {_short(got)} does not match {arg}"]


def _each(arg: Any, got: Any, path: str, is_exact: bool) -> list[str]:
    return [
        problem
        for place, have in enumerate(got or [])
        for problem in differences(arg, have, f"{path}[{place}]", is_exact)
    ]


def _len(arg: Any, got: Any, path: str, is_exact: bool) -> list[str]:
    return differences(arg, len(got or []), f"{path}.len", is_exact)


def _has(arg: Any, got: Any, path: str, is_exact: bool) -> list[str]:
    rest = list(got or [])
    for want in arg:
        found = [have for have in rest if not differences(want, have, path, is_exact)]
        if not found:
            return [f"{path}: {_short(want)} is missing in {_short(got)}"]
        rest.remove(found[0])
    return []


def _set(arg: Any, got: Any, path: str, is_exact: bool) -> list[str]:
    return _len(len(arg), got, path, is_exact) or _has(arg, got, path, is_exact)


def _strings(arg: Any, got: Any, path: str, is_exact: bool) -> list[str]:
    if isinstance(got, dict) and set(got.values()) <= {"string"}:
        return []
    return [f"{path}: {_short(got)} are not all plain strings"]


MATCHERS: dict[str, Callable[[Any, Any, str, bool], list[str]]] = {
    "$any": _any,
    "$absent": _absent,
    "$in": _in,
    "$not": _not,
    "$between": _between,
    "$re": _re,
    "$each": _each,
    "$len": _len,
    "$has": _has,
    "$set": _set,
    "$strings": _strings,
}


def _short(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)[:300]
