"""Names that are not known: which one was meant, and which ones there are. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def closest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most like ``name``; None: none is."""
    by_lower = {each.lower(): each for each in known}
    found = difflib.get_close_matches(name.lower(), by_lower, n=1)
    return by_lower[found[0]] if found else None


def likeness(name: str, other: str) -> float:
    """From 0 to 1."""
    return difflib.SequenceMatcher(None, name.lower(), other.lower()).ratio()


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """What to append to a message; empty when no name is like it."""
    close = closest(name, known)
    return f'; did you mean "{close}"?' if close else ""


def unknown(name: str, known: Iterable[str]) -> str:
    """``unknown "topik", did you mean "topic"? There are: ...``."""
    names = list(known)
    close = closest(name, names)
    meant = f', did you mean "{close}"? There' if close else "; there"
    return f'unknown "{name}"{meant} are: {", ".join(names)}'
