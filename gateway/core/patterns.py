"""Regular expressions of configurations: those of Go, which are those of RE2.

They match in linear time, so that no client can make a match expensive.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

Matches: TypeAlias = Callable[[str], object]
"""Whether a string matches: a true value if it does."""


class PatternError(ValueError):
    """Not a regular expression; the text says why."""


def build_search(pattern: str) -> Matches:
    """A match anywhere in the string. Raises :class:`PatternError`."""
    import re2  # type: ignore[import-untyped]

    options = re2.Options()
    options.log_errors = False
    try:
        search: Matches = re2.compile(pattern, options).search
    except re2.error as error:
        raise PatternError(f"not a pattern: {_message(error)}") from error
    return search


def build_full_match(pattern: str) -> Matches:
    """A match of the whole string. Raises :class:`PatternError`."""
    build_search(pattern)  # a surplus parenthesis in it must not close the group below
    return build_search(rf"\A(?:{pattern})\z")


def bad_patterns(patterns: Sequence[str], key: str) -> Iterator[tuple[str, str]]:
    """For each invalid pattern: its key, and why."""
    for place, pattern in enumerate(patterns):
        try:
            build_search(pattern)
        except PatternError as error:
            yield f"{key}[{place}]", str(error)


def _message(error: Exception) -> str:
    message = error.args[0] if error.args else error
    return message.decode(errors="replace") if isinstance(message, bytes) else str(message)
