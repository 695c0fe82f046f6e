"""A class name has one meaning in the whole product, and words are those of the field."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

import gateway

ROOT = Path(gateway.__file__).parent


def test_each_class_has_a_name_of_its_own() -> None:
    places = defaultdict(list)
    for path in sorted(ROOT.rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                places[node.name.lstrip("_")].append(name)
    assert {each: found for each, found in places.items() if len(found) > 1} == {}


PRIVATE_WORDS = re.compile(
    r"\b(told|whoever|nobody|set aside|misfit|wish|tenants?|door|farewell|company|remark(ed|s)?)\b",
    re.IGNORECASE,
)
"""Words that once stood for: reported, the client, parked, validation error, a waiting request,
users of a link, security settings, close code, a batch, a warning."""


def test_sources_use_the_words_of_the_field() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in sorted(ROOT.rglob("*.py"))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if PRIVATE_WORDS.search(line)
    ]
    assert found == []
