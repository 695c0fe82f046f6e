"""move, append and del: each rule by an example."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec import Raw

from gateway.config.proxy import FlatmapOperation
from gateway.encoding import DecodeError, decode_json, encode_json
from gateway.encoding.flatmap import build_flatmap, problem

DOCUMENT: dict[str, Any] = {
    "id": 1,
    "list": [{"a": 1, "b": {"c": 2}}, {"a": 3, "b": {"c": 4}}],
    "tags": ["x", "y"],
    "more": ["z"],
    "none": [],
    "o": {"k": "v", "p": {"q": 1}},
    "nil": None,
}


def operation(text: str) -> FlatmapOperation:
    kind, *args = text.split()
    return FlatmapOperation(type=kind, args=tuple(args))


def after(document: dict[str, Any], *operations: str) -> Any:
    flatmap = build_flatmap([operation(each) for each in operations])
    decoded = decode_json(json.dumps(document).encode())
    assert flatmap is not None
    assert decoded is not None
    return json.loads(encode_json(flatmap(decoded)))


def changed(**changes: Any) -> dict[str, Any]:
    """The document with other values; NotImplemented takes a key out."""
    document = {**DOCUMENT, **changes}
    return {key: value for key, value in document.items() if value is not NotImplemented}


GONE = NotImplemented


@pytest.mark.parametrize(
    ("operations", "expected"),
    [
        (["move id identifier"], changed(id=GONE, identifier=1)),
        (["move id tags"], changed(id=GONE, tags=1)),
        (["move id id"], DOCUMENT),
        (["move id x.y"], changed(id=GONE, x={"y": 1})),
        (["move id o.id"], changed(id=GONE, o={"k": "v", "p": {"q": 1}, "id": 1})),
        (["move id more.x"], changed(id=GONE, more=["z", 1])),
        (["move id none.x"], changed(id=GONE, none=[1])),
        (["move id nil.x"], changed(id=GONE, nil={"x": 1})),
        (["move o.k k"], changed(o={"p": {"q": 1}}, k="v")),
        (["move o.p.q nosuch.q"], changed(o={"k": "v", "p": None}, q=1)),
        (["move o.k other.kk"], changed(o={"kk": "v", "p": {"q": 1}})),
        (["move nosuch x", "move o.nosuch.x y"], DOCUMENT),
        (["move nil nothing"], changed(nil=GONE, nothing=None)),
        (
            ["move list.*.a list.*.z"],
            changed(list=[{"b": {"c": 2}, "z": 1}, {"b": {"c": 4}, "z": 3}]),
        ),
        (
            ["move list.*.b.c list.*.c"],
            changed(list=[{"a": 1, "b": None, "c": 2}, {"a": 3, "b": None, "c": 4}]),
        ),
        (["move list.1.a second"], changed(list=[DOCUMENT["list"][0], {"b": {"c": 4}}], second=3)),
        (["move tags.0 tags.1"], DOCUMENT),
        (["move list.0 x.0"], DOCUMENT),
        (["move tags.0 first"], changed(tags=["y"], first="x")),
        (["move * x"], DOCUMENT),
        (["append more tags"], changed(tags=["x", "y", "z"], more=GONE)),
        (["append none tags"], changed(none=GONE)),
        (["append tags none"], changed(tags=GONE, none=["x", "y"])),
        (["append nosuch tags", "append tags nosuch", "append id tags", "append tags o"], DOCUMENT),
        (
            ["append list.*.a tags"],
            changed(list=[{"b": {"c": 2}}, {"b": {"c": 4}}], tags=["x", "y", 1, 3]),
        ),
        (["del id"], changed(id=GONE)),
        (["del id tags more"], changed(id=GONE, tags=GONE, more=GONE)),
        (["del nosuch o.nosuch id.x"], DOCUMENT),
        (["del list.*.b.c"], changed(list=[{"a": 1, "b": None}, {"a": 3, "b": None}])),
        (["del list.0"], changed(list=[DOCUMENT["list"][1]])),
        (["del list.0 list.1"], changed(list=None)),
        (["del o.*"], changed(o=None)),
        (["del tags.0 tags.0"], changed(tags=["y"])),
        (["move id k.id", "move k.id final"], changed(id=GONE, k=None, final=1)),
        (["move o.p p", "del o"], changed(o=GONE, p={"q": 1})),
        (["del *"], None),
    ],
)
def test_the_document_is_equal_to_krakends(operations: list[str], expected: Any) -> None:
    assert after(DOCUMENT, *operations) == expected


def test_elements_keep_their_first_index_when_others_are_removed() -> None:
    assert after({"l": ["a", "b", "c"]}, "del l.0", "del l.1") == {"l": ["c"]}


def test_numbers_keep_their_digits_and_nothing_else_is_decoded() -> None:
    flatmap = build_flatmap([operation("move a.x b")])
    document = decode_json(b'{"a":{"x":1.0,"y":1e5},"rest":[1.50]}')
    assert flatmap is not None
    assert document is not None
    moved = flatmap(document)
    assert encode_json(moved) == b'{"a":{"y":1e5},"rest":[1.50],"b":1.0}'
    assert moved is not None
    assert isinstance(moved["rest"], Raw)


def test_the_argument_is_not_changed() -> None:
    flatmap = build_flatmap([operation("append b a"), operation("move o.x x")])
    document: dict[str, Any] = {"a": [1], "b": [2], "o": {"x": 1}}
    assert flatmap is not None
    assert flatmap(document) == {"a": [1, 2], "o": None, "x": 1}
    assert document == {"a": [1], "b": [2], "o": {"x": 1}}


def test_a_path_into_deep_nesting_raises_decode_error() -> None:
    flatmap = build_flatmap([operation("del a.b")])
    assert flatmap is not None
    with pytest.raises(DecodeError):
        flatmap({"a": Raw(b'{"b":' + b"[" * 5_000 + b"]" * 5_000 + b"}")})


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("copy a b", 'unknown type "copy"'),
        ("move a", '"move" needs two paths'),
        ("append", '"append" needs two paths'),
        ("del", ""),
        ("move a b", ""),
    ],
)
def test_an_operation_without_effect_has_a_reason(text: str, why: str) -> None:
    assert problem(operation(text)).startswith(why)
    assert bool(problem(operation(text))) == bool(why)


def test_operations_without_effect_are_no_function() -> None:
    assert build_flatmap([]) is None
    assert build_flatmap([operation("copy a b"), operation("move a"), operation("del")]) is None
