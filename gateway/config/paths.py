"""An endpoint's path as KrakenD's router reads it. Pure. (lura, config/uri.go; gin, tree.go)

A placeholder has a name of letters, digits, ``_`` and ``-``, and begins its segment. With
``disable_rest`` it may follow text, and its name may have ``.`` as well. Other braces are text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

PLACEHOLDER = re.compile(r"\{([\w\-.:/]+)\}", re.ASCII)
_AFTER_SLASH = re.compile(r"(?<=/)\{([\w\-]+)\}", re.ASCII)
_IN_BRACES = re.compile(r"\{[^{}]*\}")


class Segment(NamedTuple):
    """``text``: what a request has to say; ``name``: of the placeholder behind it, else empty."""

    text: str
    name: str = ""


def parameters(endpoint: str, is_rest: bool) -> set[str]:
    """The names that backends may use. ``is_rest``: not ``disable_rest``."""
    return set((_AFTER_SLASH if is_rest else PLACEHOLDER).findall(endpoint))


def split_path(endpoint: str, is_rest: bool) -> list[Segment]:
    """The segments of a path. A placeholder reaches to the end of its segment: what follows its
    brace is part of its name."""
    return [_segment(text) for text in _with_colons(endpoint, is_rest).split("/")[1:]]


def shape(endpoint: str, is_rest: bool) -> tuple[tuple[str, bool], ...]:
    """What two paths have in common that no request can tell apart."""
    return tuple((text, bool(name)) for text, name in split_path(endpoint, is_rest))


def literal_braces(endpoint: str, is_rest: bool) -> Iterator[str]:
    """What looks like a placeholder and is none."""
    known = parameters(endpoint, is_rest)
    for found in _IN_BRACES.finditer(endpoint):
        if found[0][1:-1] not in known:
            yield found[0]


def _with_colons(endpoint: str, is_rest: bool) -> str:
    """gin's own notation: ``/users/:id``."""
    for name in parameters(endpoint, is_rest):
        endpoint = endpoint.replace(f"{{{name}}}", f":{name}")
    return endpoint


def _segment(text: str) -> Segment:
    before, _, name = text.partition(":")
    return Segment(before, name) if name else Segment(text)
