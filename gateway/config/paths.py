"""An endpoint's path as KrakenD's router reads it. Pure. (lura, config/uri.go; gin, tree.go)

A placeholder has a name of letters, digits, ``_`` and ``-``, and begins its segment. With
``disable_rest`` it may follow text, and its name may have ``.``, too. Other braces are plain text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

PLACEHOLDER = re.compile(r"\{([\w\-.:/]+)\}", re.ASCII)
_AFTER_SLASH = re.compile(r"(?<=/)\{([\w\-]+)\}", re.ASCII)
_IN_BRACES = re.compile(r"\{[^{}]*\}")


class Segment(NamedTuple):
    """``text``: what the path of a request must have here. ``name``: of the placeholder after it;
    empty when there is none."""

    text: str
    name: str = ""


def parameters(endpoint: str, is_rest: bool) -> set[str]:
    """The names that backends may use. ``is_rest``: ``disable_rest`` is false."""
    return set((_AFTER_SLASH if is_rest else PLACEHOLDER).findall(endpoint))


def split_path(endpoint: str, is_rest: bool) -> list[Segment]:
    """The segments of a path. A placeholder reaches to the end of its segment: text after its brace
    is part of its name."""
    return [_segment(text) for text in _with_colons(endpoint, is_rest).split("/")[1:]]


def shape(endpoint: str, is_rest: bool) -> tuple[tuple[str, bool], ...]:
    """The path without the names of its placeholders. Paths of one shape have the same requests."""
    return tuple((text, bool(name)) for text, name in split_path(endpoint, is_rest))


def literal_braces(endpoint: str, is_rest: bool) -> Iterator[str]:
    """Braces that are plain text although they look like a placeholder."""
    known = parameters(endpoint, is_rest)
    for found in _IN_BRACES.finditer(endpoint):
        if found[0][1:-1] not in known:
            yield found[0]


def _with_colons(endpoint: str, is_rest: bool) -> str:
    """The path in the notation of gin, KrakenD's router: ``/users/:id``."""
    for name in parameters(endpoint, is_rest):
        endpoint = endpoint.replace(f"{{{name}}}", f":{name}")
    return endpoint


def _segment(text: str) -> Segment:
    before, _, name = text.partition(":")
    return Segment(before, name) if name else Segment(text)
