"""One Struct per AMQP namespace: KrakenD's keys, then ours."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from ..config.structs import Seconds

DEFAULT_PREFETCH = 100
"""KrakenD takes the whole queue into memory when ``prefetch_count`` is absent or 0."""


class OnEmpty(Struct, frozen=True, kw_only=True):
    """How an empty queue is answered."""

    status: int = 204


class ConsumerSettings(Struct, frozen=True, kw_only=True):
    """``backend/amqp/consumer``.

    ``wait``: the longest time to wait for this queue, in seconds (None: until the endpoint's
    deadline; 0: what is there now). ``declare``: "create", "passive" (must exist) or "none".
    ``max_redeliveries``: an undecodable message is rejected after so many further tries; 0: never.
    """

    name: str
    exchange: str = ""
    routing_key: tuple[str, ...] = ()
    durable: bool = False
    delete: bool = False
    exclusive: bool = False
    no_wait: bool = False
    no_local: bool = False
    prefetch_count: int = 0
    prefetch_size: int = 0
    auto_ack: bool = False
    nack_discard: bool = False
    backoff_strategy: str = "fallback"
    max_retries: int = 0

    wait: Seconds | None = None
    on_empty: OnEmpty = OnEmpty()
    exchange_type: str = "topic"
    arguments: dict[str, Any] = {}
    exchange_arguments: dict[str, Any] = {}
    declare: str = "create"
    priority: int | None = None
    consumer_tag: str = ""
    max_redeliveries: int = 0


CONSUMER_OURS = frozenset(
    {
        "wait",
        "on_empty",
        "exchange_type",
        "arguments",
        "exchange_arguments",
        "declare",
        "priority",
        "consumer_tag",
        "max_redeliveries",
    }
)
