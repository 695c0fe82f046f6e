"""Every text of a part of the configuration: where placeholders may be."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import to_builtins


def texts_of(part: object) -> Iterator[str]:
    """The values of Structs, objects and lists, at any depth; no keys."""
    yield from _texts(to_builtins(part, enc_hook=repr))


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from _texts([*value.values()])
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _texts(each)
