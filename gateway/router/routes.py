"""The handler of a method and a path, by the rules of gin, which is KrakenD's router. Pure.

Paths are decoded, so that an encoded slash separates segments. Static segments are tried before
placeholders; if they lead to no handler, placeholders are tried.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, NamedTuple, TypeVar

from ..config.go_names import parameter_of
from ..config.paths import split_path

H = TypeVar("H")
Params = dict[str, str]


class Match(NamedTuple, Generic[H]):
    handler: H
    params: Params


class Routes(Generic[H]):
    """Handlers by method and path pattern: ``/users/{id}``, ``/files/*`` at the end.

    ``with_prefixes``: a placeholder may follow text in its segment, ``/v{id}``
    (KrakenD's ``disable_rest``).
    """

    def __init__(self, with_prefixes: bool = False) -> None:
        self.static: dict[tuple[str, str], H] = {}
        """Handlers of patterns without placeholders, by (method, path)."""
        self._root = _TreeNode[H]()
        self._methods: dict[str, None] = {}
        self._with_prefixes = with_prefixes

    def add(self, method: str, pattern: str, handler: H) -> None:
        """Add a route. The names of parameters get a first letter in upper case, as in KrakenD."""
        names = []
        node = self._root
        for text, name in split_path(pattern, not self._with_prefixes):
            if name:
                names.append(parameter_of(name))
                node = node.child_placeholder(text)
            elif text == "*":
                node = node.child_rest()
            else:
                node = node.statics.setdefault(text, _TreeNode())
        self._methods[method] = None
        node.leaves[method] = _Leaf(handler, tuple(names))
        if not names and not pattern.endswith("/*"):
            self.static[method, pattern] = handler

    def find(self, method: str, path: str) -> Match[H] | None:
        if not path.startswith("/"):
            return None
        return self._root.find(method, path.split("/"), 1, ())

    def methods(self, path: str) -> list[str]:
        """The methods of the path, in the order in which routes first used them."""
        return [method for method in self._methods if self.find(method, path)]

    def with_other_slash(self, method: str, path: str) -> str | None:
        """The path with a slash added to, or removed from, its end, if it has a route."""
        other = _other_slash(path)
        # A location that begins with two slashes would be another host.
        if other.startswith("//") or not self.find(method, other):
            return None
        return other

    def with_fixed_path(self, method: str, path: str, any_slash: bool) -> str | None:
        """The path with corrected dots, double slashes and letter case, if it has a route.

        ``any_slash``: also with a slash added to, or removed from, its end.
        """
        cleaned = clean_path(path)
        for candidate in (cleaned, _other_slash(cleaned)) if any_slash else (cleaned,):
            for spelled, leaves in self._root.walk_folded(candidate.split("/")[1:], ""):
                if method in leaves:
                    return spelled
        return None


class _Leaf(NamedTuple, Generic[H]):
    handler: H
    names: tuple[str, ...]


class _TreeNode(Generic[H]):
    """A node of the tree of segments. ``placeholders``: by the text before them, longest first."""

    __slots__ = ("leaves", "placeholders", "rest", "statics")

    def __init__(self) -> None:
        self.statics: dict[str, _TreeNode[H]] = {}
        self.placeholders: dict[str, _TreeNode[H]] = {}
        self.rest: _TreeNode[H] | None = None
        self.leaves: dict[str, _Leaf[H]] = {}

    def child_rest(self) -> _TreeNode[H]:
        if self.rest is None:
            self.rest = _TreeNode()
        return self.rest

    def child_placeholder(self, before: str) -> _TreeNode[H]:
        node = self.placeholders.get(before)
        if node is None:
            node = self.placeholders[before] = _TreeNode()
            longest_first = sorted(self.placeholders.items(), key=lambda item: -len(item[0]))
            self.placeholders = dict(longest_first)
        return node

    def find(
        self, method: str, segments: list[str], at: int, values: tuple[str, ...]
    ) -> Match[H] | None:
        """The best match of the segments from ``at`` on."""
        if at == len(segments):
            return self.match(method, values)
        segment = segments[at]
        node = self.statics.get(segment)
        if node is not None and (found := node.find(method, segments, at + 1, values)):
            return found
        for before, node in self.placeholders.items():
            # A placeholder in the middle may be empty, the last one may not.
            if segment.startswith(before) and (segment != before or at + 1 < len(segments)):
                value = segment[len(before) :]
                if found := node.find(method, segments, at + 1, (*values, value)):
                    return found
        return None if self.rest is None else self.rest.match(method, values)

    def match(self, method: str, values: tuple[str, ...]) -> Match[H] | None:
        leaf = self.leaves.get(method)
        if leaf is None:
            return None
        return Match(leaf.handler, dict(zip(leaf.names, values, strict=True)))

    def walk_folded(
        self, segments: list[str], spelled: str
    ) -> Iterator[tuple[str, dict[str, _Leaf[H]]]]:
        """The leaves of the segments, whatever the case of static text; with the right spelling."""
        if not segments:
            yield spelled, self.leaves
            return
        first, *others = segments
        folded = first.lower()
        for name, node in self.statics.items():
            if name.lower() == folded:
                yield from node.walk_folded(others, f"{spelled}/{name}")
        for before, node in self.placeholders.items():
            if folded.startswith(before.lower()) and folded != before.lower():
                right = before + first[len(before) :]
                yield from node.walk_folded(others, f"{spelled}/{right}")
        if self.rest is not None:
            yield "/".join((spelled, *segments)), self.rest.leaves


def clean_path(path: str) -> str:
    """The path without dot segments and repeated slashes."""
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del kept[-1:]
        elif segment not in ("", "."):
            kept.append(segment)
    return "/" + "/".join(kept) + ("/" if path.endswith("/") and kept else "")


def _other_slash(path: str) -> str:
    return path[:-1] if path.endswith("/") else path + "/"
