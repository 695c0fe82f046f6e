"""Messages about unknown names: the name that was probably meant, and the known names. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def closest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most similar to ``name``. None when no name is similar."""
    by_lower = {each.lower(): each for each in known}
    found = difflib.get_close_matches(name.lower(), by_lower, n=1)
    return by_lower[found[0]] if found else None


def likeness(name: str, other: str) -> float:
    """How similar two names are, from 0 to 1."""
    return difflib.SequenceMatcher(None, name.lower(), other.lower()).ratio()


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a message. Empty when no known name is similar."""
    close = closest(name, known)
    return f'; did you mean "{close}"?' if close else ""


def unknown(name: str, known: Iterable[str]) -> str:
    """``unknown "topik", did you mean "topic"? There are: ...``."""
    names = list(known)
    close = closest(name, names)
    meant = f', did you mean "{close}"? There' if close else "; there"
    return f'unknown "{name}"{meant} are: {", ".join(names)}'
