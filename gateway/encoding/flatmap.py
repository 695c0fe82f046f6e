"""``flatmap_filter``: move, append and del on paths with wildcards, by KrakenD's rules. Pure.

A document is a tree of labelled nodes. The label of an array's element is its first index; it stays
the same when other elements are removed. Only the nodes on a path are decoded; everything else
stays undecoded JSON. (krakend/flatmap, tree)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count
from typing import Any, NamedTuple, TypeAlias

from ..config.proxy import FlatmapOperation
from .document import Document, Value, unwrap

Flatmap: TypeAlias = Callable[[Document], Document | None]
Path: TypeAlias = Sequence[str]

WILDCARD = "*"


class _LazyNode:
    """A value of the document, decoded when a path enters it.

    ``edges``: label -> node; None until the value is decoded. ``value``: of a node without edges.
    An object or an array that loses its last element becomes null.
    """

    __slots__ = ("edges", "is_array", "value")

    def __init__(self, value: Value = None) -> None:
        self.value = value
        self.edges: dict[str, _LazyNode] | None = None
        self.is_array = False

    def open(self) -> dict[str, _LazyNode]:
        if self.edges is None:
            value = unwrap(self.value)
            self.edges = {}
            if isinstance(value, dict):
                self.edges = {label: _LazyNode(each) for label, each in value.items()}
            elif isinstance(value, list):
                self.is_array = True
                self.edges = {str(number): _LazyNode(each) for number, each in enumerate(value)}
            self.value = None if self.edges else value
        return self.edges

    def close(self) -> Any:
        """The document below this node."""
        if not self.edges:
            return self.value
        if self.is_array:
            return [node.close() for node in self.edges.values()]
        return {label: node.close() for label, node in self.edges.items()}

    def child(self, label: str) -> _LazyNode | None:
        return self.open().get(label)

    def put(self, label: str, node: _LazyNode) -> None:
        """Add the node at the end. In an object it replaces the node of that label; in an array it
        gets a free label, so that no element is lost."""
        edges = self.open()
        if label in edges and self.is_array:
            label = next(free for free in map(str, count(len(edges))) if free not in edges)
        edges.pop(label, None)
        edges[label] = node

    def relabel(self, old: str, new: str) -> None:
        """Rename a label; its node keeps its position."""
        edges = self.open()
        if old == new or (new in edges and self.is_array):
            return
        edges.pop(new, None)
        self.edges = {new if label == old else label: node for label, node in edges.items()}


class _Found(NamedTuple):
    """A node, and the labels on the path to it."""

    node: _LazyNode
    path: tuple[str, ...]


def build_flatmap(operations: Iterable[FlatmapOperation]) -> Flatmap | None:
    """All operations, in their order, as one function; None when no operation has an effect.

    The function does not change its argument. It returns None when nothing is left, and raises
    :class:`gateway.encoding.DecodeError` when a document is nested too deeply.
    """
    steps = [step for operation in operations for step in _steps(operation)]
    if not steps:
        return None

    def flatmap(data: Document) -> Document | None:
        root = _LazyNode(data)
        for step in steps:
            step(root)
        document: Document | None = root.close()
        return document

    return flatmap


def problem(operation: FlatmapOperation) -> str:
    """Why an operation has no effect; empty when it has one."""
    if operation.type not in OPERATIONS:
        return f'unknown type "{operation.type}"; there are: {", ".join(OPERATIONS)}'
    if operation.type != "del" and len(operation.args) < 2:
        return f'"{operation.type}" needs two paths'
    return ""


def _steps(operation: FlatmapOperation) -> Iterator[Callable[[_LazyNode], None]]:
    if not problem(operation):
        yield from OPERATIONS[operation.type]([arg.split(".") for arg in operation.args])


def _moving(paths: Sequence[Path]) -> Iterator[Callable[[_LazyNode], None]]:
    """Moves the nodes at ``source``. The length of ``target`` decides where to.

    As long as ``source``: only the last label changes. Longer: the node moves down, from its own
    parent. Shorter: it moves up, to a path from the root.
    """
    source, target = paths[:2]
    parents, last = source[:-1], source[-1]
    levels = len(target) - len(source)

    def relabel(root: _LazyNode) -> None:
        for found in _find(root, parents):
            if last in found.node.open():
                found.node.relabel(last, target[-1])

    def move(root: _LazyNode) -> None:
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


def _appending(paths: Sequence[Path]) -> Iterator[Callable[[_LazyNode], None]]:
    """Appends the elements of the first array to the second. Both arrays must exist."""
    source, target = paths[:2]

    def append(root: _LazyNode) -> None:
        added, kept = _get(root, source), _get(root, target)
        if isinstance(added, list) and isinstance(kept, list):
            parent = _descend(root, target[:-1])
            parent.open()[target[-1]] = _LazyNode([*kept, *added])
            _delete(root, source)

    yield append


def _deleting(paths: Sequence[Path]) -> Iterator[Callable[[_LazyNode], None]]:
    for path in paths:
        yield lambda root, path=path: _delete(root, path)  # type: ignore[misc]


OPERATIONS: dict[str, Callable[[Sequence[Path]], Iterator[Callable[[_LazyNode], None]]]] = {
    "move": _moving,
    "append": _appending,
    "del": _deleting,
}


def _find(root: _LazyNode, path: Path) -> list[_Found]:
    """Every node that the path matches."""
    found = [_Found(root, ())]
    for step in path:
        found = [
            _Found(node, (*each.path, label))
            for each in found
            for label, node in each.node.open().items()
            if step in (WILDCARD, label)
        ]
    return found


def _descend(node: _LazyNode, path: Path) -> _LazyNode:
    """The node at a path below ``node``. Missing nodes are created."""
    for label in path:
        below = node.child(label)
        if below is None:
            below = _LazyNode()
            node.put(label, below)
        node = below
    return node


def _climb(root: _LazyNode, path: Path, origin: Path) -> _LazyNode:
    """The deepest node that exists on ``path``. A wildcard is the label in ``origin`` there."""
    node = root
    for step, label in zip(path, origin, strict=False):
        below = node.child(label if step == WILDCARD else step)
        if below is None:
            break
        node = below
    return node


def _get(node: _LazyNode, path: Path) -> Value:
    """The value at a path, decoded by one level; None when there is none."""
    if not path:
        return unwrap(node.close())
    if path[0] == WILDCARD:
        below = node.open()
        return [_get(each, path[1:]) for each in below.values()] if below else None
    child = node.child(path[0])
    return None if child is None else _get(child, path[1:])


def _delete(root: _LazyNode, path: Path) -> None:
    *parents, last = path
    for found in _find(root, parents):
        edges = found.node.open()
        if last == WILDCARD:
            edges.clear()
        else:
            edges.pop(last, None)
