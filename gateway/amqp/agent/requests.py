"""Makes of a message the request that the backends of an agent receive. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import NamedTuple

from ...core.asgi import TOKEN
from ...core.proxy import Request
from ...core.request_ids import REQUEST_ID, REQUEST_ID_NAMES, new_id, valid_id
from ...encoding import encode_json
from ...telemetry.propagation import NO_NAMES, NOTHING, Incoming, Propagation
from ..consume.delivery import Delivery
from ..wire.message import decode_route
from ..wire.properties import (
    APP_ID,
    CONTENT_ENCODING,
    CONTENT_TYPE,
    CORRELATION_ID,
    DELIVERY_COUNT_HEADER,
    DELIVERY_MODE,
    EXPIRATION,
    HEADERS,
    MESSAGE_ID,
    PRIORITY,
    REPLY_TO,
    TIMESTAMP,
    TYPE,
    USER_ID,
    Properties,
    counted_deliveries,
    delivery_count,
    fields_of,
    message_id_of,
    nested_value,
    split_properties,
    text_headers,
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
"""Properties by their names in parameters (``{amqp.message_id}``) and headers
(``X-Amqp-Message-Id``)."""

UNPREFIXED_HEADERS = ("traceparent", "tracestate", "baggage")
"""Headers of a message that keep their names (W3C Trace Context). Others get ``X-Amqp-Header-``."""

MAX_JSON_HEADER_BYTES = 4096
"""Bytes of a header in JSON. A longer one is left out: many servers refuse more than 8 KiB of
headers."""

_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class OriginalMessage(NamedTuple):
    """The message of which a request is made. A producer publishes it with these properties.

    ``route``: exchange and routing key, encoded. ``tag``: of its delivery. ``incoming``: the trace
    context in its headers.
    """

    properties: bytes
    redelivered: bool
    route: bytes = b"\0\0"
    tag: int = 0
    incoming: Incoming = NOTHING

    @property
    def shown_id(self) -> str:
        return message_id_of(self.properties)


def tries_of(delivery: Delivery) -> int:
    """How often the message was tried before, as counted by this process or by a quorum queue."""
    return max(delivery.tries, delivery_count(delivery.properties))


def build_request(
    queue: str,
    delivery: Delivery,
    headers: bool | tuple[str, ...],
    *,
    has_id: bool = False,
    propagation: Propagation | None = None,
) -> Request:
    """Make the request of a message. ``headers``: which headers of the message are passed on; true:
    all. ``has_id``: it has a request id, that of the message or a new one. ``propagation``: reads
    the trace context of the message; its headers are then left out, since the gateway passes the
    context on.

    Raises :class:`gateway.amqp.wire.properties.MalformedError`.
    """
    properties = split_properties(delivery.properties)
    exchange, routing_key = decode_route(delivery.route)
    values = {
        "exchange": exchange,
        "routing_key": routing_key,
        "queue": queue,
        "redelivered": "true" if delivery.redelivered or delivery.tries else "false",
        "delivery_count": str(max(delivery.tries, counted_deliveries(properties))),
        **dict(_values(properties)),
    }
    replaced = NO_NAMES if propagation is None else propagation.names
    forwarded = dict(_forwarded_headers(properties, _build_is_listed(headers)))
    fields = [
        *_content(properties),
        *((f"x-amqp-{name.replace('_', '-')}", value) for name, value in values.items()),
        *(
            (_header_name(name), value)
            for name, value in forwarded.items()
            if name.lower().encode() not in replaced
        ),
        (
            "idempotency-key",
            text_of(properties, MESSAGE_ID) or _digest(queue, delivery, properties),
        ),
    ]
    pairs = [(name.lower().encode(), _clean(value)) for name, value in fields]
    if has_id:
        sent = text_headers(properties, REQUEST_ID_NAMES)
        pairs.append((REQUEST_ID, valid_id(sent) or new_id()))
    params = {f"Amqp.{name}": value for name, value in values.items()}
    params.update({f"Amqp.headers.{name}": value for name, value in forwarded.items()})
    request = Request(
        "GET",
        f"/{queue}",
        params,
        pairs,
        body=delivery.body,
    )
    incoming = NOTHING
    if propagation is not None:
        incoming = propagation.extract(text_headers(properties, propagation.names))
    request.origin = OriginalMessage(
        delivery.properties, delivery.redelivered, delivery.route, delivery.tag, incoming
    )
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
    """Headers of the message as strings. Lists and tables, such as ``x-death``, become JSON."""
    for field in fields_of(properties):
        name = field.name.decode(errors="replace")
        value = nested_value(field) if is_listed(name) and TOKEN.fullmatch(name) else None
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
    """Remove control characters: a value of a message must not add a header to the request."""
    return _CONTROLS.sub("", value).encode(errors="replace")


def _digest(queue: str, delivery: Delivery, properties: Properties) -> str:
    """A hash of the message. It is equal for each delivery: the count of deliveries is left out."""
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
