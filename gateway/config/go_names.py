"""The names that KrakenD, a Go program, gives to parameters and headers; where they occur. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import to_builtins


def strings_of(part: object) -> Iterator[str]:
    """Every string in Structs, objects and lists, at any depth, but no keys: where placeholders
    occur."""
    yield from _strings(to_builtins(part, enc_hook=repr))


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from _strings([*value.values()])
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _strings(each)


def parameter_of(placeholder: str) -> str:
    """The key of a placeholder's value in the parameters of a request: ``{route}`` is ``Route``."""
    return placeholder[:1].upper() + placeholder[1:]


def has_placeholder(path: str, name: str) -> bool:
    """Whether the path of an endpoint has the placeholder, its first letter in any case."""
    firsts = (name[:1].lower(), name[:1].upper())
    return any(f"{{{first}{name[1:]}}}" in path for first in firsts)


def canonical_header(name: str) -> str:
    """``x-request-id`` as ``X-Request-Id``, as Go writes it."""
    return "-".join([part.capitalize() for part in name.split("-")])
