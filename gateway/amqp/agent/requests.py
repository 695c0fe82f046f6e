"""A message as the request that an agent's backends get. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import NamedTuple

from ...core.proxy import Request
from ...encoding import encode_json
from ..consume.buffer import Delivery
from ..wire.message import decode_route
from ..wire.properties import (
    APP_ID,
    CONTENT_ENCODING,
    CONTENT_TYPE,
    CORRELATION_ID,
    DELIVERY_MODE,
    EXPIRATION,
    HEADERS,
    MESSAGE_ID,
    PRIORITY,
    REPLY_TO,
    TIMESTAMP,
    TYPE,
    USER_ID,
    MalformedError,
    Properties,
    fields_of,
    nested_value,
    plain_value,
    split_properties,
    text_of,
)

PROPERTIES = {
    "message_id": MESSAGE_ID,
    "correlation_id": CORRELATION_ID,
    "reply_to": REPLY_TO,
    "type": TYPE,
    "app_id": APP_ID,
    "user_id": USER_ID,
    "priority": PRIORITY,
    "expiration": EXPIRATION,
    "delivery_mode": DELIVERY_MODE,
    "timestamp": TIMESTAMP,
}
"""Names as parameters, ``{amqp.message_id}``, and in headers, ``X-Amqp-Message-Id``."""

DELIVERY_COUNT_HEADER = b"x-delivery-count"
"""The header by which a quorum queue counts."""

UNPREFIXED_HEADERS = ("traceparent", "tracestate", "baggage")
"""Headers of a message that keep their names (W3C Trace Context)."""

MAX_JSON_HEADER_BYTES = 4096
"""Bytes; a longer one is left out: servers refuse requests whose headers have more than 8 KiB."""

_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class OriginalMessage(NamedTuple):
    """The message that a request is made of: what a producer publishes again."""

    properties: bytes
    redelivered: bool


def tries_of(delivery: Delivery) -> int:
    """How often the message was tried before: here, or as a quorum queue counts."""
    try:
        return _tries(delivery, split_properties(delivery.properties))
    except MalformedError:
        return delivery.tries


def _tries(delivery: Delivery, properties: Properties) -> int:
    """Raises :class:`gateway.amqp.wire.properties.MalformedError`."""
    for field in fields_of(properties):
        if field.name == DELIVERY_COUNT_HEADER and isinstance(counted := plain_value(field), int):
            return max(delivery.tries, counted)
    return delivery.tries


def build_request(queue: str, delivery: Delivery, headers: bool | tuple[str, ...]) -> Request:
    """``headers``: which of the message's own are passed on; true: all.

    Raises :class:`gateway.amqp.wire.properties.MalformedError`.
    """
    properties = split_properties(delivery.properties)
    exchange, routing_key = decode_route(delivery.route)
    values = {
        "exchange": exchange,
        "routing_key": routing_key,
        "queue": queue,
        "redelivered": "true" if delivery.redelivered or delivery.tries else "false",
        "delivery_count": str(_tries(delivery, properties)),
        **dict(_values(properties)),
    }
    forwarded = dict(_forwarded_headers(properties, _build_is_listed(headers)))
    fields = [
        *_content(properties),
        *((f"x-amqp-{name.replace('_', '-')}", value) for name, value in values.items()),
        *((_header_name(name), value) for name, value in forwarded.items()),
        (
            "idempotency-key",
            text_of(properties, MESSAGE_ID) or _digest(queue, delivery, properties),
        ),
    ]
    params = {f"Amqp.{name}": value for name, value in values.items()}
    params.update({f"Amqp.headers.{name}": value for name, value in forwarded.items()})
    request = Request(
        "GET",
        f"/{queue}",
        params,
        [(name.lower().encode(), _clean(value)) for name, value in fields],
        body=delivery.body,
    )
    request.origin = OriginalMessage(delivery.properties, delivery.redelivered)
    return request


def _values(properties: Properties) -> Iterator[tuple[str, str]]:
    for name, flag in PROPERTIES.items():
        if value := text_of(properties, flag):
            yield name, value


def _content(properties: Properties) -> Iterator[tuple[str, str]]:
    for name, flag in (("content-type", CONTENT_TYPE), ("content-encoding", CONTENT_ENCODING)):
        if value := text_of(properties, flag):
            yield name, value


def _forwarded_headers(
    properties: Properties, is_listed: Callable[[str], bool]
) -> Iterator[tuple[str, str]]:
    """Headers as text: lists and tables, such as ``x-death``, are JSON."""
    for field in fields_of(properties):
        name = field.name.decode(errors="replace")
        value = nested_value(field) if is_listed(name) and _HEADER_NAME.fullmatch(name) else None
        if isinstance(value, bool):
            yield name, "true" if value else "false"
        elif isinstance(value, dict | list):
            text = encode_json(value)
            if len(text) <= MAX_JSON_HEADER_BYTES:
                yield name, text.decode()
        elif value is not None:
            yield name, str(value)


def _build_is_listed(headers: bool | tuple[str, ...]) -> Callable[[str], bool]:
    if isinstance(headers, bool):
        return lambda name: headers
    listed = frozenset(name.lower() for name in headers)
    return lambda name: name.lower() in listed


def _header_name(name: str) -> str:
    return name if name.lower() in UNPREFIXED_HEADERS else f"x-amqp-header-{name}"


def _clean(value: str) -> bytes:
    """Whoever wrote the message chose the value: it may not break the head of a request."""
    return _CONTROLS.sub("", value).encode(errors="replace")


def _digest(queue: str, delivery: Delivery, properties: Properties) -> str:
    """The same each time the message comes, however often the broker has counted."""
    digest = sha256(queue.encode() + b"\0" + delivery.route + b"\0")
    for flag, value in properties.items():
        if flag != HEADERS:
            digest.update(value)
    for field in fields_of(properties):
        if field.name != DELIVERY_COUNT_HEADER:
            digest.update(field.encoded)
    digest.update(b"\0")
    digest.update(delivery.body)
    return digest.hexdigest()
