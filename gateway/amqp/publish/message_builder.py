"""A request as a message: routing key, message id, properties. Pure but for clock and counter."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import count
from time import time
from typing import TypeAlias

from ...config.structs import Backend, Endpoint, Service
from ...core.forwarding import build_forward_headers, canonical_name, headers_that_count
from ...core.proxy import Request
from ...errors import Unpublishable
from ..agent.requests import OriginalMessage
from ..settings import ProducerSettings
from ..wire.message import (
    NOT_SENT,
    SharedProperties,
    TooLongError,
    encode_origin,
    encode_plain,
    encode_properties,
    encode_time,
    short_string,
)
from ..wire.properties import (
    DELIVERY_MODE,
    MESSAGE_ID,
    USER_ID,
    join,
    keep_fields,
    split,
    split_properties,
)
from .values import Value, build_chosen, build_value

MAX_KEPT_PROPERTIES = 1000
MAX_KEPT_PROPERTIES_BYTES = 4096
"""Headers that are kept, encoded, for the next request like it: how many, how many bytes."""

MAX_PROPERTIES_BYTES = 100_000
"""Bytes: a content header cannot be split, and RabbitMQ's frames have 131,072."""

_prefix = os.urandom(8).hex().encode()
_numbers = count(1)
"""Together a message id that no other process uses."""


def _new_id() -> bytes:
    return b"%b-%x" % (_prefix, next(_numbers))


Message: TypeAlias = tuple[bytes, bytes, bytes]
"""Routing key, message id, properties (flags and values of the content header)."""


class MessageBuilder:
    """Makes messages of one producer's requests."""

    def __init__(
        self, settings: ProducerSettings, backend: Backend, endpoint: Endpoint, service: Service
    ) -> None:
        self._delivery_mode = 2 if settings.is_persistent else 1
        self._routing_key = _build_routing_key(settings)
        self._message_id = build_value(settings.msg_id_key) if settings.msg_id_key else None
        self._chosen = build_chosen(settings)
        self._forward = build_forward_headers(endpoint, backend, service)
        self._counting = headers_that_count(endpoint, service)
        self._is_listed = _build_is_listed(settings.headers)
        self._origins: dict[tuple[object, ...], SharedProperties] = {}
        self._second, self._time = 0, b""

    def compose(self, request: Request) -> Message:
        """Raises :class:`Unpublishable`, :class:`gateway.errors.ValueMissing`."""
        if isinstance(request.origin, OriginalMessage):
            return self._compose_again(request, request.origin)
        origin = self._origin(request)
        message_id = self._message_id(request) if self._message_id else b""
        if not message_id:
            message_id = _new_id()
        now = int(time())
        if now != self._second:
            self._second, self._time = now, encode_time(now)
        if self._chosen is None:
            properties = encode_plain(origin, message_id, self._time)
        else:
            properties = encode_properties(origin, self._chosen(request), message_id, self._time)
        return self._routing_key(request), message_id, properties

    def _compose_again(self, request: Request, origin: OriginalMessage) -> Message:
        """An agent's message keeps its properties but for those that the settings name."""
        properties = split_properties(origin.properties)
        properties.pop(USER_ID, None)  # the broker closes the channel of another user
        keep_fields(properties, self._is_listed)
        if self._chosen:
            chosen = self._chosen(request)
            properties.update(split(chosen.flags, chosen.before + chosen.behind))
        if self._delivery_mode == 2:
            properties[DELIVERY_MODE] = b"\2"
        message_id = self._message_id(request) if self._message_id else b""
        message_id = message_id or properties.get(MESSAGE_ID, b"")[1:] or _new_id()
        properties[MESSAGE_ID] = short_string(message_id)
        return self._routing_key(request), message_id, join(properties)

    def _origin(self, request: Request) -> SharedProperties:
        """Requests of one client differ little: what was encoded once is found again."""
        if request.passed:  # a stage has changed what counts
            return self._encode_origin(request)
        counting = self._counting
        headers = [header for header in request.headers if header[0] in counting]
        key = (request.remote, *headers)
        origin = self._origins.get(key)
        if origin is None:
            origin = self._encode_origin(request)
            if len(self._origins) >= MAX_KEPT_PROPERTIES:
                self._origins.clear()
            if sum(len(value) for _, value in headers) <= MAX_KEPT_PROPERTIES_BYTES:
                self._origins[key] = origin
        return origin

    def _encode_origin(self, request: Request) -> SharedProperties:
        headers: dict[bytes, bytes] = {}
        for name, value in self._forward(request):
            if self._is_listed(name):
                canonical = canonical_name(name)
                earlier = headers.get(canonical)
                headers[canonical] = value if earlier is None else b"%b, %b" % (earlier, value)
        try:
            origin = encode_origin(
                request.header(b"content-type") or b"",
                request.header(b"content-encoding") or b"",
                headers,
                self._delivery_mode,
            )
        except TooLongError as error:
            raise Unpublishable(f"headers: {error}") from error
        if len(origin.values) > MAX_PROPERTIES_BYTES:
            raise Unpublishable(f"headers: more than {MAX_PROPERTIES_BYTES} bytes")
        return origin


def _build_is_listed(headers: bool | tuple[str, ...]) -> Callable[[bytes], bool]:
    if isinstance(headers, bool):
        return lambda name: headers and name not in NOT_SENT
    listed = frozenset(name.lower().encode() for name in headers) - NOT_SENT
    return listed.__contains__


def _build_routing_key(settings: ProducerSettings) -> Value:
    if not settings.static_routing_key:
        return build_value(settings.routing_key, is_routing_key=True)
    routing_key = settings.routing_key.encode()
    return lambda request: routing_key
