"""Which messages a broker refuses by closing the channel, and which it takes. Pure.

RabbitMQ checks a message while it reads it: the size (406), the user's permissions for the routing
key (403), the exchange (404). Whatever it refuses ends the channel, and everything that is in
flight on it.
"""

from __future__ import annotations

import re

from msgspec import Struct

from ..wire.codec import ChannelClose
from .publication import Outcome, Publication

REFUSAL_TIME = 1.0
"""Seconds in which messages with a refused routing key are refused without asking the broker: a
client that goes on costs one channel a second."""

OF_THE_KEY = frozenset({403, 404})
"""Refusals that concern every message with the same routing key."""

MAX_KEYS = 10_000
"""Routing keys that are remembered."""

_LARGEST = re.compile(r"message size \d+ is larger than (?:configured )?max size (\d+)")


class RefusedKey(Struct, frozen=True):
    """``until``: loop time until which the key is refused without asking; 0.0: never."""

    until: float
    reason: str


class RefusedKeys:
    """What is known of one connection. ``largest``: bytes of a body, if the broker has said so."""

    def __init__(self) -> None:
        self.largest: int | None = None
        self._reason_of_size = ""
        self._taken: set[bytes] = set()
        self._refused: dict[bytes, RefusedKey] = {}

    def trusts(self, publication: Publication) -> bool:
        """The broker has taken a message like it."""
        return publication.routing_key in self._taken and not self._is_too_large(publication)

    def _is_too_large(self, publication: Publication) -> bool:
        return self.largest is not None and len(publication.body) > self.largest

    def again(self, publication: Publication, now: float) -> Outcome | None:
        """The outcome of a message like one that was refused; None: the broker is to be asked."""
        if self._is_too_large(publication):
            publication.reason = self._reason_of_size
            return Outcome.TOO_LARGE
        refused = self._refused.get(publication.routing_key)
        if refused is None or refused.until < now:
            return None
        publication.reason = refused.reason
        return Outcome.REFUSED

    def took(self, routing_key: bytes) -> None:
        """The broker has taken a message with this key."""
        refused = self._refused.get(routing_key)
        if refused is not None and not refused.until:
            return  # something else than the key decides: it may be refused the next time
        self._refused.pop(routing_key, None)
        if len(self._taken) >= MAX_KEYS:
            self._taken.clear()
        self._taken.add(routing_key)

    def doubt(self) -> None:
        """The broker has refused one of many messages: none of them is trusted any more."""
        self._taken.clear()

    def refused(self, publication: Publication, closing: ChannelClose, now: float) -> Outcome:
        """The broker has refused this message."""
        publication.reason = closing.text
        if found := _LARGEST.search(closing.text):
            self.largest, self._reason_of_size = int(found[1]), closing.text
            return Outcome.TOO_LARGE
        if len(self._refused) >= MAX_KEYS:
            self._refused.clear()
        until = now + REFUSAL_TIME if closing.code in OF_THE_KEY else 0.0
        self._refused[publication.routing_key] = RefusedKey(until, closing.text)
        self._taken.discard(publication.routing_key)
        return Outcome.REFUSED
