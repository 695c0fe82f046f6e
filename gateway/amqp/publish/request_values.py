"""Reads the routing key and the properties of a message from its request. Pure.

A key in the settings is the name of a parameter of the path, with or without a capital first
letter, or a name in braces: ``{query.x}``, ``{header.x}``, ``{JWT.x}``, ``{resp0_x}``.
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
from ..wire.message import MAX_SHORT_STRING_BYTES, ChosenProperties, short_string
from ..wire.properties import APP_ID, CORRELATION_ID, EXPIRATION, PRIORITY, REPLY_TO, TYPE

RequestValue: TypeAlias = Callable[[Request], bytes]
"""Reads one value of a request: UTF-8 of at most 255 bytes, empty when the request does not have
it. Raises Unpublishable, ValueMissing."""

MAX_EXPIRATION = 2**32 - 1
"""Milliseconds. RabbitMQ closes the channel for a larger expiration."""

_DIGITS = re.compile(rb"[0-9]+")

RESERVED_REPLY_TO = b"amq.rabbitmq.reply-to"
"""The name of direct reply-to. RabbitMQ closes the channel for a message with this name when the
channel does not consume from it. A longer name with this prefix sends the reply to a consumer of
another connection."""

_FROM_ELSEWHERE = re.compile(r"JWT\.|[Rr]esp\d+_")
"""Names of values from the token, or from the response of an earlier backend."""


def build_value(key: str, *, is_routing_key: bool = False) -> RequestValue:
    """The function that reads the value with the name ``key`` from a request.

    It raises :class:`ValueMissing` when the token or an earlier response does not have the value. A
    routing key must have a value, unless ``key`` is the name of a parameter that the path of the
    endpoint does not have.
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


def _build_missing(name: str, is_routing_key: bool) -> RequestValue:
    """The function to call when the value is missing or empty: it raises, or returns b""."""
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


class PropertySource(NamedTuple):
    """A property whose value requests choose. ``key``: its name in the settings. ``encode`` raises
    ValueError with what was expected."""

    flag: int
    key: str
    encode: Callable[[bytes], bytes]


PropertyReaders: TypeAlias = list[tuple[PropertySource, RequestValue]]


def build_chosen_properties(
    settings: ProducerSettings,
) -> Callable[[Request], ChosenProperties] | None:
    """The function that reads the properties that a request chooses; None when the settings name
    none of them."""
    before = _readers(
        PropertySource(PRIORITY, settings.priority_key, _priority),
        PropertySource(CORRELATION_ID, settings.correlation_id_key, short_string),
        PropertySource(REPLY_TO, settings.reply_to_key, _reply_to),
        PropertySource(EXPIRATION, settings.exp_key, _expiration),
    )
    after = _readers(
        PropertySource(TYPE, settings.type_key, short_string),
        PropertySource(APP_ID, settings.app_id_key, short_string),
    )
    if not before and not after:
        return None

    def chosen(request: Request) -> ChosenProperties:
        flags_before, values_before = _encode(before, request)
        flags_after, values_after = _encode(after, request)
        return ChosenProperties(flags_before | flags_after, values_before, values_after)

    return chosen


def _readers(*properties: PropertySource) -> PropertyReaders:
    return [(each, build_value(each.key)) for each in properties if each.key]


def _encode(readers: PropertyReaders, request: Request) -> tuple[int, bytes]:
    flags, encoded = 0, b""
    for each, value in readers:
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
        raise ValueError(
            f"{RESERVED_REPLY_TO.decode()} is reserved by RabbitMQ, expected the name of a queue"
        )
    return short_string(value)


def _expiration(value: bytes) -> bytes:
    if not _DIGITS.fullmatch(value) or int(value) > MAX_EXPIRATION:
        raise ValueError(
            f"expected an expiration in milliseconds, a whole number from 0 to {MAX_EXPIRATION}"
        )
    return short_string(value)
