"""The settings of the AMQP namespaces: KrakenD's keys first, then the extensions."""

from __future__ import annotations

from math import inf
from typing import Any, ClassVar, Literal, TypeAlias

from msgspec import Struct

from ..config.structs import Own, Seconds
from ..core.families import BrokerSettings

AGENT, CONSUMER, PRODUCER = "async/amqp", "backend/amqp/consumer", "backend/amqp/producer"

DEFAULT_EXCHANGE = "amq.default"
"""The name of the default exchange in metrics: its real name is empty."""

DEFAULT_PREFETCH = 100
"""Used when ``prefetch_count`` is absent or 0: KrakenD takes the whole queue into memory then."""

Declare: TypeAlias = Literal["create", "passive", "none"]
Propagation: TypeAlias = Literal["parent", "link"]

Arguments: TypeAlias = dict[str, Any]
"""Decoded JSON: the arguments of a declaration."""

EXCHANGE_TYPES = ("direct", "fanout", "headers", "topic")
"""RabbitMQ's own types of exchanges. The types of plugins begin with "x-"."""

MAX_PREFETCH = 65_535
"""The largest prefetch that AMQP can carry."""


def redelivery_limit(max_redeliveries: int, arguments: Arguments) -> int:
    """Further tries after which a failed message is given up; 0: there is no limit.

    ``x-delivery-limit`` of the queue is used when ``max_redeliveries`` is 0: RabbitMQ cannot count
    the tries of a message that stays unacknowledged between them.
    """
    limit = arguments.get("x-delivery-limit")
    return max_redeliveries or (limit if isinstance(limit, int) and limit > 0 else 0)


class OnEmpty(Struct, frozen=True, kw_only=True):
    """``on_empty``: the response for an empty queue."""

    status: int = 204
    """Status of the response, 200 to 599. With another status than 204 the body is `{}`."""


class ConsumerSettings(BrokerSettings, Struct, frozen=True, kw_only=True):
    """``backend/amqp/consumer``."""

    writes: ClassVar[bool] = False

    name: str
    """Name of the queue."""
    exchange: str = ""
    """Name of the exchange to which the queue is bound. Empty: no exchange is declared and the
    queue is not bound."""
    routing_key: tuple[str, ...] = ()
    """Routing keys (patterns of a topic exchange) by which the queue is bound to the exchange."""
    durable: bool = False
    """Whether exchange and queue survive a restart of the broker."""
    delete: bool = False
    """Whether RabbitMQ deletes the queue after its last consumer, and the exchange after its last
    binding (auto-delete)."""
    exclusive: bool = False
    """Whether only this connection may use the queue. RabbitMQ deletes it when the connection ends.
    Of several workers only the first one consumes it. With `declare` "passive" or "none" the
    consumer is exclusive instead of the queue."""
    no_wait: bool = False
    """Without effect: the gateway always waits for the responses of the broker."""
    no_local: bool = False
    """Sent to the broker; RabbitMQ ignores it."""
    prefetch_count: int = 0
    """The largest number of unacknowledged messages in the gateway, at most 65535. It has fewer
    while requests need fewer. Messages whose response is written, and waits for the client's
    acknowledgement, are not counted. Backends that share a queue add up theirs; workers divide the
    sum. Absent or 0: 100."""
    prefetch_size: int = 0
    """Without effect: RabbitMQ does not support it."""
    auto_ack: bool = False
    """Whether a message is acknowledged when a request takes it, and not when the client has the
    response. A message is lost then when its response does not reach the client."""
    nack_discard: bool = False
    """Whether a message that cannot be decoded is rejected at the first try: RabbitMQ drops or
    dead-letters it. Otherwise it is tried again with backoff."""
    backoff_strategy: str = "fallback"
    """Pauses between attempts to connect: "linear", "linear-jitter", "exponential",
    "exponential-jitter", or "fallback" (1 second). An unknown name means "fallback". The fastest of
    all backends on the connection is used."""
    max_retries: int = 0
    """Attempts to connect, after which the gateway waits for the next request before it tries
    again. The largest of all backends on the connection is used. Absent or 0: no limit."""

    wait: Own[Seconds | None] = None
    """Longest time to wait for a message of this queue. Absent: until the timeout of the endpoint.
    0: what is buffered, otherwise one Basic.Get."""
    on_empty: Own[OnEmpty] = OnEmpty()
    """The response when the queue was empty."""
    exchange_type: Own[str] = "topic"
    """Type of the exchange: "direct", "fanout", "headers", "topic", or a type of a plugin
    ("x-...")."""
    arguments: Own[Arguments] = {}
    """Arguments of the queue, such as `x-queue-type`, `x-message-ttl` or
    `x-dead-letter-exchange`."""
    exchange_arguments: Own[Arguments] = {}
    """Arguments of the exchange, such as `alternate-exchange`."""
    declare: Own[Declare] = "create"
    """What is declared. "create": exchange, queue and bindings are created when they do not exist.
    "passive": exchange and queue must exist. "none": the queue must exist, the exchange is not
    checked."""
    priority: Own[int | None] = None
    """Priority of the consumer (`x-priority`): RabbitMQ sends to consumers with a higher one first.
    Absent: RabbitMQ's default, 0."""
    consumer_tag: Own[str] = ""
    """Consumer tag, by which RabbitMQ's tools show the consumer. When the gateway replaces the
    consumer it appends a number. Empty: a unique tag."""
    max_redeliveries: Own[int] = 0
    """Further tries, counted in this process, after which a message that cannot be decoded is
    rejected. Absent or 0: `x-delivery-limit` in `arguments`, otherwise no limit."""
    idle_return: Own[Seconds | Literal["never"]] = 2.0
    """Time without a request after which the consumer is cancelled and the buffered messages return
    to the queue. "never": they stay. Of backends that share a queue the longest counts."""

    @property
    def idle_return_seconds(self) -> float:
        return inf if isinstance(self.idle_return, str) else self.idle_return

    @property
    def prefetch(self) -> int:
        """Unacknowledged messages that may be in the gateway for this backend."""
        return self.prefetch_count if self.prefetch_count > 0 else DEFAULT_PREFETCH

    @property
    def is_stream(self) -> bool:
        """Whether the queue is a stream. A consumer of a stream has a position; a new consumer
        would not continue there."""
        return self.arguments.get("x-queue-type") == "stream"

    @property
    def is_replaceable(self) -> bool:
        """Whether a new consumer can take the place of the old one. With a single active consumer
        RabbitMQ would first use every other consumer that waits."""
        return not self.is_stream and not self.arguments.get("x-single-active-consumer")

    @property
    def may_be_fetched(self) -> bool:
        """Whether Basic.Get takes the message that a consumer would get. RabbitMQ refuses it for a
        stream (540, it closes the connection) and for a queue with a single active consumer or an
        exclusive one. It would bypass priorities of consumers. Of a queue that this gateway does
        not declare all this is not known."""
        return (
            self.declare == "create"
            and self.is_replaceable
            and not self.exclusive
            and self.priority is None
        )

    @property
    def dies_without_consumer(self) -> bool:
        """Whether RabbitMQ deletes the queue and its messages some time after its last consumer."""
        return self.delete or "x-expires" in self.arguments


class Retry(Struct, frozen=True, kw_only=True):
    """``retry``: the pauses before a failed message is tried again."""

    delay: Seconds = 1.0
    """The unit of the pauses: "exponential" pauses 1, 2, 4 ... times as long, at most 30 seconds or
    one `delay`, whichever is longer."""
    backoff: str = "exponential"
    """How the pauses grow: one of the names of `backoff_strategy`."""


class DeadLetter(Struct, frozen=True, kw_only=True):
    """``dead_letter``: where a message is published when it is given up."""

    exchange: str = ""
    """Name of the exchange, which must exist. Empty: the default exchange."""
    routing_key: str
    """Routing key of the published message. With the default exchange: the name of the queue."""


class AgentSettings(Struct, frozen=True, kw_only=True):
    """``async/amqp``."""

    host: str
    """URL of the broker, such as `amqps://user:password@host:5671/vhost`."""
    name: str
    """Name of the queue."""
    exchange: str
    """Name of the exchange to which the queue is bound by the agent's `consumer.topic`. Empty: no
    exchange is declared and the queue is not bound."""
    durable: bool = False
    """Whether exchange and queue survive a restart of the broker."""
    delete: bool = False
    """Whether RabbitMQ deletes the queue after its last consumer, and the exchange after its last
    binding (auto-delete)."""
    exclusive: bool = False
    """Whether only this connection may use the queue. RabbitMQ deletes it when the connection ends.
    With `declare` "passive" or "none" the consumer is exclusive instead of the queue."""
    no_wait: bool = False
    """Without effect: the gateway always waits for the responses of the broker."""
    no_local: bool = False
    """Sent to the broker; RabbitMQ ignores it."""
    prefetch_count: int = 0
    """Unacknowledged messages that the broker may send in advance. Absent, 0 or larger: twice the
    agent's `consumer.workers`."""
    prefetch_size: int = 0
    """Without effect: RabbitMQ does not support it."""
    auto_ack: bool = False
    """Whether a message is acknowledged when the agent takes it, and not when its backends have
    succeeded. A message is lost then when a backend fails."""
    nack_discard: bool = False
    """Whether a message is given up after its first failure. Otherwise it is tried again."""

    max_redeliveries: Own[int] = 0
    """Further tries after which a failed message is given up. Absent or 0: `x-delivery-limit` in
    `arguments`, otherwise no limit."""
    retry: Own[Retry] = Retry()
    """The pauses before a failed message is tried again."""
    dead_letter: Own[DeadLetter | None] = None
    """Where a message that is given up is published; it is acknowledged after the confirm. Absent:
    it is rejected, and RabbitMQ drops or dead-letters it."""
    method: Own[str] = "GET"
    """HTTP method of requests to backends that do not name one."""
    headers: Own[bool | tuple[str, ...]] = True
    """Headers of a message that backends receive. true: all. false: none. A list: only these."""
    propagation: Own[Propagation] = "parent"
    """How traces continue. "parent": processing a message is part of the trace of its publisher.
    "link": it is a trace of its own, which refers to the publisher's."""
    exchange_type: Own[str] = "topic"
    """Type of the exchange: "direct", "fanout", "headers", "topic", or a type of a plugin
    ("x-...")."""
    arguments: Own[Arguments] = {}
    """Arguments of the queue, such as `x-queue-type` or `x-message-ttl`."""
    exchange_arguments: Own[Arguments] = {}
    """Arguments of the exchange, such as `alternate-exchange`."""
    declare: Own[Declare] = "create"
    """What is declared. "create": exchange, queue and binding are created when they do not exist.
    "passive": exchange and queue must exist. "none": the queue must exist, the exchange is not
    checked."""
    priority: Own[int | None] = None
    """Priority of the consumer (`x-priority`): RabbitMQ sends to consumers with a higher one first.
    Absent: RabbitMQ's default, 0."""
    consumer_tag: Own[str] = ""
    """Consumer tag, by which RabbitMQ's tools show the consumer. When the gateway replaces the
    consumer it appends a number. Empty: a unique tag."""

    def prefetch(self, workers: int) -> int:
        """Unacknowledged messages that may be in the gateway for ``workers`` workers. More than
        they need soon would be missing in other replicas."""
        most = 2 * workers
        return min(self.prefetch_count, most) if self.prefetch_count > 0 else most


class ProducerSettings(BrokerSettings, Struct, frozen=True, kw_only=True):
    """``backend/amqp/producer``.

    A key that ends in ``_key`` is the name of a value of the request: a parameter of the path, or
    ``{query.x}``, ``{header.x}``, ``{JWT.x}``, ``{resp0_x}``.
    """

    name: str = ""
    """Name of a queue. With `static_routing_key` it is created when it does not exist, and bound to
    the exchange. Empty: no queue is declared."""
    exchange: str
    """Name of the exchange. Empty: the default exchange; the routing key is the name of a queue
    then."""
    routing_key: str = ""
    """Name of the value that is the routing key of the message: a parameter of the path, or
    `{query.x}`, `{header.x}`, `{JWT.x}`, `{resp0_x}`. With `static_routing_key`: the routing key
    itself."""
    static_routing_key: bool = False
    """Whether `routing_key` is the routing key itself, and not the name of a value."""
    durable: bool = False
    """Whether the exchange, and a created queue, survive a restart of the broker. Messages are
    persistent then, unless `delivery_mode` is 1."""
    delete: bool = False
    """Whether RabbitMQ deletes the exchange after its last binding, and a created queue after its
    last consumer (auto-delete)."""
    exclusive: bool = False
    """Without effect: KrakenD would make the exchange internal, and no client can publish to an
    internal exchange."""
    no_wait: bool = False
    """Without effect: the gateway always waits for the responses of the broker."""
    no_local: bool = False
    """Without effect on a producer."""
    mandatory: bool = False
    """Whether a message that is routed to no queue is a failure (422). Otherwise it is lost, and
    the response says that it was published."""
    immediate: bool = False
    """Without effect: RabbitMQ does not support it."""
    exp_key: str = ""
    """Name of the value that is the expiration of the message, in milliseconds. Empty: none."""
    reply_to_key: str = ""
    """Name of the value that is the `reply_to` of the message. Empty: none."""
    msg_id_key: str = ""
    """Name of the value that is the `message_id`. Empty, or without a value: a unique id."""
    priority_key: str = ""
    """Name of the value that is the priority of the message, 0 to 255. Empty: none."""
    backoff_strategy: str = "fallback"
    """Pauses between attempts to connect: "linear", "linear-jitter", "exponential",
    "exponential-jitter", or "fallback" (1 second). An unknown name means "fallback". The fastest of
    all backends on the connection is used."""
    max_retries: int = 0
    """Attempts to connect, after which the gateway waits for the next request before it tries
    again. The largest of all backends on the connection is used. Absent or 0: no limit."""

    exchange_type: Own[str] = "topic"
    """Type of the exchange: "direct", "fanout", "headers", "topic", or a type of a plugin
    ("x-...")."""
    arguments: Own[Arguments] = {}
    """Arguments of the queue, when it is created."""
    exchange_arguments: Own[Arguments] = {}
    """Arguments of the exchange, such as `alternate-exchange`."""
    declare: Own[Declare] = "create"
    """What is declared. "create": the exchange, and the queue that `name` names, are created when
    they do not exist. "passive": they must exist. "none": nothing is declared or checked."""
    delivery_mode: Own[int] = 0
    """1: messages are lost when the broker restarts. 2: they are persistent. 0: persistent when
    `durable` is true."""
    headers: Own[bool | tuple[str, ...]] = True
    """Which of the forwarded headers of the request the message gets. true: all. false: none. A
    list: only these."""
    correlation_id_key: Own[str] = ""
    """Name of the value that is the `correlation_id` of the message. Empty: none."""
    type_key: Own[str] = ""
    """Name of the value that is the `type` of the message. Empty: none."""
    app_id_key: Own[str] = ""
    """Name of the value that is the `app_id` of the message. Empty: none."""
    status: Own[int] = 200
    """Status of the response to a confirmed message, 200 to 599."""
    response: Own[Literal["", "receipt"]] = ""
    """Body of the response. "receipt": the response has `message_id`, `exchange` and `routing_key`
    of the message. "": it is `{}`."""

    @property
    def is_persistent(self) -> bool:
        """Whether messages in a durable queue survive a restart of the broker."""
        return self.delivery_mode == 2 or (self.delivery_mode == 0 and self.durable)
