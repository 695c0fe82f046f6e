"""KrakenD's texts: values of the configuration, names of parameters and headers. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import to_builtins


def texts_of(part: object) -> Iterator[str]:
    """The values of Structs, objects and lists, at any depth; no keys. Placeholders are in them."""
    yield from _texts(to_builtins(part, enc_hook=repr))


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from _texts([*value.values()])
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _texts(each)


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
