"""Builds the message of a request: routing key, message id, properties. It reads the clock and a
counter, nothing else outside of the request.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import count
from time import time
from typing import TypeAlias

from ...config.structs import Backend, Endpoint, Service
from ...core.forwarding import build_forward_headers, canonical_name, headers_that_count
from ...core.proxy import Request
from ...core.request_ids import REQUEST_ID, REQUEST_ID_NAMES
from ...errors import Unpublishable
from ...telemetry.propagation import NO_NAMES
from ...telemetry.tracing import Tracer
from ..agent.requests import OriginalMessage
from ..settings import ProducerSettings
from ..spans import describe_published
from ..wire.message import (
    NOTHING_CHOSEN,
    ROUTING_HEADERS,
    SharedProperties,
    TooLongError,
    encode_fields,
    encode_plain,
    encode_properties,
    encode_shared,
    encode_time,
    encode_with_headers,
    short_string,
)
from ..wire.properties import (
    DELIVERY_MODE,
    MESSAGE_ID,
    USER_ID,
    add_fields,
    join,
    keep_fields,
    split,
    split_properties,
)
from .request_values import RequestValue, build_chosen_properties, build_value

MAX_KEPT_PROPERTIES = 1000
MAX_KEPT_PROPERTIES_BYTES = 4096
"""Bounds of the cache of encoded properties: entries, and bytes of the headers of one entry."""

MAX_PROPERTIES_BYTES = 100_000
"""Bytes of a message's properties. They must fit into one frame; RabbitMQ's default is 131,072."""

_prefix = os.urandom(8).hex().encode()
_numbers = count(1)
"""Prefix and number together are a message id that no other process uses."""


def _new_id() -> bytes:
    return b"%b-%x" % (_prefix, next(_numbers))


Encode: TypeAlias = Callable[[Request, SharedProperties, bytes, bytes], bytes]
"""A request, what it shares with others, routing key and message id -> the properties."""

BuiltMessage: TypeAlias = tuple[bytes, bytes, bytes]
"""Routing key, message id, properties (flags and values of a content header)."""


class MessageBuilder:
    """Builds the messages of one producer.

    With a ``tracer`` a message has the trace context of its request, whatever the lists of headers
    say, in place of the headers of the client with the same names. The gateway has continued the
    trace of the client, or has decided not to: so two contexts in one message would contradict each
    other.
    """

    def __init__(
        self,
        settings: ProducerSettings,
        backend: Backend,
        endpoint: Endpoint,
        service: Service,
        tracer: Tracer | None = None,
    ) -> None:
        self._delivery_mode = 2 if settings.is_persistent else 1
        self._routing_key = _build_routing_key(settings)
        self._message_id = build_value(settings.msg_id_key) if settings.msg_id_key else None
        self._chosen = build_chosen_properties(settings)
        self._forward = build_forward_headers(endpoint, backend, service)
        replaced = NO_NAMES if tracer is None else tracer.propagation.names
        self._counting = headers_that_count(endpoint, service, replaced)
        self._is_listed = _build_is_listed(settings.headers, replaced)
        added = REQUEST_ID_NAMES if service.gateway.request_id else NO_NAMES
        self._is_kept = _build_is_listed(settings.headers, replaced | added)
        self._has_ids = service.gateway.request_id and self._is_listed(REQUEST_ID)
        self._exchange = settings.exchange
        key = settings.correlation_id_key
        self._correlation_id = build_value(key) if key else None
        self._is_traced = tracer is not None
        self._encode: Encode | None = None
        if self._is_traced:
            self._encode = self._encode_traced
        elif self._chosen is not None:
            self._encode = self._encode_chosen
        self._shared_by_headers: dict[tuple[object, ...], SharedProperties] = {}
        self._second, self._time = 0, b""

    def build(self, request: Request) -> BuiltMessage:
        """The message of a request. Raises :class:`Unpublishable` and
        :class:`gateway.errors.ValueMissing`."""
        if isinstance(request.origin, OriginalMessage):
            return self._build_from_original(request, request.origin)
        shared = self._shared_properties(request)
        message_id = self._message_id(request) if self._message_id else b""
        if not message_id:
            message_id = _new_id()
        now = int(time())
        if now != self._second:
            self._second, self._time = now, encode_time(now)
        routing_key, encode = self._routing_key(request), self._encode
        if encode is None:
            properties = encode_plain(shared, message_id, self._time)
        else:
            properties = encode(request, shared, routing_key, message_id)
        return routing_key, message_id, properties

    def _encode_chosen(
        self, request: Request, shared: SharedProperties, routing_key: bytes, message_id: bytes
    ) -> bytes:
        assert self._chosen is not None
        return encode_properties(shared, self._chosen(request), message_id, self._time)

    def _encode_traced(
        self, request: Request, shared: SharedProperties, routing_key: bytes, message_id: bytes
    ) -> bytes:
        chosen = NOTHING_CHOSEN if self._chosen is None else self._chosen(request)
        headers = self._trace_headers(request, routing_key, message_id)
        if not headers and self._chosen is None:
            return encode_plain(shared, message_id, self._time)
        return encode_with_headers(shared, chosen, headers, message_id, self._time)

    def _trace_headers(
        self, request: Request, routing_key: bytes, message_id: bytes
    ) -> list[tuple[bytes, bytes]]:
        """The trace context. If the publish has a span, it gets the names of the message."""
        trace = request.trace
        if trace is None:
            return []
        if trace.is_recorded and trace.span is not None:
            read = self._correlation_id
            correlation_id = b"" if read is None else read(request)
            describe_published(trace.span, self._exchange, routing_key, message_id, correlation_id)
        return trace.headers()

    def _build_from_original(self, request: Request, original: OriginalMessage) -> BuiltMessage:
        """The message of an agent's request: it keeps the properties of the consumed message,
        except for those that the settings of the producer name."""
        properties = split_properties(original.properties)
        properties.pop(USER_ID, None)  # RabbitMQ closes the channel if it is not the login's user
        keep_fields(properties, self._is_kept)
        if self._chosen:
            chosen = self._chosen(request)
            properties.update(split(chosen.flags, chosen.before + chosen.after))
        if self._delivery_mode == 2:
            properties[DELIVERY_MODE] = b"\2"
        message_id = self._message_id(request) if self._message_id else b""
        message_id = message_id or properties.get(MESSAGE_ID, b"")[1:] or _new_id()
        properties[MESSAGE_ID] = short_string(message_id)
        routing_key = self._routing_key(request)
        headers = []
        if self._is_traced:
            headers += self._trace_headers(request, routing_key, message_id)
        if self._has_ids:
            headers.append((canonical_name(REQUEST_ID), request.header(REQUEST_ID) or b""))
        add_fields(properties, encode_fields(headers))
        return routing_key, message_id, join(properties)

    def _shared_properties(self, request: Request) -> SharedProperties:
        """From the cache: most requests of a client have the same headers."""
        if request.passed:  # a stage may have changed the headers
            return self._encode_shared(request)
        counting = self._counting
        headers = [header for header in request.headers if header[0] in counting]
        key = (request.remote, *headers)
        shared = self._shared_by_headers.get(key)
        if shared is None:
            shared = self._encode_shared(request)
            if len(self._shared_by_headers) >= MAX_KEPT_PROPERTIES:
                self._shared_by_headers.clear()
            if sum(len(value) for _, value in headers) <= MAX_KEPT_PROPERTIES_BYTES:
                self._shared_by_headers[key] = shared
        return shared

    def _encode_shared(self, request: Request) -> SharedProperties:
        headers: dict[bytes, bytes] = {}
        for name, value in self._forward(request):
            if self._is_listed(name):
                canonical = canonical_name(name)
                earlier = headers.get(canonical)
                headers[canonical] = value if earlier is None else b"%b, %b" % (earlier, value)
        try:
            shared = encode_shared(
                request.header(b"content-type") or b"",
                request.header(b"content-encoding") or b"",
                headers,
                self._delivery_mode,
            )
        except TooLongError as error:
            raise Unpublishable(f"headers: {error}") from error
        if len(shared.values) > MAX_PROPERTIES_BYTES:
            raise Unpublishable(f"headers: more than {MAX_PROPERTIES_BYTES} bytes")
        return shared


def _build_is_listed(
    headers: bool | tuple[str, ...], replaced: frozenset[bytes]
) -> Callable[[bytes], bool]:
    """``replaced``: headers that messages never have from elsewhere."""
    unlisted = ROUTING_HEADERS | replaced
    if isinstance(headers, bool):
        return lambda name: headers and name not in unlisted
    listed = frozenset(name.lower().encode() for name in headers) - unlisted
    return listed.__contains__


def _build_routing_key(settings: ProducerSettings) -> RequestValue:
    if not settings.static_routing_key:
        return build_value(settings.routing_key, is_routing_key=True)
    routing_key = settings.routing_key.encode()
    return lambda request: routing_key
