"""A message as the broker stores it, and the headers that the broker adds to it. Pure.

Properties stay the bytes that the publisher sent. They are encoded again only when the broker adds
a header.
"""

from __future__ import annotations

import struct
from typing import Any

from msgspec import Struct
from msgspec.structs import replace
from pamqp import commands


class StoredMessage(Struct, frozen=True):
    """``properties``: flags and values, as in a content header."""

    exchange: str
    routing_key: str
    properties: bytes
    body: bytes

    def read_properties(self) -> commands.Basic.Properties:
        properties = commands.Basic.Properties()
        properties.unmarshal(struct.unpack(">H", self.properties[:2])[0], self.properties[2:])
        return properties

    @property
    def headers(self) -> dict[str, Any]:
        return dict(self.read_properties().headers or {})

    @property
    def lifetime(self) -> float | None:
        """Seconds (``expiration``); None: no limit."""
        expiration = self.read_properties().expiration
        return int(expiration) / 1000 if expiration else None

    def with_headers(self, **headers: object) -> StoredMessage:
        """With these headers too. The names have ``_`` for ``-``."""
        properties = self.read_properties()
        added: dict[str, Any] = {name.replace("_", "-"): each for name, each in headers.items()}
        properties.headers = {**(properties.headers or {}), **added}
        return replace(self, properties=properties.marshal())

    def dead_lettered(
        self, queue: str, reason: str, exchange: str, key: str | None
    ) -> StoredMessage:
        """As it is published to a dead-letter exchange. ``key``: None: the old routing key."""
        deaths = [dict(each) for each in self.headers.get("x-death", [])]
        same = [each for each in deaths if (each["queue"], each["reason"]) == (queue, reason)]
        death: dict[str, Any] = {
            "count": 0,
            "reason": reason,
            "queue": queue,
            "exchange": self.exchange,
        }
        death["routing-keys"] = [self.routing_key]
        if same:
            deaths.remove(same[0])
            death = same[0]
        deaths.insert(0, {**death, "count": death["count"] + 1})
        added: dict[str, object] = {"x_death": deaths}
        if "x-first-death-queue" not in self.headers:
            added["x_first_death_queue"] = queue
            added["x_first_death_reason"] = reason
            added["x_first_death_exchange"] = self.exchange
        properties = self.read_properties()
        properties.expiration = None
        once_more = replace(self, properties=properties.marshal()).with_headers(**added)
        return replace(
            once_more, exchange=exchange, routing_key=self.routing_key if key is None else key
        )

    def has_died_in(self, queue: str) -> bool:
        """It was dead-lettered from this queue before, and rejected nowhere: RabbitMQ drops it
        instead of running in a circle."""
        deaths = self.headers.get("x-death", [])
        return any(each["queue"] == queue for each in deaths) and not any(
            each["reason"] == "rejected" for each in deaths
        )
