"""The comparison itself: it must be able to fail."""

from __future__ import annotations

from typing import Any

import pytest

from .matchers import differences


@pytest.mark.parametrize(
    ("expected", "got"),
    [
        ({"a": 1}, {"a": 1, "b": 2}),
        ({"a": 1}, {"a": 1.0}),
        ([1, {"$any": 1}], [1, 2]),
        ({"$in": [200, 502]}, 502),
        ({"$not": 500}, 200),
        ({"$between": [1, 2]}, 1.5),
        ({"$re": "^a"}, "abc"),
        ({"$each": {"n": 1}}, [{"n": 1}, {"n": 1}]),
        ({"$len": 2}, [1, 2]),
        ({"$has": [1, 1]}, [1, 2, 1]),
        ({"$set": [2, 1]}, [1, 2]),
        ({"$strings": 1}, {"a": "string"}),
        ({"$absent": 1}, None),
    ],
)
def test_what_matches(expected: Any, got: Any) -> None:
    assert differences(expected, got) == []


@pytest.mark.parametrize(
    ("expected", "got"),
    [
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, {}),
        ({"a": 1}, None),
        ({"json": {"a": 1}}, {"json": {"a": 1, "b": 2}}),
        ({"json": {"a": {"b": 1}}}, {"json": {"a": {"b": 1, "c": 2}}}),
        (True, 1),
        ([1], [1, 2]),
        ({"$in": [200, 502]}, 500),
        ({"$not": 500}, 500),
        ({"$between": [1, 2]}, 3),
        ({"$re": "^a"}, "bcd"),
        ({"$each": {"n": 1}}, [{"n": 1}, {"n": 2}]),
        ({"$len": 2}, [1]),
        ({"$has": [1, 1]}, [1, 2]),
        ({"$set": [2, 1]}, [1, 2, 3]),
        ({"$strings": 1}, {"a": "array"}),
        ({"$absent": 1}, "x"),
    ],
)
def test_what_does_not(expected: Any, got: Any) -> None:
    assert differences(expected, got)
