"""Patterns of configurations: Go's regular expressions are RE2's.

Matched in linear time, whatever pattern and text: a client cannot make one expensive.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

Matches: TypeAlias = Callable[[str], object]
"""Whether a text matches: anything true when it does."""


class PatternError(ValueError):
    """Not a pattern; the text says why."""


def build_search(pattern: str) -> Matches:
    """A match anywhere in the text. Raises :class:`PatternError`."""
    import re2  # type: ignore[import-untyped]

    options = re2.Options()
    options.log_errors = False
    try:
        search: Matches = re2.compile(pattern, options).search
    except re2.error as error:
        raise PatternError(f"not a pattern: {_told(error)}") from error
    return search


def build_full_match(pattern: str) -> Matches:
    """A match of the whole text. Raises :class:`PatternError`."""
    build_search(pattern)  # a parenthesis too many must not close ours
    return build_search(rf"\A(?:{pattern})\z")


def bad_patterns(patterns: Sequence[str], key: str) -> Iterator[tuple[str, str]]:
    """For each that is none: its key, and why."""
    for place, pattern in enumerate(patterns):
        try:
            build_search(pattern)
        except PatternError as error:
            yield f"{key}[{place}]", str(error)


def _told(error: Exception) -> str:
    told = error.args[0] if error.args else error
    return told.decode(errors="replace") if isinstance(told, bytes) else str(told)
