"""Values of earlier responses for later backends of a sequence: ``{resp0_id}`` in a path. Pure.

(lura, proxy/merging.go)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple, TypeAlias

from msgspec import Raw, defstruct
from msgspec.json import Decoder
from msgspec.json import decode as decode_json

from ..config.go_names import strings_of
from ..config.structs import Backend
from ..encoding import DecodeError, unwrap
from ..encoding.document import TOO_DEEP
from ..errors import GatewayError
from .proxy import Response

Propagate: TypeAlias = Callable[[dict[str, str], Sequence[Response]], None]
"""Adds values of earlier responses to the parameters of a request. Raises a GatewayError."""

_IN_PATTERN = re.compile(r"\{[Rr]esp(\d+)_([\w\-.]+)\}")
_PROPAGATED = re.compile(r"[Rr]esp(\d+)(?:_([\w\-.]+))?")
_IN_SETTINGS = re.compile(r"\{[Rr]esp\d+_[\w\-.]+\}|^[Rr]esp\d+_[\w\-.]+$")
_MISSING = object()

MAX_SEARCHED = 4 * 1024 * 1024
"""Bytes of JSON that are searched before one backend is called: 10 ms at most. Measured at worst:
2 ns a byte."""
MAX_TEXT = 64 * 1024
"""Bytes of JSON of one value: 10 ms at most. Measured at worst: 170 ns a byte (numbers in a
list)."""


class Reference(NamedTuple):
    """A value of an earlier response. ``number``: of the backend, from 0. ``field``: empty for the
    whole response of a ``no-op`` backend."""

    number: int
    field: str

    @property
    def parameter(self) -> str:
        """The name of the request's parameter that has the value."""
        return f"Resp{self.number}_{self.field}" if self.field else f"Resp{self.number}"


def references(url_pattern: str) -> Iterator[Reference]:
    """The references in a backend's ``url_pattern``."""
    yield from _references(_IN_PATTERN, [url_pattern])


def references_in_settings(backend: Backend) -> Iterator[Reference]:
    """The references in the settings of a backend: ``{resp0_x}`` anywhere, or a string that is only
    the name, as a producer's ``routing_key`` may be."""
    for text in strings_of(backend.extra_config):
        yield from _references(_PROPAGATED, _IN_SETTINGS.findall(text))


def propagated(names: Iterable[str]) -> Iterator[Reference]:
    """The references in ``sequential_propagated_params``."""
    yield from _references(_PROPAGATED, names)


def _references(pattern: re.Pattern[str], texts: Iterable[str]) -> Iterator[Reference]:
    for text in texts:
        yield from (Reference(int(found[1]), found[2] or "") for found in pattern.finditer(text))


def build_propagations(backends: Sequence[Backend], names: Sequence[str]) -> list[Propagate]:
    """For each backend of a sequence: how its request gets values of earlier responses.

    A value that its path needs must exist, else :class:`GatewayError` is raised: with a hole in its
    path the request would be another one. A value that is only propagated, or that settings name,
    may be missing.
    """
    propagations = []
    for backend in backends:
        needed = dict.fromkeys(references(backend.url_pattern))
        carried = dict.fromkeys([*propagated(names), *references_in_settings(backend)])
        propagations.append(_build_propagate(tuple(needed), tuple(carried)))
    return propagations


def _build_propagate(needed: Sequence[Reference], carried: Sequence[Reference]) -> Propagate:
    if not needed and not carried:
        return _propagate_nothing

    def propagate(params: dict[str, str], answered: Sequence[Response]) -> None:
        search = _Search()
        for reference in carried:
            value = search.text(reference, answered)
            if value is not None:
                params[reference.parameter] = value
        for reference in needed:
            value = search.text(reference, answered)
            if value is None:
                raise GatewayError(f"no value for {{{reference.parameter}}}")
            params[reference.parameter] = value

    return propagate


def _propagate_nothing(params: dict[str, str], answered: Sequence[Response]) -> None:
    """For backends that need no earlier response."""


class _Search:
    """The search for values in earlier responses, before one backend is called. Raises a
    GatewayError if the responses are too large to be searched on the event loop."""

    def __init__(self) -> None:
        self._room = MAX_SEARCHED

    def text(self, reference: Reference, answered: Sequence[Response]) -> str | None:
        """The value as a string; None if there is none, or if it is an object."""
        if reference.number >= len(answered):
            return None
        response = answered[reference.number]
        if not reference.field:
            if response.body is None:
                return None
            _check_size(reference, len(response.body))
            return response.body.decode(errors="replace")
        value: Any = response.data
        try:
            for key in reference.field.split("."):
                value = self._member(reference, value, key)
            if isinstance(value, Raw) and bytes(memoryview(value)[:1]) != b"{":
                _check_size(reference, len(memoryview(value)))
                value = unwrap(value)
        except DecodeError as error:
            raise GatewayError(str(error)) from error
        if isinstance(value, list):
            texts = [_as_text(each) for each in value]
            return None if None in texts else ",".join(map(str, texts))
        return _as_text(value)

    def _member(self, reference: Reference, value: Any, key: str) -> Any:
        if not isinstance(value, Raw):
            return value.get(key, _MISSING) if isinstance(value, dict) else _MISSING
        text = memoryview(value)
        if bytes(text[:1]) != b"{":
            return _MISSING
        self._room -= len(text)
        if self._room < 0:
            raise GatewayError(
                f"{{{reference.parameter}}}: the objects that are searched for values have more "
                f"than {MAX_SEARCHED} bytes in all"
            )
        return _build_member(key)(value)


@cache
def _build_member(key: str) -> Callable[[Raw], Any]:
    """A function from the JSON of an object to the JSON of one member. It skips the other members:
    that takes a fiftieth of the time to decode them."""
    kind: Any = defstruct("Part", [("member", Raw, Raw())], rename={"member": key})
    decode = Decoder(kind).decode

    def member(text: Raw) -> Any:
        try:
            found: Raw = decode(text).member
        except RecursionError as error:
            raise DecodeError(TOO_DEEP) from error
        return found if len(memoryview(found)) else _MISSING

    return member


def _check_size(reference: Reference, size: int) -> None:
    """Raises a GatewayError for a value that is too large for a parameter."""
    if size > MAX_TEXT:
        raise GatewayError(f"{{{reference.parameter}}}: the value has more than {MAX_TEXT} bytes")


def _as_text(value: Any) -> str | None:
    """As Go prints it; None for objects and lists."""
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
