"""Warnings of ``check`` about ``backend/amqp/producer``. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from ...config.findings import Finding
from ...config.go_names import has_placeholder
from ...core.component import Place
from ..refused_by_version import MAX_MESSAGE_BYTES, refused_arguments, refused_as_transient
from ..settings import ProducerSettings

Rule = Callable[[ProducerSettings], str | None]

KEYS = (
    "exp_key",
    "reply_to_key",
    "msg_id_key",
    "priority_key",
    "correlation_id_key",
    "type_key",
    "app_id_key",
)
_PLACEHOLDER = re.compile(r"\{[^{}]+\}")
_FROM_ELSEWHERE = re.compile(r"\{?((query|header|JWT)\.|[Rr]esp\d+_)")


def _immediate(settings: ProducerSettings) -> str | None:
    if settings.immediate:
        return "immediate is ignored: RabbitMQ would close the connection (540, not implemented)"
    return None


def _exclusive(settings: ProducerSettings) -> str | None:
    if settings.exclusive:
        return (
            "exclusive is ignored: it would make the exchange internal, and no client can publish "
            "to an internal exchange"
        )
    return None


def _transient(settings: ProducerSettings) -> str | None:
    if settings.is_persistent and not settings.durable and settings.declare == "create":
        return (
            "not durable: a restart of the broker deletes the exchange, also when messages are "
            "persistent (delivery_mode)"
        )
    if not settings.is_persistent:
        return "messages are not persistent: they are lost when the broker restarts"
    return None


def _hash_key(settings: ProducerSettings) -> str | None:
    if settings.routing_key == "#":
        return (
            'routing_key "#" comes from an example of KrakenD\'s documentation: it is a pattern of '
            "bindings, and no routing key of a message"
        )
    return None


def _static_placeholder(settings: ProducerSettings) -> str | None:
    if settings.static_routing_key and _PLACEHOLDER.search(settings.routing_key):
        return (
            f'routing_key "{settings.routing_key}" is sent as it is: static_routing_key is true, '
            "so its braces are no placeholder"
        )
    return None


RULES: tuple[Rule, ...] = (_immediate, _exclusive, _transient, _hash_key, _static_placeholder)


def findings(settings: ProducerSettings, place: Place) -> Iterator[Finding]:
    for rule in RULES:
        if text := rule(settings):
            yield place.warning(text)
    if settings.static_routing_key and settings.name:
        for text in refused_as_transient(settings):
            yield place.warning(text)
    for text in refused_arguments(settings.arguments):
        yield place.warning(text, "arguments")
    if place.service.gateway.max_body_bytes > MAX_MESSAGE_BYTES:
        yield place.hint(
            "max_body_bytes is larger than 16 MiB: RabbitMQ 4.0 and later refuse larger messages "
            "(413), unless its max_message_size is configured"
        )
    if place.endpoint is None or place.agent is not None:
        return  # the parameters of an agent come from the message, not from a path
    for key, name in _named(settings):
        if not _is_there(name, place.endpoint.endpoint):
            text = f"the path has no parameter {{{name}}}: the value is always empty"
            if key == "routing_key":
                text += f'; with "static_routing_key": true every message has the key "{name}"'
            yield place.warning(text, key)
    if place.endpoint.concurrent_calls > 1:
        text = "concurrent_calls counts as 1: more calls would publish the message several times"
        yield place.warning(text)


def _named(settings: ProducerSettings) -> Iterator[tuple[str, str]]:
    """The keys whose value is the name of a parameter, and this name."""
    if not settings.static_routing_key and settings.routing_key != "#":
        yield "routing_key", settings.routing_key
    for key in KEYS:
        if name := getattr(settings, key):
            yield key, name


def _is_there(name: str, path: str) -> bool:
    if _FROM_ELSEWHERE.match(name):
        return True
    return has_placeholder(path, name.strip("{}"))
