"""Where a producer's routing key and properties come from: the request. Pure.

A key names a parameter of the path whatever its capital letter, or stands in braces for something
else: ``{query.x}``, ``{header.x}``, ``{JWT.x}``, ``{resp0_x}``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple, TypeAlias
from urllib.parse import parse_qsl

from ...config.go_names import parameter_of
from ...core.proxy import Request
from ...errors import Unpublishable, ValueMissing
from ..settings import ProducerSettings
from ..wire.message import MAX_SHORT_STRING_BYTES, Chosen, short_string
from ..wire.properties import APP_ID, CORRELATION_ID, EXPIRATION, PRIORITY, REPLY_TO, TYPE

Value: TypeAlias = Callable[[Request], bytes]
"""UTF-8 of at most 255 bytes, empty when there is none. Raises Unpublishable, ValueMissing."""

MAX_EXPIRATION = 2**32 - 1
"""Milliseconds; RabbitMQ closes the channel of who asks for more."""

_DIGITS = re.compile(rb"[0-9]+")


RESERVED_REPLY_TO = b"amq.rabbitmq.reply-to"
"""RabbitMQ closes the channel of a message with this name (direct reply-to), unless the same
channel consumes from it; longer names lead to the consumer of another connection."""

_FROM_ELSEWHERE = re.compile(r"JWT\.|[Rr]esp\d+_")
"""Values that a token or an earlier answer has to have."""


def build_value(key: str, *, is_routing_key: bool = False) -> Value:
    """What ``key`` names, read from each request.

    Raises :class:`ValueMissing` for what a token or an earlier answer does not have. A routing key
    must have a value, unless its name is a parameter that the path does not have.
    """
    name = key[1:-1] if key.startswith("{") and key.endswith("}") else key
    read = _build_read(name)
    missing = _build_missing(name, is_routing_key)

    def value(request: Request) -> bytes:
        text = read(request)
        if not text:
            return missing(request)
        try:
            encoded = text.encode()
        except UnicodeEncodeError as error:
            raise Unpublishable(f"{name}: not UTF-8") from error
        if len(encoded) > MAX_SHORT_STRING_BYTES:
            raise Unpublishable(f"{name}: longer than {MAX_SHORT_STRING_BYTES} bytes")
        return encoded

    return value


def _build_missing(name: str, is_routing_key: bool) -> Value:
    """What it means that the value is missing or empty."""
    parameter = parameter_of(name)

    def fails(request: Request) -> bytes:
        raise ValueMissing(f"no value for {{{name}}}")

    def refused(request: Request) -> bytes:
        raise Unpublishable(f"{name}: missing, it is the routing key")

    def refused_when_given(request: Request) -> bytes:
        return refused(request) if parameter in request.params else b""

    kind = name.partition(".")[0]
    if _FROM_ELSEWHERE.match(name) or (is_routing_key and kind == "amqp"):
        return fails
    if not is_routing_key:
        return lambda request: b""
    return refused if kind in ("query", "header") else refused_when_given


def _build_read(name: str) -> Callable[[Request], str]:
    kind, _, inner = name.partition(".")
    if kind == "query" and inner:
        return lambda request: _from_query(request, inner)
    if kind == "header" and inner:
        header = inner.lower().encode()
        return lambda request: (request.header(header) or b"").decode("latin-1")
    parameter = parameter_of(name)
    return lambda request: request.params.get(parameter, "")


def _from_query(request: Request, name: str) -> str:
    pairs = parse_qsl(request.query_string.decode("latin-1"), keep_blank_values=True)
    return next((value for key, value in pairs if key == name), "")


class Property(NamedTuple):
    """A property that requests choose; ``encode`` raises ValueError with what was expected."""

    flag: int
    key: str
    encode: Callable[[bytes], bytes]


Reading: TypeAlias = list[tuple[Property, Value]]


def build_chosen(settings: ProducerSettings) -> Callable[[Request], Chosen] | None:
    """The properties that requests choose; None when the settings name none."""
    before = _reading(
        Property(PRIORITY, settings.priority_key, _priority),
        Property(CORRELATION_ID, settings.correlation_id_key, short_string),
        Property(REPLY_TO, settings.reply_to_key, _reply_to),
        Property(EXPIRATION, settings.exp_key, _expiration),
    )
    behind = _reading(
        Property(TYPE, settings.type_key, short_string),
        Property(APP_ID, settings.app_id_key, short_string),
    )
    if not before and not behind:
        return None

    def chosen(request: Request) -> Chosen:
        flags_before, values_before = _encode(before, request)
        flags_behind, values_behind = _encode(behind, request)
        return Chosen(flags_before | flags_behind, values_before, values_behind)

    return chosen


def _reading(*properties: Property) -> Reading:
    return [(each, build_value(each.key)) for each in properties if each.key]


def _encode(reading: Reading, request: Request) -> tuple[int, bytes]:
    flags, encoded = 0, b""
    for each, value in reading:
        if chosen := value(request):
            flags |= each.flag
            try:
                encoded += each.encode(chosen)
            except ValueError as error:
                raise Unpublishable(f"{each.key}: {error}") from error
    return flags, encoded


def _priority(value: bytes) -> bytes:
    if not _DIGITS.fullmatch(value) or int(value) > 255:
        raise ValueError("expected a priority from 0 to 255")
    return b"%c" % int(value)


def _reply_to(value: bytes) -> bytes:
    if value.startswith(RESERVED_REPLY_TO):
        raise ValueError(f"{RESERVED_REPLY_TO.decode()} is reserved, expected a queue's name")
    return short_string(value)


def _expiration(value: bytes) -> bytes:
    if not _DIGITS.fullmatch(value) or int(value) > MAX_EXPIRATION:
        raise ValueError("expected an expiration, a whole number of milliseconds")
    return short_string(value)
