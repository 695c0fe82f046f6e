"""One Struct per AMQP namespace: KrakenD's keys, then ours."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, TypeAlias

from msgspec import Struct

from ..config.structs import Own, Seconds
from ..core.families import BrokerSettings

AGENT, CONSUMER, PRODUCER = "async/amqp", "backend/amqp/consumer", "backend/amqp/producer"

DEFAULT_PREFETCH = 100
"""KrakenD takes the whole queue into memory when ``prefetch_count`` is absent or 0."""

Declare: TypeAlias = Literal["create", "passive", "none"]

EXCHANGE_TYPES = ("direct", "fanout", "headers", "topic")
"""RabbitMQ's own; those of its plugins begin with "x-"."""

MAX_PREFETCH = 65_535
"""The largest prefetch that AMQP can carry."""


def redelivery_limit(max_redeliveries: int, arguments: dict[str, Any]) -> int:
    """Further tries after which a failed message is given up; 0: it is tried for ever.

    The ``x-delivery-limit`` of a queue counts here: RabbitMQ cannot count tries of a message that
    stays unacknowledged between them.
    """
    limit = arguments.get("x-delivery-limit")
    return max_redeliveries or (limit if isinstance(limit, int) and limit > 0 else 0)


class OnEmpty(Struct, frozen=True, kw_only=True):
    """How an empty queue is answered."""

    status: int = 204


class ConsumerSettings(BrokerSettings, Struct, frozen=True, kw_only=True):
    """``backend/amqp/consumer``.

    ``wait``: the longest time to wait for this queue, in seconds (None: until the endpoint's
    deadline; 0: what is there now). ``declare``: "create", "passive" (must exist) or "none".
    ``max_redeliveries``: an undecodable message is rejected after so many further tries; 0: never.
    """

    writes: ClassVar[bool] = False

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

    wait: Own[Seconds | None] = None
    on_empty: Own[OnEmpty] = OnEmpty()
    exchange_type: Own[str] = "topic"
    arguments: Own[dict[str, Any]] = {}
    exchange_arguments: Own[dict[str, Any]] = {}
    declare: Own[Declare] = "create"
    priority: Own[int | None] = None
    consumer_tag: Own[str] = ""
    max_redeliveries: Own[int] = 0

    @property
    def prefetch(self) -> int:
        """Messages that may be here unsettled for this backend."""
        return self.prefetch_count if self.prefetch_count > 0 else DEFAULT_PREFETCH

    @property
    def is_stream(self) -> bool:
        """A consumer of a stream has a position, which a new one does not know."""
        return self.arguments.get("x-queue-type") == "stream"

    @property
    def is_renewable(self) -> bool:
        """Whether a new consumer can take the place of the old one. A new consumer of a queue
        with a single active consumer would be the last one in its row."""
        return not self.is_stream and not self.arguments.get("x-single-active-consumer")

    @property
    def dies_without_consumer(self) -> bool:
        """RabbitMQ deletes such a queue, with its messages, some time after its last consumer."""
        return self.delete or "x-expires" in self.arguments


class Retry(Struct, frozen=True, kw_only=True):
    """The pause before a failed message is tried again: ``delay`` seconds at first."""

    delay: Seconds = 1.0
    backoff: str = "exponential"


class DeadLetter(Struct, frozen=True, kw_only=True):
    """Where a message goes that is given up, before it is acknowledged."""

    exchange: str = ""
    routing_key: str


class AgentSettings(Struct, frozen=True, kw_only=True):
    """``async/amqp``.

    ``max_redeliveries``: tries after the first one, then a message is given up; 0: never.
    ``method``: of backends that name none. ``headers``: which headers of a message its backends
    get; true: all.
    """

    host: str
    name: str
    exchange: str
    durable: bool = False
    delete: bool = False
    exclusive: bool = False
    no_wait: bool = False
    no_local: bool = False
    prefetch_count: int = 0
    prefetch_size: int = 0
    auto_ack: bool = False
    nack_discard: bool = False

    max_redeliveries: Own[int] = 0
    retry: Own[Retry] = Retry()
    dead_letter: Own[DeadLetter | None] = None
    method: Own[str] = "GET"
    headers: Own[bool | tuple[str, ...]] = True
    exchange_type: Own[str] = "topic"
    arguments: Own[dict[str, Any]] = {}
    exchange_arguments: Own[dict[str, Any]] = {}
    declare: Own[Declare] = "create"
    priority: Own[int | None] = None
    consumer_tag: Own[str] = ""


class ProducerSettings(BrokerSettings, Struct, frozen=True, kw_only=True):
    """``backend/amqp/producer``.

    A key that ends in ``_key``, and ``routing_key`` unless ``static_routing_key``, names where its
    value comes from: a parameter of the path, or ``{query.x}``, ``{header.x}``, ``{JWT.x}``.
    ``declare``: "create", "passive" (must exist) or "none". ``headers``: which request headers the
    message gets of those forwarded; true: all. ``response``: "" or "receipt".
    """

    name: str = ""
    exchange: str
    routing_key: str = ""
    static_routing_key: bool = False
    durable: bool = False
    delete: bool = False
    exclusive: bool = False
    no_wait: bool = False
    no_local: bool = False
    mandatory: bool = False
    immediate: bool = False
    exp_key: str = ""
    reply_to_key: str = ""
    msg_id_key: str = ""
    priority_key: str = ""
    backoff_strategy: str = "fallback"
    max_retries: int = 0

    exchange_type: Own[str] = "topic"
    arguments: Own[dict[str, Any]] = {}
    exchange_arguments: Own[dict[str, Any]] = {}
    declare: Own[Declare] = "create"
    delivery_mode: Own[int] = 0
    headers: Own[bool | tuple[str, ...]] = True
    correlation_id_key: Own[str] = ""
    type_key: Own[str] = ""
    app_id_key: Own[str] = ""
    status: Own[int] = 200
    response: Own[Literal["", "receipt"]] = ""

    @property
    def is_persistent(self) -> bool:
        """Whether messages survive a restart of the broker, in a durable queue."""
        return self.delivery_mode == 2 or (self.delivery_mode == 0 and self.durable)
