"""Settings to AMQP methods: what makes exchange, queue, bindings and consumer exist. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from pamqp import commands
from pamqp.base import Frame

from ..settings import ConsumerSettings, ProducerSettings


class ExchangeDeclare(commands.Exchange.Declare):
    def validate(self) -> None:
        """RabbitMQ takes any UTF-8 name; pamqp would refuse most of them."""


class QueueDeclare(commands.Queue.Declare):
    def validate(self) -> None:
        """As above."""


class QueueBind(commands.Queue.Bind):
    def validate(self) -> None:
        """As above."""


class Consume(commands.Basic.Consume):
    def validate(self) -> None:
        """As above."""


def consumer_topology(settings: ConsumerSettings) -> Iterator[Frame]:
    """The methods, in order, that a consumer needs before it can consume.

    KrakenD's ``no_wait`` is not passed on: an error would close the channel unheard.
    ``exclusive`` concerns the queue only (KrakenD makes the exchange internal with it).
    With ``declare: "none"`` the queue is only looked up.
    """
    if settings.declare == "none":
        yield QueueDeclare(queue=settings.name, passive=True)
        return
    if settings.exchange:
        yield _declare_exchange(settings)
    yield QueueDeclare(
        queue=settings.name,
        passive=settings.declare == "passive",
        durable=settings.durable,
        exclusive=settings.exclusive,
        auto_delete=settings.delete,
        arguments=settings.arguments,
    )


def consumer_bindings(settings: ConsumerSettings) -> Iterator[Frame]:
    """The methods that bind the queue of a consumer."""
    if settings.exchange and settings.declare == "create":
        for routing_key in settings.routing_key:
            yield QueueBind(
                queue=settings.name, exchange=settings.exchange, routing_key=routing_key
            )


def consume(settings: ConsumerSettings, consumer_tag: str) -> Consume:
    """The method that starts the consumer.

    A queue that is exclusive needs no exclusive consumer: other connections cannot use it, and
    the consumer can be replaced.
    """
    return Consume(
        queue=settings.name,
        consumer_tag=consumer_tag,
        no_local=settings.no_local,
        exclusive=settings.exclusive and settings.declare != "create",
        arguments={} if settings.priority is None else {"x-priority": settings.priority},
    )


def producer_exchange(settings: ProducerSettings) -> Iterator[Frame]:
    """The methods that a producer needs before it can publish: none for the default exchange.

    ``exclusive`` is ignored (KrakenD makes the exchange internal with it).
    """
    if settings.exchange and settings.declare != "none":
        yield _declare_exchange(settings)


def look_up_queue(settings: ProducerSettings) -> Frame:
    """The method that fails where the queue does not exist, whatever its arguments are."""
    return QueueDeclare(queue=settings.name, passive=True)


def create_queue(settings: ProducerSettings) -> Frame:
    """The queue of a producer, as a consumer with the same settings would declare it."""
    return QueueDeclare(
        queue=settings.name,
        durable=settings.durable,
        auto_delete=settings.delete,
        arguments=settings.arguments,
    )


def bind_queue(settings: ProducerSettings) -> Frame:
    """The binding of a producer's queue, by its static routing key."""
    return QueueBind(
        queue=settings.name, exchange=settings.exchange, routing_key=settings.routing_key
    )


def _declare_exchange(settings: ConsumerSettings | ProducerSettings) -> Frame:
    return ExchangeDeclare(
        exchange=settings.exchange,
        exchange_type=settings.exchange_type,
        passive=settings.declare == "passive",
        durable=settings.durable,
        auto_delete=settings.delete,
        arguments=settings.exchange_arguments,
    )
