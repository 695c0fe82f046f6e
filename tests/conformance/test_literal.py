"""The comparison itself: it must be able to fail."""

from __future__ import annotations

import json

import pytest

from .literal import is_same, read_literal


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ("1", "1.0", True),
        ("true", "1", False),
        ("0", "false", False),
        ('{"a":1,"b":[2]}', '{"b":[2],"a":1}', True),
        ("[1,2]", "[2,1]", False),
        ("[1]", "[1,1]", False),
        ('{"a":null}', "{}", False),
        ('"1"', "1", False),
    ],
)
def test_documents(left: str, right: str, expected: bool) -> None:
    assert is_same(json.loads(left), json.loads(right)) is expected


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [("1", "1.0", False), ("1.50", "1.50", True), ("[1]", '["1"]', False)],
)
def test_numbers_by_their_text(left: str, right: str, expected: bool) -> None:
    assert is_same(read_literal(left), read_literal(right)) is expected
