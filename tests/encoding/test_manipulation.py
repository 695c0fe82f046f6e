"""target, allow, deny, mapping and group, beside an obvious and slow version of the rules."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from gateway.config.structs import Backend
from gateway.encoding import DecodeError, decode_json, encode_json
from gateway.encoding.manipulation import build_manipulation, manipulate_nothing

USER = {"id": 7, "name": "u", "address": {"city": "c", "zip": "z"}, "tags": ["x", "y"]}
DOCUMENT: dict[str, Any] = {
    "id": 1,
    "name": "n",
    "user": USER,
    "list": [{"a": 1, "b": 2}],
    "null": None,
    "flag": False,
    "empty": {},
    "dot.key": "d",
}


def without(*names: str) -> dict[str, Any]:
    return {key: value for key, value in DOCUMENT.items() if key not in names}


def manipulated(document: dict[str, Any], **keys: Any) -> Any:
    """The document as a client reads it, after it came as JSON text."""
    manipulate = build_manipulation(Backend(**keys))
    decoded = decode_json(json.dumps(document).encode())
    assert manipulate is not None
    assert decoded is not None
    return json.loads(encode_json(manipulate(decoded)))


def test_nothing_configured_is_no_function() -> None:
    assert build_manipulation(Backend()) is None


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"target": "user"}, USER),
        ({"target": "user.address"}, USER["address"]),
        ({"target": "nosuch"}, {}),
        ({"target": "name"}, {}),
        ({"target": "list"}, {}),
        ({"target": "null"}, {}),
        ({"target": "user.name.x"}, {}),
        ({"allow": ("id", "name")}, {"id": 1, "name": "n"}),
        (
            {"allow": ("user.name", "user.address.zip")},
            {"user": {"name": "u", "address": {"zip": "z"}}},
        ),
        ({"allow": ("list.a",)}, {}),
        ({"allow": ("user.nosuch",)}, {}),
        ({"allow": ("null", "flag")}, {"flag": False, "null": None}),
        ({"allow": ("user.name", "user")}, {"user": USER}),
        ({"allow": ("user", "user.name")}, {"user": {"name": "u"}}),
        ({"allow": ("dot.key",)}, {}),
        ({"allow": ("empty",)}, {"empty": {}}),
        ({"allow": ("id",), "deny": ("id",)}, {"id": 1}),
        ({"deny": ("id", "name")}, without("id", "name")),
        ({"deny": ("list.a", "nosuch", "dot.key")}, DOCUMENT),
        ({"deny": ("user", "user.name")}, without("user")),
        ({"deny": ("user.name", "user")}, without("user")),
        (
            {"deny": ("user.id", "user.name", "user.address", "user.tags")},
            {**DOCUMENT, "user": {}},
        ),
        ({"mapping": {"id": "identifier"}}, {**without("id"), "identifier": 1}),
        ({"mapping": {"nosuch": "x"}}, DOCUMENT),
        ({"mapping": {"id": "a.b"}}, {**without("id"), "a": 1}),
        ({"mapping": {"id": "name"}}, {**without("id"), "name": 1}),
        ({"mapping": {"user.id": "x"}}, DOCUMENT),
        ({"group": "g.h"}, {"g.h": DOCUMENT}),
        (
            {"allow": ("id", "user.id"), "mapping": {"id": "i", "user": "p"}, "group": "g"},
            {"g": {"i": 1, "p": {"id": 7}}},
        ),
        ({"allow": ("identifier",), "mapping": {"id": "identifier"}}, {}),
        ({"target": "user", "deny": ("address", "tags")}, {"id": 7, "name": "u"}),
        ({"target": "nosuch", "group": "g"}, {"g": {}}),
    ],
)
def test_the_document_is_equal_to_krakends(keys: dict[str, Any], expected: Any) -> None:
    assert manipulated(DOCUMENT, **keys) == expected


def test_key_mapped_to_itself_stays() -> None:
    assert manipulated({"a": 1}, mapping={"a": "a"}) == {"a": 1}


def test_two_keys_may_swap_their_names() -> None:
    assert manipulated({"a": 1, "b": 2}, mapping={"a": "b", "b": "a"}) == {"a": 2, "b": 1}


def test_collection_can_be_renamed_and_grouped() -> None:
    manipulate = build_manipulation(Backend(mapping={"collection": "items"}, group="g"))
    assert manipulate is not None
    assert manipulate({"collection": [Raw(b"1")]}) == {"g": {"items": [Raw(b"1")]}}


@pytest.mark.parametrize(
    ("backend", "expected"),
    [
        (Backend(), None),
        (Backend(allow=("a",)), None),
        (Backend(target="a"), {}),
        (Backend(group="g"), {"g": None}),
        (Backend(target="a", group="g"), {"g": {}}),
    ],
)
def test_no_document_stays_none_but_for_target_and_group(backend: Backend, expected: Any) -> None:
    assert manipulate_nothing(backend) == expected


def test_numbers_keep_their_digits_where_a_rule_enters() -> None:
    manipulate = build_manipulation(Backend(allow=("a.b",)))
    document = decode_json(b'{"a":{"b":1.50,"c":2}}')
    assert manipulate is not None
    assert document is not None
    assert encode_json(manipulate(document)) == b'{"a":{"b":1.50}}'


def test_a_rule_that_enters_deep_nesting_raises_decode_error() -> None:
    manipulate = build_manipulation(Backend(target="a"))
    assert manipulate is not None
    with pytest.raises(DecodeError):
        manipulate({"a": Raw(b'{"b":' + b"[" * 5_000 + b"]" * 5_000 + b"}")})


keys = st.sampled_from(["a", "b", "c"])
paths = st.lists(keys, min_size=1, max_size=3).map(".".join)
documents = st.recursive(
    st.dictionaries(keys, st.integers(0, 9), max_size=3),
    lambda inner: st.dictionaries(
        keys, inner | st.lists(inner, max_size=2) | st.none(), max_size=3
    ),
    max_leaves=12,
)


def leaves(value: Any, path: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    """Every path in the document, to objects too."""
    found = {path} if path else set()
    if isinstance(value, dict):
        for key, below in value.items():
            found |= leaves(below, (*path, key))
    return found


@given(documents, st.lists(paths, min_size=1, max_size=3, unique=True))
def test_allow_keeps_exactly_the_values_at_and_below_a_path(
    document: dict[str, Any], allow: list[str]
) -> None:
    split = [tuple(path.split(".")) for path in allow]
    # Of two paths one of which contains the other, the later counts.
    live = [
        path
        for place, path in enumerate(split)
        if not any(
            path[: len(later)] == later or later[: len(path)] == path
            for later in split[place + 1 :]
        )
    ]
    reachable = leaves(document)
    whole = {path for path in live if path in reachable}
    below = {path for path in reachable if any(path[: len(top)] == top for top in whole)}
    above = {top[:length] for top in whole for length in range(1, len(top))}
    assert leaves(manipulated(document, allow=tuple(allow))) == below | above


@given(documents, st.lists(paths, min_size=1, max_size=3, unique=True))
def test_deny_removes_exactly_the_values_at_and_below_a_path(
    document: dict[str, Any], deny: list[str]
) -> None:
    expected = deepcopy(document)
    for path in deny:
        *parents, last = path.split(".")
        node: Any = expected
        for key in parents:
            node = node.get(key) if isinstance(node, dict) else None
        if isinstance(node, dict):
            node.pop(last, None)
    assert manipulated(document, deny=tuple(deny)) == expected


@given(documents, paths, st.dictionaries(keys, keys, max_size=3))
def test_the_argument_is_not_changed(
    document: dict[str, Any], path: str, mapping: dict[str, str]
) -> None:
    before = deepcopy(document)
    for options in ({"deny": (path,)}, {"allow": (path,)}, {"target": path}):
        manipulate = build_manipulation(Backend(mapping=mapping, group="g", **options))
        assert manipulate is not None
        manipulate(document)
    assert document == before
