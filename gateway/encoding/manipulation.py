"""``encoding``, ``target``, ``allow``, ``deny``, ``mapping``, ``group``: KrakenD's order. Pure.

Where a backend has a ``flatmap_filter``, it stands in the place of allow, deny and mapping.

Documents may hold undecoded JSON; a value is decoded one level where a rule goes into it, and
nothing reaches into arrays. (lura, proxy/formatter.go)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

from ..config.proxy import proxy_settings
from ..config.structs import Backend
from . import build_decoder, unwrap
from .flatmap import build_flatmap

Document: TypeAlias = dict[str, Any]
Manipulation: TypeAlias = Callable[[Document], Document | None]
"""None: there is nothing left, not even an object."""

Step: TypeAlias = Callable[[Document], Document]
Reading: TypeAlias = Callable[[bytes], Document | None]
Tree: TypeAlias = dict[str, "Tree | None"]
"""Dotted paths as nested keys; None is the end of a path."""


def build_manipulation(backend: Backend) -> Manipulation | None:
    """What the backend's keys ask for, as one function; None when they ask for nothing.

    The function leaves its argument as it is, and raises :class:`gateway.encoding.DecodeError`
    where a document is nested too deeply to be looked into.
    """
    steps: list[Callable[[Any], Any]] = []
    if backend.target:
        steps.append(_targeting(backend.target.split(".")))
    flatmap = build_flatmap(proxy_settings(backend).flatmap_filter)
    steps.extend([flatmap] if flatmap is not None else _filters(backend))
    if backend.group:
        steps.append(lambda data: {backend.group: data})
    if len(steps) < 2:
        return steps[0] if steps else None

    def manipulate(data: Any) -> Any:
        for step in steps:
            data = step(data)
        return data

    return manipulate


def _filters(backend: Backend) -> Iterator[Step]:
    if backend.allow:
        yield _allowing(_tree(backend.allow))
    elif backend.deny:
        # The parents last: a key that is denied whole stays so.
        yield _denying(_tree(sorted(backend.deny, key=len, reverse=True)))
    if backend.mapping:
        yield _mapping(backend.mapping)


def build_reading(backend: Backend) -> Reading:
    """From the bytes of an answer to the document a backend contributes; None: to none.

    Raises :class:`gateway.encoding.DecodeError`.
    """
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
    """What becomes of no document at all."""
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
    """A later path wins over an earlier one that it contradicts."""
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
    """All keys change their names at once: two may swap. A renamed key beats one that is there."""
    # Only what stands before the first dot of a new name counts. KrakenD loses a key that is
    # mapped to itself; here it stays.
    renames = [(old, new.split(".")[0]) for old, new in names.items()]

    def rename(data: Document) -> Document:
        kept = dict(data)
        renamed = {new: kept.pop(old) for old, new in renames if old in kept}
        kept.update(renamed)
        return kept

    return rename
