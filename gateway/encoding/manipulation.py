"""``encoding``, ``target``, ``allow``, ``deny``, ``mapping``, ``group``: KrakenD's order. Pure.

A backend's ``flatmap_filter`` replaces its allow, deny and mapping.

Documents may have undecoded JSON in them: a value is decoded by one level when a rule enters it.
No rule enters an array. (lura, proxy/formatter.go)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

from ..config.proxy import proxy_settings
from ..config.structs import Backend
from . import build_decoder
from .document import Decode, Document, unwrap
from .flatmap import build_flatmap

Manipulation: TypeAlias = Callable[[Document], Document | None]
"""None: nothing is left, not even an empty object."""

Step: TypeAlias = Callable[[Document], Document]
Reading: TypeAlias = Decode
"""The body of a response -> the document that its backend contributes; None: no document."""
Tree: TypeAlias = dict[str, "Tree | None"]
"""Dotted paths as nested keys; None is the end of a path."""


def build_manipulation(backend: Backend) -> Manipulation | None:
    """The backend's keys as one function; None when none of them is set.

    The function does not change its argument. It raises :class:`gateway.encoding.DecodeError` when
    a document is nested too deeply.
    """
    steps: list[Callable[[Any], Document | None]] = []
    if backend.target:
        steps.append(_targeting(backend.target.split(".")))
    flatmap = build_flatmap(proxy_settings(backend).flatmap_filter)
    steps.extend([flatmap] if flatmap is not None else _filters(backend))
    if backend.group:
        steps.append(lambda data: {backend.group: data})
    if len(steps) < 2:
        return steps[0] if steps else None

    def manipulate(data: Document) -> Document | None:
        result: Document | None = data
        for step in steps:
            result = step(result)
        return result

    return manipulate


def _filters(backend: Backend) -> Iterator[Step]:
    if backend.allow:
        yield _allowing(_tree(backend.allow))
    elif backend.deny:
        # Parents last: a key that is denied as a whole stays denied.
        yield _denying(_tree(sorted(backend.deny, key=len, reverse=True)))
    if backend.mapping:
        yield _mapping(backend.mapping)


def build_reading(backend: Backend) -> Reading:
    """Decodes and manipulates. The function raises :class:`gateway.encoding.DecodeError`."""
    decode = build_decoder(backend.encoding, backend.is_collection)
    manipulate = build_manipulation(backend)
    nothing = manipulate_nothing(backend)
    if manipulate is None:
        return decode

    def read(body: bytes) -> Document | None:
        data = decode(body)
        return nothing if data is None else manipulate(data)

    return read


def manipulate_nothing(backend: Backend) -> Document | None:
    """What a response without a document contributes."""
    nothing: Document | None = {} if backend.target else None
    return {backend.group: nothing} if backend.group else nothing


def _targeting(path: Sequence[str]) -> Step:
    def target(data: Document) -> Document:
        for key in path:
            inner = unwrap(data.get(key))
            if not isinstance(inner, dict):
                return {}
            data = inner
        return data

    return target


def _tree(paths: Sequence[str]) -> Tree:
    """The tree of dotted paths. Where two paths contradict each other, the later one counts."""
    root: Tree = {}
    for path in paths:
        *parents, last = path.split(".")
        branch = root
        for key in parents:
            below = branch.get(key)
            if below is None:
                below = branch[key] = {}
            branch = below
        branch[last] = None
    return root


def _allowing(tree: Tree) -> Step:
    def allow(data: Document) -> Document:
        return _only(data, tree)

    return allow


def _only(data: Document, tree: Tree) -> Document:
    kept: Document = {}
    for key, below in tree.items():
        if key not in data:
            continue
        value = data[key]
        if below is None:
            kept[key] = value
        elif isinstance(inner := unwrap(value), dict) and (part := _only(inner, below)):
            kept[key] = part
    return kept


def _denying(tree: Tree) -> Step:
    def deny(data: Document) -> Document:
        return _without(data, tree)

    return deny


def _without(data: Document, tree: Tree) -> Document:
    kept = dict(data)
    for key, below in tree.items():
        if key not in kept:
            continue
        if below is None:
            del kept[key]
        elif isinstance(inner := unwrap(kept[key]), dict):
            kept[key] = _without(inner, below)
    return kept


def _mapping(names: dict[str, str]) -> Step:
    """All keys are renamed at once: two keys may swap. A renamed key replaces an existing one."""
    # A new name ends at its first dot, as in KrakenD. KrakenD loses a key that is mapped to itself;
    # here it stays.
    renames = [(old, new.split(".")[0]) for old, new in names.items()]

    def rename(data: Document) -> Document:
        kept = dict(data)
        renamed = {new: kept.pop(old) for old, new in renames if old in kept}
        kept.update(renamed)
        return kept

    return rename
