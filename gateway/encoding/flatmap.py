"""``flatmap_filter``: move, append and del on paths with wildcards, by KrakenD's rules. Pure.

A document is a tree of labelled nodes; the elements of an array have their first numbers as
labels and keep them when others go. Only nodes that a path goes through are opened: everything
else stays undecoded JSON. (krakend/flatmap, tree)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count
from typing import Any, NamedTuple, TypeAlias

from ..config.proxy import FlatmapOperation
from . import unwrap

Document: TypeAlias = dict[str, Any]
Flatmap: TypeAlias = Callable[[Document], Document | None]
Path: TypeAlias = Sequence[str]

ANY = "*"


class _Opened:
    """A value that is opened when something goes into it.

    ``edges``: label -> node; None while it is closed. ``value``: what it is while it has no edges;
    what was full and is empty now is nothing (JSON's null).
    """

    __slots__ = ("edges", "is_array", "value")

    def __init__(self, value: Any = None) -> None:
        self.value = value
        self.edges: dict[str, _Opened] | None = None
        self.is_array = False

    def open(self) -> dict[str, _Opened]:
        if self.edges is None:
            value = unwrap(self.value)
            self.edges = {}
            if isinstance(value, dict):
                self.edges = {label: _Opened(each) for label, each in value.items()}
            elif isinstance(value, list):
                self.is_array = True
                self.edges = {str(number): _Opened(each) for number, each in enumerate(value)}
            self.value = None if self.edges else value
        return self.edges

    def close(self) -> Any:
        """The document below this node."""
        if not self.edges:
            return self.value
        if self.is_array:
            return [node.close() for node in self.edges.values()]
        return {label: node.close() for label, node in self.edges.items()}

    def child(self, label: str) -> _Opened | None:
        return self.open().get(label)

    def put(self, label: str, node: _Opened) -> None:
        """At the end. An object's key is replaced; an array never loses an element by it."""
        edges = self.open()
        if label in edges and self.is_array:
            label = next(free for free in map(str, count(len(edges))) if free not in edges)
        edges.pop(label, None)
        edges[label] = node

    def relabel(self, old: str, new: str) -> None:
        """In its place."""
        edges = self.open()
        if old == new or (new in edges and self.is_array):
            return
        edges.pop(new, None)
        self.edges = {new if label == old else label: node for label, node in edges.items()}


class _Found(NamedTuple):
    """A node, and the labels that lead to it."""

    node: _Opened
    path: tuple[str, ...]


def build_flatmap(operations: Iterable[FlatmapOperation]) -> Flatmap | None:
    """All operations in their order as one function; None when there is nothing to do.

    The function leaves its argument as it is; it answers None when nothing is left, and raises
    :class:`gateway.encoding.DecodeError` where a document is nested too deeply.
    """
    steps = [step for operation in operations for step in _steps(operation)]
    if not steps:
        return None

    def flatmap(data: Document) -> Document | None:
        root = _Opened(data)
        for step in steps:
            step(root)
        document: Document | None = root.close()
        return document

    return flatmap


def problem(operation: FlatmapOperation) -> str:
    """Why an operation does nothing; empty when it does something."""
    if operation.type not in OPERATIONS:
        return f'unknown type "{operation.type}"; there are: {", ".join(OPERATIONS)}'
    if operation.type != "del" and len(operation.args) < 2:
        return f'"{operation.type}" needs two paths'
    return ""


def _steps(operation: FlatmapOperation) -> Iterator[Callable[[_Opened], None]]:
    if not problem(operation):
        yield from OPERATIONS[operation.type]([arg.split(".") for arg in operation.args])


def _moving(paths: Sequence[Path]) -> Iterator[Callable[[_Opened], None]]:
    """What stands under the last label of ``source`` gets a new place by the length of ``target``:

    as long: only the last label changes; longer: it goes down, from where it stands; shorter:
    it goes up, counted from the root.
    """
    source, target = paths[:2]
    parents, last = source[:-1], source[-1]
    levels = len(target) - len(source)

    def relabel(root: _Opened) -> None:
        for found in _find(root, parents):
            if last in found.node.open():
                found.node.relabel(last, target[-1])

    def move(root: _Opened) -> None:
        moved = [
            (found, found.node.open().pop(last))
            for found in _find(root, parents)
            if last in found.node.open()
        ]
        for found, node in moved:
            if levels > 0:
                parent = _descend(found.node, target[len(parents) : -1])
            else:
                parent = _climb(root, target[:-1], found.path)
            parent.put(target[-1], node)

    yield relabel if levels == 0 else move


def _appending(paths: Sequence[Path]) -> Iterator[Callable[[_Opened], None]]:
    """The elements of the first array go behind those of the second; both must be there."""
    source, target = paths[:2]

    def append(root: _Opened) -> None:
        added, kept = _get(root, source), _get(root, target)
        if isinstance(added, list) and isinstance(kept, list):
            parent = _descend(root, target[:-1])
            parent.open()[target[-1]] = _Opened([*kept, *added])
            _delete(root, source)

    yield append


def _deleting(paths: Sequence[Path]) -> Iterator[Callable[[_Opened], None]]:
    for path in paths:
        yield lambda root, path=path: _delete(root, path)  # type: ignore[misc]


OPERATIONS: dict[str, Callable[[Sequence[Path]], Iterator[Callable[[_Opened], None]]]] = {
    "move": _moving,
    "append": _appending,
    "del": _deleting,
}


def _find(root: _Opened, path: Path) -> list[_Found]:
    """Every node a path leads to."""
    found = [_Found(root, ())]
    for step in path:
        found = [
            _Found(node, (*each.path, label))
            for each in found
            for label, node in each.node.open().items()
            if step in (ANY, label)
        ]
    return found


def _descend(node: _Opened, path: Path) -> _Opened:
    """The node below, made where there is none."""
    for label in path:
        below = node.child(label)
        if below is None:
            below = _Opened()
            node.put(label, below)
        node = below
    return node


def _climb(root: _Opened, path: Path, origin: Path) -> _Opened:
    """The node under ``path``, as far as there is one; a wildcard is the label it came from."""
    node = root
    for step, label in zip(path, origin, strict=False):
        below = node.child(label if step == ANY else step)
        if below is None:
            break
        node = below
    return node


def _get(node: _Opened, path: Path) -> Any:
    """What stands under a path, decoded one level; None when there is nothing."""
    if not path:
        return unwrap(node.close())
    if path[0] == ANY:
        below = node.open()
        return [_get(each, path[1:]) for each in below.values()] if below else None
    child = node.child(path[0])
    return None if child is None else _get(child, path[1:])


def _delete(root: _Opened, path: Path) -> None:
    *parents, last = path
    for found in _find(root, parents):
        edges = found.node.open()
        if last == ANY:
            edges.clear()
        else:
            edges.pop(last, None)
