"""A message as the request that an agent's backends get. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Any, NamedTuple

from pamqp.commands import Basic

from ..proxy import Request
from .buffer import Delivery
from .message import decode_properties, decode_route

PROPERTIES = {
    "message_id": "message_id",
    "correlation_id": "correlation_id",
    "reply_to": "reply_to",
    "type": "message_type",
    "app_id": "app_id",
    "user_id": "user_id",
    "priority": "priority",
    "expiration": "expiration",
    "delivery_mode": "delivery_mode",
}
"""Names as parameters, ``{amqp.message_id}``, and in headers, ``X-Amqp-Message-Id``."""

PASSED_ON = ("traceparent", "tracestate", "baggage")
"""Headers of a message that keep their names (W3C Trace Context)."""

_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class Origin(NamedTuple):
    """The message that a request is made of: what a producer publishes again."""

    header: bytes
    redelivered: bool


def tries_of(delivery: Delivery) -> int:
    """How often the message was tried before: here, or as a quorum queue counts."""
    properties = decode_properties(delivery.header)
    counted = (properties.headers or {}).get("x-delivery-count")
    return max(delivery.tries, counted if isinstance(counted, int) else 0)


def build_request(queue: str, delivery: Delivery, headers: bool | tuple[str, ...]) -> Request:
    """``headers``: which of the message's own are passed on; true: all."""
    properties = decode_properties(delivery.header)
    exchange, routing_key = decode_route(delivery.route)
    values = {
        "exchange": exchange,
        "routing_key": routing_key,
        "queue": queue,
        "redelivered": "true" if delivery.redelivered or delivery.tries else "false",
        "delivery_count": str(tries_of(delivery)),
        **dict(_values(properties)),
    }
    passed = dict(_passed(properties.headers or {}, _build_is_listed(headers)))
    fields = [
        *_content(properties),
        *((f"x-amqp-{name.replace('_', '-')}", value) for name, value in values.items()),
        *((_header_name(name), value) for name, value in passed.items()),
        ("idempotency-key", properties.message_id or _digest(queue, delivery)),
    ]
    params = {f"Amqp.{name}": value for name, value in values.items()}
    params.update({f"Amqp.headers.{name}": value for name, value in passed.items()})
    request = Request(
        "GET",
        f"/{queue}",
        params,
        [(name.lower().encode(), _clean(value)) for name, value in fields],
        body=delivery.body,
    )
    request.origin = Origin(delivery.header, delivery.redelivered)
    return request


def _values(properties: Basic.Properties) -> Iterator[tuple[str, str]]:
    for name, field in PROPERTIES.items():
        value = getattr(properties, field)
        if value not in (None, ""):
            yield name, str(value)
    if properties.timestamp is not None:
        yield "timestamp", str(int(properties.timestamp.timestamp()))


def _content(properties: Basic.Properties) -> Iterator[tuple[str, str]]:
    if properties.content_type:
        yield "content-type", properties.content_type
    if properties.content_encoding:
        yield "content-encoding", properties.content_encoding


def _passed(headers: dict[str, Any], is_listed: Callable[[str], bool]) -> Iterator[tuple[str, str]]:
    """Headers whose values are plain, as text; no table and no list is passed on."""
    for name, value in headers.items():
        if is_listed(name) and _NAME.fullmatch(name):
            if isinstance(value, bool):
                yield name, "true" if value else "false"
            elif isinstance(value, bytes | bytearray):
                yield name, value.decode(errors="replace")
            elif isinstance(value, str | int | float):
                yield name, str(value)


def _build_is_listed(headers: bool | tuple[str, ...]) -> Callable[[str], bool]:
    if isinstance(headers, bool):
        return lambda name: headers
    listed = frozenset(name.lower() for name in headers)
    return lambda name: name.lower() in listed


def _header_name(name: str) -> str:
    return name if name.lower() in PASSED_ON else f"x-amqp-header-{name}"


def _clean(value: str) -> bytes:
    """Whoever wrote the message chose the value: it may not break the head of a request."""
    return _CONTROLS.sub("", value).encode(errors="replace")


def _digest(queue: str, delivery: Delivery) -> str:
    digest = sha256(queue.encode() + b"\0" + delivery.route + b"\0")
    digest.update(delivery.header)
    digest.update(delivery.body)
    return digest.hexdigest()
