"""The state of the broker in memory: exchanges, queues and bindings, and what it refuses. Pure.

It knows no bytes and no event loop. ``session.py`` has the connections of clients.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

from .content import StoredMessage
from .queue import BrokerQueue, Cancel, QueueConsumer, QueueEntry
from .routing import EXCHANGE_TYPES, PREDECLARED, BrokerBinding, BrokerExchange
from .rules import RABBITMQ_4_0, BrokerRefusal, BrokerRules

COMPARED_ARGUMENTS = (
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
    "x-expires",
    "x-max-length",
    "x-max-length-bytes",
    "x-max-priority",
    "x-message-ttl",
    "x-overflow",
    "x-single-active-consumer",
)
"""Arguments that must be equal when a queue is declared again."""

CallLater = Callable[[float, Callable[[], object]], Cancel]


class BrokerState:
    """``call_later``: starts a timer, for ``x-expires`` and ``x-message-ttl``; returns what stops
    it. ``time``: its clock. Without them nothing expires.

    ``responds_to_bindings``: false: a channel stops at the next Queue.Bind.
    """

    def __init__(
        self,
        rules: BrokerRules = RABBITMQ_4_0,
        call_later: CallLater = lambda seconds, action: lambda: None,
        time: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.rules = rules
        self.exchanges: dict[str, BrokerExchange] = {}
        self.queues: dict[str, BrokerQueue] = {}
        self.call_later = call_later
        self.time = time
        self.responds_to_bindings = True
        self._numbers = count(1)
        for name, kind in PREDECLARED.items():
            self.exchanges[name] = BrokerExchange(
                name, kind, durable=True, auto_delete=False, internal=False, arguments={}
            )

    # Exchanges and bindings.

    def declare_exchange(
        self,
        name: str,
        kind: str = "direct",
        *,
        passive: bool = False,
        durable: bool = False,
        auto_delete: bool = False,
        internal: bool = False,
        arguments: dict[str, Any] | None = None,
    ) -> None:
        _refuse_default_exchange(name)
        if passive:
            self.exchange(name)
            return
        if kind not in EXCHANGE_TYPES:
            if self.rules.unknown_type_ends_connection:
                raise BrokerRefusal(503, f"unknown exchange type '{kind}'")
            raise BrokerRefusal(406, f"invalid exchange type '{kind}'")
        existing = self.exchanges.get(name)
        if existing is None:
            _refuse_reserved("exchange", name)
            self.exchanges[name] = BrokerExchange(
                name,
                kind,
                durable=durable,
                auto_delete=auto_delete,
                internal=internal,
                arguments=arguments or {},
            )
            return
        what = f"exchange '{name}' in vhost '/'"
        _refuse_inequivalent("type", what, kind, existing.kind)
        _refuse_inequivalent("durable", what, durable, existing.durable)
        _refuse_inequivalent("auto_delete", what, auto_delete, existing.auto_delete)
        _refuse_inequivalent("internal", what, internal, existing.internal)
        _refuse_inequivalent_arguments(
            ("alternate-exchange",), what, arguments or {}, existing.arguments
        )

    def exchange(self, name: str) -> BrokerExchange:
        if name not in self.exchanges:
            raise BrokerRefusal(404, f"no exchange '{name}' in vhost '/'")
        return self.exchanges[name]

    def delete_exchange(self, name: str, *, if_unused: bool = False) -> None:
        _refuse_default_exchange(name)
        _refuse_reserved("exchange", name)
        exchange = self.exchanges.get(name)
        if exchange is None:
            return
        if if_unused and exchange.bindings:
            raise BrokerRefusal(406, f"exchange '{name}' in vhost '/' in use")
        del self.exchanges[name]
        self._unbind_destination(name, is_to_exchange=True)

    def bind(self, source: str, binding: BrokerBinding) -> None:
        """The destination must exist."""
        _refuse_default_exchange(source)
        self.exchange(source).bindings[binding] = None

    def unbind(self, source: str, binding: BrokerBinding) -> None:
        _refuse_default_exchange(source)
        exchange = self.exchange(source)
        exchange.bindings.pop(binding, None)
        self._delete_if_unused(exchange)

    def _unbind_destination(self, name: str, *, is_to_exchange: bool) -> None:
        for exchange in tuple(self.exchanges.values()):
            bindings = [
                each
                for each in exchange.bindings
                if (each.destination, each.is_to_exchange) == (name, is_to_exchange)
            ]
            for binding in bindings:
                del exchange.bindings[binding]
            if bindings:
                self._delete_if_unused(exchange)

    def _delete_if_unused(self, exchange: BrokerExchange) -> None:
        if exchange.auto_delete and not exchange.bindings:
            del self.exchanges[exchange.name]
            self._unbind_destination(exchange.name, is_to_exchange=True)

    # Queues.

    def declare_queue(
        self,
        name: str,
        *,
        passive: bool = False,
        durable: bool = False,
        exclusive: bool = False,
        auto_delete: bool = False,
        arguments: dict[str, Any] | None = None,
        client: object = None,
    ) -> BrokerQueue:
        """``client``: the connection that declares; it owns the queue when this is exclusive."""
        arguments = arguments or {}
        if passive:
            queue = self.queue(name, client)
            queue.used()
            return queue
        if name not in self.queues:
            _refuse_reserved("queue", name)
            if self.rules.refuses_transient_queues and not (durable or exclusive):
                reason = (
                    "Feature `transient_nonexcl_queues` is deprecated.\nIts use is not permitted"
                )
                raise BrokerRefusal(541, reason)
            kind = str(arguments.get("x-queue-type", "classic"))
            refuse_properties(
                kind, name, durable=durable, exclusive=exclusive, auto_delete=auto_delete
            )
            queue = BrokerQueue(
                name or f"amq.gen-{next(self._numbers)}",
                self,
                durable=durable,
                auto_delete=auto_delete,
                owner=client if exclusive else None,
                arguments=arguments,
            )
            self.queues[queue.name] = queue
            return queue
        queue = self.queue(name, client)
        what = f"queue '{name}' in vhost '/'"
        _refuse_inequivalent("durable", what, durable, queue.durable)
        _refuse_inequivalent("auto_delete", what, auto_delete, queue.auto_delete)
        if exclusive != (queue.owner is not None):
            raise _locked(name)
        received = {"x-queue-type": "classic", **arguments}
        current = {"x-queue-type": "classic", **queue.arguments}
        names = ("x-queue-type", *COMPARED_ARGUMENTS)
        _refuse_inequivalent_arguments(names, what, received, current)
        queue.used()
        return queue

    def queue(self, name: str, client: object = None) -> BrokerQueue:
        """``client``: the connection that uses it."""
        queue = self.queues.get(name)
        if queue is None:
            raise BrokerRefusal(404, f"no queue '{name}' in vhost '/'")
        if queue.owner is not None and queue.owner is not client:
            raise _locked(name)
        return queue

    def delete_queue(
        self, name: str, *, if_unused: bool = False, if_empty: bool = False, client: object = None
    ) -> int:
        """The number of messages that were ready."""
        if name not in self.queues:
            return 0
        queue = self.queue(name, client)
        if if_unused and queue.consumers:
            raise BrokerRefusal(406, f"queue '{name}' in vhost '/' in use")
        if if_empty and len(queue):
            raise BrokerRefusal(406, f"queue '{name}' in vhost '/' is not empty")
        messages = len(queue)
        self.remove_queue(queue)
        return messages

    def remove_queue(self, queue: BrokerQueue) -> None:
        """Delete a queue with its bindings."""
        if self.queues.get(queue.name) is queue:
            del self.queues[queue.name]
            self._unbind_destination(queue.name, is_to_exchange=False)
            queue.delete()

    def remove_queues_of(self, client: object) -> None:
        """The connection has ended: its exclusive queues are deleted."""
        for queue in tuple(self.queues.values()):
            if queue.owner is client:
                self.remove_queue(queue)

    def consume(self, consumer: QueueConsumer) -> None:
        """Add a consumer. Its messages come with the next ``dispatch`` of the queue."""
        queue = consumer.queue
        if queue.kind == "stream":
            raise BrokerRefusal(540, "consumers of streams, in the broker in memory")
        is_in_use = queue.consumers and consumer.is_exclusive
        if is_in_use or any(each.is_exclusive for each in queue.consumers):
            raise BrokerRefusal(403, f"queue '{queue.name}' in vhost '/' in exclusive use")
        queue.add_consumer(consumer)

    def get(self, name: str, client: object = None) -> tuple[BrokerQueue, QueueEntry | None]:
        """The next message of a queue, as for Basic.Get."""
        queue = self.queue(name, client)
        if queue.kind == "stream":
            raise BrokerRefusal(
                540, f"basic.get not supported by stream queues queue '{name}' in vhost '/'"
            )
        if queue.has_single_active_consumer and queue.kind == "quorum":
            raise BrokerRefusal(
                405,
                f"cannot obtain access to locked queue '{name}' in vhost '/'. basic.get operations "
                "are not supported by quorum queues with single active consumer",
            )
        queue.drop_expired()
        queue.used()
        return queue, queue.take() if len(queue) else None

    # Messages.

    def publish(self, message: StoredMessage) -> tuple[bool, bool]:
        """Whether it was routed to a queue, and whether every queue has accepted it."""
        if message.exchange and self.exchange(message.exchange).internal:
            raise BrokerRefusal(
                403, f"cannot publish to internal exchange '{message.exchange}' in vhost '/'"
            )
        if (size := len(message.body)) > self.rules.max_message_size:
            raise BrokerRefusal(
                406,
                f"message size {size} is larger than configured max size "
                f"{self.rules.max_message_size}",
            )
        queues = self.route(message)
        accepted = [queue.put(message) for queue in queues]  # each of them gets it
        return bool(queues), all(accepted)

    def route(self, message: StoredMessage) -> list[BrokerQueue]:
        """The queues that get the message, each once."""
        if not message.exchange:
            return [self.queues[name] for name in [message.routing_key] if name in self.queues]
        queues: dict[BrokerQueue, None] = {}
        waiting, seen = [message.exchange], {message.exchange}
        while waiting:
            exchange = self.exchanges.get(waiting.pop())
            if exchange is None:
                continue
            bindings = exchange.matching(message)
            names = [each.destination for each in bindings if each.is_to_exchange]
            if not bindings and "alternate-exchange" in exchange.arguments:
                names = [exchange.arguments["alternate-exchange"]]
            queues.update(
                (self.queues[each.destination], None)
                for each in bindings
                if not each.is_to_exchange
            )
            waiting += [name for name in names if name not in seen]
            seen.update(names)
        return list(queues)

    def dead_letter(self, queue: BrokerQueue, message: StoredMessage, reason: str) -> None:
        """Publish a message to the queue's dead-letter exchange; without one it is dropped."""
        exchange = queue.arguments.get("x-dead-letter-exchange")
        if exchange is None or (exchange and exchange not in self.exchanges):
            return
        key = queue.arguments.get("x-dead-letter-routing-key")
        letter = message.dead_lettered(queue.name, reason, exchange, key)
        for target in self.route(letter):
            if reason == "rejected" or not message.has_died_in(target.name):
                target.put(letter)


def refuse_properties(
    kind: str, name: str, *, durable: bool, exclusive: bool, auto_delete: bool
) -> None:
    """Quorum queues and streams are durable and not exclusive; streams are not auto-delete."""
    if kind not in ("classic", "quorum", "stream"):
        raise BrokerRefusal(406, f"unknown queue type '{kind}' for queue '{name}' in vhost '/'")
    wrong = {
        "non-durable": kind != "classic" and not durable,
        "exclusive": kind != "classic" and exclusive,
        "auto-delete": kind == "stream" and auto_delete,
    }
    for what, is_wrong in wrong.items():
        if is_wrong:
            raise BrokerRefusal(406, f"invalid property '{what}' for queue '{name}' in vhost '/'")


def _locked(name: str) -> BrokerRefusal:
    return BrokerRefusal(
        405,
        f"cannot obtain exclusive access to locked queue '{name}' in vhost '/'. It could be "
        "originally declared on another connection or the exclusive property value does not match "
        "that of the original declaration.",
    )


def _refuse_default_exchange(name: str) -> None:
    if not name:
        raise BrokerRefusal(403, "operation not permitted on the default exchange")


def _refuse_reserved(what: str, name: str) -> None:
    if name.startswith("amq."):
        raise BrokerRefusal(403, f"{what} name '{name}' contains reserved prefix 'amq.*'")


def _refuse_inequivalent(name: str, what: str, received: object, current: object) -> None:
    if received != current:
        raise BrokerRefusal(
            406,
            f"inequivalent arg '{name}' for {what}: received {_erlang(received)} but current is "
            f"{_erlang(current)}",
        )


def _refuse_inequivalent_arguments(
    names: tuple[str, ...], what: str, received: dict[str, Any], current: dict[str, Any]
) -> None:
    for name in names:
        _refuse_inequivalent(name, what, received.get(name), current.get(name))


def _erlang(value: object) -> str:
    """A value as RabbitMQ writes it into its texts."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return f"'{str(value).lower()}'"
    return f"the value '{value}'" if isinstance(value, int) else f"'{value}'"
