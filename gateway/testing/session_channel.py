"""One channel of a client at the broker in memory. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from msgspec import Struct
from pamqp import commands
from pamqp.base import Frame

from .broker import BrokerState
from .content import StoredMessage
from .frames import (
    DeliverMethod,
    GetOkMethod,
    QueueDeclareOk,
    ReturnMethod,
    encode_content,
    encode_method,
)
from .queue import BrokerQueue, QueueConsumer, QueueEntry
from .routing import BrokerBinding
from .rules import BrokerRefusal, BrokerRules

NO_ROUTE = 312


class ChannelOwner(Protocol):
    """The connection, as its channels use it."""

    broker: BrokerState
    frame_max: int
    wants_cancels: bool

    def write(self, data: bytes) -> None: ...

    def new_number(self) -> int: ...


class UnackedEntry(Struct, eq=False):
    """A delivered message. ``consumer``: None: it was fetched by Basic.Get."""

    queue: BrokerQueue
    entry: QueueEntry
    consumer: QueueConsumer | None


class BrokerChannel:
    """``unacked``: delivered messages by delivery tag, in their order. ``stopped``: methods that
    wait to be processed. ``rejects_messages``: it sends Basic.Nack for each message; if
    ``falls_silent``, only for the first one."""

    def __init__(self, number: int, session: ChannelOwner) -> None:
        self.number = number
        self.unacked: dict[int, UnackedEntry] = {}
        self.consumers: dict[str, QueueConsumer] = {}
        self.stopped: list[Frame] = []
        self.rejects_messages = False
        self.falls_silent = False
        self._has_rejected = False
        self._session = session
        self._broker = session.broker
        self._prefetch = 0
        self._last_tag = 0
        self._last_queue = ""
        self._is_confirming = False
        self._published = 0
        self._handlers: dict[str, Callable[[Any], Frame | None]] = {
            "Basic.Ack": self._ack,
            "Basic.Cancel": self._cancel,
            "Basic.Consume": self._consume,
            "Basic.Get": self._get,
            "Basic.Nack": self._nack,
            "Basic.Qos": self._qos,
            "Basic.Recover": self._recover,
            "Basic.Reject": self._reject,
            "Channel.Flow": lambda method: commands.Channel.FlowOk(method.active),
            "Confirm.Select": self._select,
            "Exchange.Bind": self._bind_exchange,
            "Exchange.Declare": self._declare_exchange,
            "Exchange.Delete": self._delete_exchange,
            "Exchange.Unbind": self._unbind_exchange,
            "Queue.Bind": self._bind_queue,
            "Queue.Declare": self._declare_queue,
            "Queue.Delete": self._delete_queue,
            "Queue.Purge": self._purge_queue,
            "Queue.Unbind": self._unbind_queue,
        }

    def stops_at(self, method: Frame) -> bool:
        """Whether this method has to wait, and all later ones."""
        is_binding = isinstance(method, commands.Queue.Bind)
        if not self.stopped and (not is_binding or self._broker.responds_to_bindings):
            return False
        self.stopped.append(method)
        return True

    def handle(self, method: Frame) -> None:
        """Process a method without content. Raises :class:`BrokerRefusal`."""
        handler = self._handlers.get(method.name)
        if handler is None:
            raise BrokerRefusal(540, f"{method.name} in the broker in memory")
        response = handler(method)
        if response is not None and not getattr(method, "nowait", False):
            self._write(response)
        if isinstance(method, commands.Basic.Consume):
            self._queue(method.queue).dispatch()

    def publish(self, method: commands.Basic.Publish, properties: bytes, body: bytes) -> None:
        """Process a Basic.Publish with its content. Raises :class:`BrokerRefusal`."""
        if method.immediate:
            raise BrokerRefusal(540, "immediate=true")
        message = StoredMessage(method.exchange, method.routing_key, properties, body)
        if self.rejects_messages:
            if self._has_rejected and self.falls_silent:
                return
            is_routed, is_accepted, self._has_rejected = True, False, True
        else:
            is_routed, is_accepted = self._broker.publish(message)
        if method.mandatory and not is_routed:
            returned = ReturnMethod(NO_ROUTE, "NO_ROUTE", message.exchange, message.routing_key)
            self._write_content(returned, message)
        if self._is_confirming:
            self._published += 1
            confirm = commands.Basic.Ack if is_accepted else commands.Basic.Nack
            self._write(confirm(self._published, False))

    def close(self) -> None:
        """The channel has ended: its consumers are gone, its messages return to their queues."""
        consumers, self.consumers = self.consumers, {}
        for consumer in consumers.values():
            consumer.queue.remove_consumer(consumer)
        self._give_back(self._take_all())

    # Consumers and deliveries.

    def _qos(self, method: commands.Basic.Qos) -> Frame:
        """For consumers that start later."""
        if method.prefetch_size:
            raise BrokerRefusal(540, f"prefetch_size!=0 ({method.prefetch_size})")
        if method.global_:
            raise BrokerRefusal(540, "basic.qos with global, in the broker in memory")
        self._prefetch = method.prefetch_count
        return commands.Basic.QosOk()

    def _consume(self, method: commands.Basic.Consume) -> Frame:
        queue = self._queue(method.queue)
        tag = method.consumer_tag or f"amq.ctag-{self._session.new_number()}"
        if tag in self.consumers:
            raise BrokerRefusal(530, f"attempt to reuse consumer tag '{tag}'")
        consumer = QueueConsumer(
            tag,
            queue,
            self._deliver,
            self._cancelled,
            prefetch=self._prefetch,
            no_ack=method.no_ack,
            is_exclusive=method.exclusive,
            priority=_priority(method),
        )
        self._broker.consume(consumer)
        self.consumers[tag] = consumer
        return commands.Basic.ConsumeOk(tag)

    def _cancel(self, method: commands.Basic.Cancel) -> Frame:
        tag = method.consumer_tag or ""
        consumer = self.consumers.pop(tag, None)
        if consumer is not None:
            consumer.queue.remove_consumer(consumer)
        return commands.Basic.CancelOk(tag)

    def _cancelled(self, consumer: QueueConsumer) -> None:
        """The broker cancels the consumer: its queue was deleted, or has another leader."""
        if self.consumers.pop(consumer.tag, None) is not None and self._session.wants_cancels:
            self._write(commands.Basic.Cancel(consumer.tag, True))

    def _deliver(self, consumer: QueueConsumer, entry: QueueEntry) -> None:
        tag = self._new_tag(consumer.queue, entry, None if consumer.no_ack else consumer)
        if consumer.no_ack:
            del self.unacked[tag]
        message = entry.message
        method = DeliverMethod(
            consumer.tag, tag, entry.is_redelivered, message.exchange, message.routing_key
        )
        self._write_content(method, _counted(consumer.queue, entry, self._broker.rules))

    def _get(self, method: commands.Basic.Get) -> Frame | None:
        queue, entry = self._broker.get(method.queue or self._last_queue, self._session)
        if entry is None:
            return commands.Basic.GetEmpty()
        tag = self._new_tag(queue, entry, None)
        if method.no_ack:
            del self.unacked[tag]
        message = entry.message
        got = GetOkMethod(
            tag, entry.is_redelivered, message.exchange, message.routing_key, len(queue)
        )
        self._write_content(got, _counted(queue, entry, self._broker.rules))
        return None

    def _new_tag(
        self, queue: BrokerQueue, entry: QueueEntry, consumer: QueueConsumer | None
    ) -> int:
        self._last_tag += 1
        self.unacked[self._last_tag] = UnackedEntry(queue, entry, consumer)
        return self._last_tag

    # Settling.

    def _ack(self, method: commands.Basic.Ack) -> None:
        self._settle(self._take(method.delivery_tag, multiple=method.multiple))

    def _nack(self, method: commands.Basic.Nack) -> None:
        taken = self._take(method.delivery_tag, multiple=method.multiple)
        if method.requeue:
            self._give_back(taken, counts=self._broker.rules.counts_nacks)
        else:
            self._discard(taken)

    def _reject(self, method: commands.Basic.Reject) -> None:
        taken = self._take(method.delivery_tag or 0, multiple=False)
        if method.requeue:
            self._give_back(taken)
        else:
            self._discard(taken)

    def _recover(self, method: commands.Basic.Recover) -> Frame:
        if not method.requeue:
            raise BrokerRefusal(540, "requeue=false")
        self._give_back(self._take_all())
        return commands.Basic.RecoverOk()

    def _take(self, tag: int, *, multiple: bool) -> list[UnackedEntry]:
        """The messages that a settlement names."""
        if multiple and tag == 0:
            return self._take_all()
        if tag not in self.unacked:
            raise BrokerRefusal(406, f"unknown delivery tag {tag}")
        tags = [each for each in self.unacked if each <= tag] if multiple else [tag]
        return [self.unacked.pop(each) for each in tags]

    def _take_all(self) -> list[UnackedEntry]:
        taken, self.unacked = [*self.unacked.values()], {}
        return taken

    def _settle(self, taken: list[UnackedEntry]) -> None:
        for each in taken:
            each.queue.settled(each.consumer)
        for queue in dict.fromkeys(each.queue for each in taken):
            queue.dispatch()

    def _discard(self, taken: list[UnackedEntry]) -> None:
        for each in taken:
            each.queue.reject(each.entry)
        self._settle(taken)

    def _give_back(self, taken: list[UnackedEntry], *, counts: bool = True) -> None:
        for each in taken:
            each.queue.settled(each.consumer)
        for queue in dict.fromkeys(each.queue for each in taken):
            entries = [each.entry for each in taken if each.queue is queue]
            queue.give_back(entries, counts=counts)

    # Declarations.

    def _declare_exchange(self, method: commands.Exchange.Declare) -> Frame:
        self._broker.declare_exchange(
            method.exchange,
            method.exchange_type,
            passive=method.passive,
            durable=method.durable,
            auto_delete=method.auto_delete,
            internal=method.internal,
            arguments=method.arguments,
        )
        return commands.Exchange.DeclareOk()

    def _delete_exchange(self, method: commands.Exchange.Delete) -> Frame:
        self._broker.delete_exchange(method.exchange, if_unused=method.if_unused)
        return commands.Exchange.DeleteOk()

    def _bind_exchange(self, method: commands.Exchange.Bind) -> Frame:
        self._broker.exchange(method.destination)
        self._broker.bind(method.source, _exchange_binding(method))
        return commands.Exchange.BindOk()

    def _unbind_exchange(self, method: commands.Exchange.Unbind) -> Frame:
        self._broker.unbind(method.source, _exchange_binding(method))
        return commands.Exchange.UnbindOk()

    def _declare_queue(self, method: commands.Queue.Declare) -> Frame:
        name = method.queue or (self._last_queue if method.passive else "")
        queue = self._broker.declare_queue(
            name,
            passive=method.passive,
            durable=method.durable,
            exclusive=method.exclusive,
            auto_delete=method.auto_delete,
            arguments=method.arguments,
            client=self._session,
        )
        self._last_queue = queue.name
        return QueueDeclareOk(queue.name, len(queue), len(queue.consumers))

    def _delete_queue(self, method: commands.Queue.Delete) -> Frame:
        count = self._broker.delete_queue(
            method.queue or self._last_queue,
            if_unused=method.if_unused,
            if_empty=method.if_empty,
            client=self._session,
        )
        return commands.Queue.DeleteOk(count)

    def _purge_queue(self, method: commands.Queue.Purge) -> Frame:
        return commands.Queue.PurgeOk(self._queue(method.queue).purge())

    def _bind_queue(self, method: commands.Queue.Bind) -> Frame:
        name, queue = method.exchange, self._queue(method.queue)
        self._broker.bind(name, _binding(queue.name, method))
        return commands.Queue.BindOk()

    def _unbind_queue(self, method: commands.Queue.Unbind) -> Frame:
        self._broker.unbind(method.exchange, _binding(method.queue or self._last_queue, method))
        return commands.Queue.UnbindOk()

    def _queue(self, name: str) -> BrokerQueue:
        """No name: the queue that was declared last on this channel."""
        return self._broker.queue(name or self._last_queue, self._session)

    def _select(self, method: commands.Confirm.Select) -> Frame:
        self._is_confirming = True
        return commands.Confirm.SelectOk()

    def _write(self, method: Frame) -> None:
        self._session.write(encode_method(method, self.number))

    def _write_content(self, method: Frame, message: StoredMessage) -> None:
        self._session.write(encode_content(method, self.number, message, self._session.frame_max))


def _binding(queue: str, method: commands.Queue.Bind | commands.Queue.Unbind) -> BrokerBinding:
    arguments = tuple((method.arguments or {}).items())
    return BrokerBinding(queue, method.routing_key, arguments)


def _exchange_binding(method: commands.Exchange.Bind | commands.Exchange.Unbind) -> BrokerBinding:
    arguments = tuple((method.arguments or {}).items())
    return BrokerBinding(method.destination, method.routing_key, arguments, is_to_exchange=True)


def _priority(method: commands.Basic.Consume) -> int:
    priority = (method.arguments or {}).get("x-priority", 0)
    if not isinstance(priority, int):
        raise BrokerRefusal(406, f"x-priority is no number: {priority!r}")
    return priority


def _counted(queue: BrokerQueue, entry: QueueEntry, rules: BrokerRules) -> StoredMessage:
    """A message of a quorum queue says how often it was returned."""
    if queue.kind != "quorum" or not (entry.returned or rules.counts_from_zero):
        return entry.message
    return entry.message.with_headers(x_delivery_count=entry.returned)
