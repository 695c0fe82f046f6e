"""Traps of ``backend/amqp/producer``. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from ...config.findings import Finding
from ...config.go_names import has_placeholder
from ...core.component import Place
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
        return "immediate is ignored: RabbitMQ closes the connection of who asks for it (540)"
    return None


def _exclusive(settings: ProducerSettings) -> str | None:
    if settings.exclusive:
        return "exclusive is ignored: it would make the exchange internal, for nobody to publish to"
    return None


def _transient(settings: ProducerSettings) -> str | None:
    if settings.is_persistent and not settings.durable and settings.declare == "create":
        return "not durable: the exchange is gone after a restart, whatever delivery_mode says"
    if not settings.is_persistent:
        return "messages are not persistent: a restart of the broker loses them"
    return None


def _hash_key(settings: ProducerSettings) -> str | None:
    if settings.routing_key == "#":
        return (
            'routing_key "#" is the example of KrakenD\'s documentation: it is a pattern for '
            "bindings, not a key that messages have"
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
    if place.endpoint is None or place.agent is not None:  # parameters of an agent: of the message
        return
    for key, name in _named(settings):
        if not _is_there(name, place.endpoint.endpoint):
            text = f"the path has no parameter {{{name}}}: the value will always be empty"
            if key == "routing_key":
                text += f'; "static_routing_key": true makes "{name}" the key of every message'
            yield place.warning(text, key)
    if place.endpoint.concurrent_calls > 1:
        text = "concurrent_calls counts as 1: more would publish the message several times"
        yield place.warning(text)


def _named(settings: ProducerSettings) -> Iterator[tuple[str, str]]:
    """Keys whose value names a parameter, and which."""
    if not settings.static_routing_key and settings.routing_key != "#":
        yield "routing_key", settings.routing_key
    for key in KEYS:
        if name := getattr(settings, key):
            yield key, name


def _is_there(name: str, path: str) -> bool:
    if _FROM_ELSEWHERE.match(name):
        return True
    return has_placeholder(path, name.strip("{}"))
