"""A class name has one meaning in the whole product."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import gateway

ROOT = Path(gateway.__file__).parent
PUBLIC = {"hooks.py"}
"""What hooks see has the names of what stands behind it: ``gateway.hooks.Request``."""


def test_each_class_has_a_name_of_its_own() -> None:
    places = defaultdict(list)
    for path in sorted(ROOT.rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        if name in PUBLIC:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                places[node.name.lstrip("_")].append(name)
    assert {each: found for each, found in places.items() if len(found) > 1} == {}
