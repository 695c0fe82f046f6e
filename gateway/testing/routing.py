"""Exchanges and bindings. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from .content import StoredMessage

EXCHANGE_TYPES = ("direct", "fanout", "headers", "topic")

PREDECLARED = {
    "amq.direct": "direct",
    "amq.fanout": "fanout",
    "amq.headers": "headers",
    "amq.match": "headers",
    "amq.topic": "topic",
}


class BrokerBinding(Struct, frozen=True):
    """From an exchange to a queue, or to an exchange (``is_to_exchange``)."""

    destination: str
    routing_key: str
    arguments: tuple[tuple[str, Any], ...] = ()
    is_to_exchange: bool = False


class BrokerExchange:
    """``bindings``: those that start here, in the order of their creation."""

    def __init__(
        self,
        name: str,
        kind: str,
        *,
        durable: bool,
        auto_delete: bool,
        internal: bool,
        arguments: dict[str, Any],
    ) -> None:
        self.name = name
        self.kind = kind
        self.durable = durable
        self.auto_delete = auto_delete
        self.internal = internal
        self.arguments = arguments
        self.bindings: dict[BrokerBinding, None] = {}

    def matching(self, message: StoredMessage) -> list[BrokerBinding]:
        """The bindings that the message takes."""
        return [each for each in self.bindings if self._matches(each, message)]

    def _matches(self, binding: BrokerBinding, message: StoredMessage) -> bool:
        if self.kind == "fanout":
            return True
        if self.kind == "direct":
            return binding.routing_key == message.routing_key
        if self.kind == "topic":
            return matches_topic(binding.routing_key.split("."), message.routing_key.split("."))
        return matches_headers(dict(binding.arguments), message.headers)


def matches_topic(pattern: Sequence[str], words: Sequence[str]) -> bool:
    """``*``: one word; ``#``: any number of words."""
    if not pattern:
        return not words
    if pattern[0] == "#":
        return any(matches_topic(pattern[1:], words[at:]) for at in range(len(words) + 1))
    if not words or pattern[0] not in ("*", words[0]):
        return False
    return matches_topic(pattern[1:], words[1:])


def matches_headers(wanted: dict[str, Any], headers: dict[str, Any]) -> bool:
    """``x-match``: "all" (the default) or "any"; other names that begin with "x-" do not count."""
    names = [name for name in wanted if not name.startswith("x-")]
    hits = [name in headers and wanted[name] in (None, headers[name]) for name in names]
    return any(hits) if wanted.get("x-match") == "any" else all(hits)
