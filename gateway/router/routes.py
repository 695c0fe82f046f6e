"""Which handler a method and a path mean: the rules of gin, KrakenD's router. Pure.

Paths come decoded, so an encoded slash divides segments. Static segments go before placeholders,
with a way back when they lead nowhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Generic, NamedTuple, TypeVar

H = TypeVar("H")
Params = dict[str, str]

_MISSING_OR_EXTRA_SLASH = re.compile(r"/+")


class Match(NamedTuple, Generic[H]):
    handler: H
    params: Params


class Routes(Generic[H]):
    """Handlers by method and path pattern: ``/users/{id}``, ``/files/*`` at the end."""

    def __init__(self) -> None:
        self.static: dict[tuple[str, str], H] = {}
        """Patterns without placeholders, for a first look: (method, path)."""
        self._root = _Node[H]()

    def add(self, method: str, pattern: str, handler: H) -> None:
        """Names of parameters keep their case but for the first letter, as in KrakenD."""
        names = []
        node = self._root
        for segment in pattern.split("/")[1:]:
            if segment == "*":
                node = node.rest = node.rest or _Node()
            elif segment.startswith("{") and segment.endswith("}"):
                names.append(segment[1:2].upper() + segment[2:-1])
                node = node.placeholder = node.placeholder or _Node()
            else:
                node = node.statics.setdefault(segment, _Node())
        node.leaves[method] = _Leaf(handler, tuple(names))
        if not names and not pattern.endswith("*"):
            self.static[method, pattern] = handler

    def find(self, method: str, path: str) -> Match[H] | None:
        for leaves, values in self._root.walk(path.split("/")[1:], ()):
            if method in leaves:
                leaf = leaves[method]
                return Match(leaf.handler, dict(zip(leaf.names, values, strict=True)))
        return None

    def methods(self, path: str) -> list[str]:
        """Methods that the path answers to, sorted."""
        found: set[str] = set()
        for leaves, _ in self._root.walk(path.split("/")[1:], ()):
            found.update(leaves)
        return sorted(found)

    def with_other_slash(self, method: str, path: str) -> str | None:
        """The path that exists when a slash at its end is added or taken away."""
        other = path[:-1] if path.endswith("/") else path + "/"
        return other if len(other) > 0 and self.find(method, other) else None

    def with_fixed_path(self, method: str, path: str) -> str | None:
        """The path that exists when dots, double slashes and letter case are set right."""
        for candidate in dict.fromkeys((_clean(path), _clean(path).rstrip("/"))):
            for spelled, leaves in self._root.walk_folded(candidate.split("/")[1:], ""):
                if method in leaves:
                    return spelled
        return None


class _Leaf(NamedTuple, Generic[H]):
    handler: H
    names: tuple[str, ...]


class _Node(Generic[H]):
    __slots__ = ("leaves", "placeholder", "rest", "statics")

    def __init__(self) -> None:
        self.statics: dict[str, _Node[H]] = {}
        self.placeholder: _Node[H] | None = None
        self.rest: _Node[H] | None = None
        self.leaves: dict[str, _Leaf[H]] = {}

    def walk(
        self, segments: list[str], values: tuple[str, ...]
    ) -> Iterator[tuple[dict[str, _Leaf[H]], tuple[str, ...]]]:
        """Every node the segments lead to, the best first."""
        if not segments:
            yield self.leaves, values
            return
        first, *others = segments
        if first in self.statics:
            yield from self.statics[first].walk(others, values)
        # A placeholder in the middle may be empty, the last one may not.
        if self.placeholder is not None and (first or others):
            yield from self.placeholder.walk(others, (*values, first))
        if self.rest is not None:
            yield self.rest.leaves, values

    def walk_folded(
        self, segments: list[str], spelled: str
    ) -> Iterator[tuple[str, dict[str, _Leaf[H]]]]:
        """As :meth:`walk`, whatever the case of static segments; with the right spelling."""
        if not segments:
            yield spelled, self.leaves
            return
        first, *others = segments
        for name, node in self.statics.items():
            if name.lower() == first.lower():
                yield from node.walk_folded(others, f"{spelled}/{name}")
        if self.placeholder is not None and first:
            yield from self.placeholder.walk_folded(others, f"{spelled}/{first}")
        if self.rest is not None:
            yield "/".join((spelled, *segments)), self.rest.leaves


def _clean(path: str) -> str:
    """Dot segments and repeated slashes resolved."""
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del kept[-1:]
        elif segment not in ("", "."):
            kept.append(segment)
    return "/" + "/".join(kept) + ("/" if path.endswith("/") and kept else "")


def remove_extra_slashes(path: str) -> str:
    return _MISSING_OR_EXTRA_SLASH.sub("/", path)
