"""What later backends of a sequence need of earlier answers: ``{resp0_id}`` in a path. Pure.

(lura, proxy/merging.go)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

from msgspec import Raw
from msgspec.json import decode as decode_json

from ..config.structs import Backend
from ..config.texts import texts_of
from ..encoding import DecodeError, unwrap
from ..errors import GatewayError
from .proxy import Response

Fill: TypeAlias = Callable[[dict[str, str], Sequence[Response]], None]
"""Adds to the parameters of a request what earlier answers say. Raises a GatewayError."""

_IN_PATTERN = re.compile(r"\{[Rr]esp(\d+)_([\w\-.]+)\}")
_PROPAGATED = re.compile(r"[Rr]esp(\d+)(?:_([\w\-.]+))?")
_IN_SETTINGS = re.compile(r"\{[Rr]esp\d+_[\w\-.]+\}|^[Rr]esp\d+_[\w\-.]+$")
_MISSING = object()


class Reference(NamedTuple):
    """A value of an earlier answer. ``number``: of the backend, from 0. ``field``: empty for the
    whole answer of a ``no-op`` backend."""

    number: int
    field: str

    @property
    def parameter(self) -> str:
        """Under which name a request carries it."""
        return f"Resp{self.number}_{self.field}" if self.field else f"Resp{self.number}"


def references(url_pattern: str) -> Iterator[Reference]:
    """What a backend's ``url_pattern`` asks of earlier answers."""
    yield from _references(_IN_PATTERN, [url_pattern])


def references_in_settings(backend: Backend) -> Iterator[Reference]:
    """What the settings of a backend ask of earlier answers: ``{resp0_x}`` anywhere, or a text that
    is no more than the name, as a producer's ``routing_key`` may be."""
    for text in texts_of(backend.extra_config):
        yield from _references(_PROPAGATED, _IN_SETTINGS.findall(text))


def propagated(names: Iterable[str]) -> Iterator[Reference]:
    """What ``sequential_propagated_params`` asks of them."""
    yield from _references(_PROPAGATED, names)


def _references(pattern: re.Pattern[str], texts: Iterable[str]) -> Iterator[Reference]:
    for text in texts:
        yield from (Reference(int(found[1]), found[2] or "") for found in pattern.finditer(text))


def build_fills(backends: Sequence[Backend], names: Sequence[str]) -> list[Fill]:
    """For each backend of a sequence: what is put into the parameters before it is asked.

    What its path needs must be there, else the fill raises :class:`GatewayError`: a request with
    a hole in its path would be another one. What is only propagated, or named by settings, may be
    missing.
    """
    fills = []
    for backend in backends:
        needed = dict.fromkeys(references(backend.url_pattern))
        carried = dict.fromkeys([*propagated(names), *references_in_settings(backend)])
        fills.append(_build_fill(tuple(needed), tuple(carried)))
    return fills


def _build_fill(needed: Sequence[Reference], carried: Sequence[Reference]) -> Fill:
    if not needed and not carried:
        return _fill_nothing

    def fill(params: dict[str, str], answered: Sequence[Response]) -> None:
        for reference in carried:
            value = _look_up(reference, answered)
            if value is not None:
                params[reference.parameter] = value
        for reference in needed:
            value = _look_up(reference, answered)
            if value is None:
                raise GatewayError(f"no value for {{{reference.parameter}}}")
            params[reference.parameter] = value

    return fill


def _fill_nothing(params: dict[str, str], answered: Sequence[Response]) -> None:
    """For the first backend, and whoever needs nothing."""


def _look_up(reference: Reference, answered: Sequence[Response]) -> str | None:
    """The value as text; None when there is none, or it is an object."""
    if reference.number >= len(answered):
        return None
    response = answered[reference.number]
    if not reference.field:
        return None if response.body is None else response.body.decode(errors="replace")
    value: Any = response.data
    try:
        for key in reference.field.split("."):
            value = value.get(key, _MISSING) if isinstance(value, dict) else _MISSING
            value = unwrap(value)
        if isinstance(value, list):
            texts = [_as_text(each) for each in value]
            return None if None in texts else ",".join(map(str, texts))
    except DecodeError as error:
        raise GatewayError(str(error)) from error
    return _as_text(value)


def _as_text(value: Any) -> str | None:
    """As Go prints it; None for what has parts of its own."""
    if isinstance(value, Raw):
        text = bytes(value)
        if text[:1] in (b"{", b"["):
            return None
        if text[:1] == b'"':
            decoded: str = decode_json(text)
            return decoded
        return "<nil>" if text == b"null" else text.decode()
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int | float) else None
