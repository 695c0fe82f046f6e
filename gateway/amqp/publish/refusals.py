"""Remembers which messages a broker has refused, and which routing keys it has accepted. Pure.

RabbitMQ checks each message when it reads it: the size (406), the user's permission for the routing
key (403), the exchange (404). It refuses a message by closing the channel; every message in flight
on this channel must then be written again.
"""

from __future__ import annotations

import re

from msgspec import Struct

from ..wire.codec import ChannelClose
from .publication import Outcome, Publication

REFUSAL_TIME = 1.0
"""Seconds during which messages with a refused routing key are refused without sending them to the
broker. A client that repeats such messages makes the broker close one channel a second."""

KEY_REFUSAL_CODES = frozenset({403, 404})
"""Reply codes of refusals that concern every message with the same routing key."""

MAX_KEYS = 10_000
"""Accepted routing keys that are remembered; the same for refused ones."""

_LARGEST = re.compile(r"message size \d+ is larger than (?:configured )?max size (\d+)")


class RefusedKey(Struct, frozen=True):
    """``until``: loop time until which messages with this key are refused without sending them;
    0.0: they are sent, because the key was not the reason."""

    until: float
    reason: str


class RefusedKeys:
    """What is known of one connection. ``max_body_bytes``: the broker's ``max_message_size``, None
    until a refusal has named it."""

    def __init__(self) -> None:
        self.max_body_bytes: int | None = None
        self._reason_of_size = ""
        self._accepted_keys: set[bytes] = set()
        self._refused: dict[bytes, RefusedKey] = {}

    def is_trusted(self, publication: Publication) -> bool:
        """The broker has accepted a message with the same routing key, and this one is not known to
        be too large."""
        return publication.routing_key in self._accepted_keys and not self._is_too_large(
            publication
        )

    def _is_too_large(self, publication: Publication) -> bool:
        return self.max_body_bytes is not None and len(publication.body) > self.max_body_bytes

    def known_outcome(self, publication: Publication, now: float) -> Outcome | None:
        """The outcome when a message like this one was refused before; None: send it."""
        if self._is_too_large(publication):
            publication.reason = self._reason_of_size
            return Outcome.TOO_LARGE
        refused = self._refused.get(publication.routing_key)
        if refused is None or refused.until < now:
            return None
        publication.reason = refused.reason
        return Outcome.REFUSED

    def key_accepted(self, routing_key: bytes) -> None:
        """The broker has accepted a message with this key."""
        refused = self._refused.get(routing_key)
        if refused is not None and not refused.until:
            return  # the key was not the reason of the refusal: the next message may be refused
        self._refused.pop(routing_key, None)
        if len(self._accepted_keys) >= MAX_KEYS:
            self._accepted_keys.clear()
        self._accepted_keys.add(routing_key)

    def forget_accepted_keys(self) -> None:
        """The broker has refused one of many messages in flight: each of their keys may be the
        reason."""
        self._accepted_keys.clear()

    def refused(self, publication: Publication, closing: ChannelClose, now: float) -> Outcome:
        """The broker has refused this message: remember why. Returns its outcome."""
        publication.reason = closing.text
        if found := _LARGEST.search(closing.text):
            self.max_body_bytes, self._reason_of_size = int(found[1]), closing.text
            return Outcome.TOO_LARGE
        if len(self._refused) >= MAX_KEYS:
            self._refused.clear()
        until = now + REFUSAL_TIME if closing.code in KEY_REFUSAL_CODES else 0.0
        self._refused[publication.routing_key] = RefusedKey(until, closing.text)
        self._accepted_keys.discard(publication.routing_key)
        return Outcome.REFUSED
