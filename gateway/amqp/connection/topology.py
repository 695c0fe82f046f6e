"""The AMQP methods that declare exchanges, queues, bindings and consumers from settings. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from pamqp import commands
from pamqp.base import Frame

from ..settings import ConsumerSettings, ProducerSettings


class ExchangeDeclare(commands.Exchange.Declare):
    def validate(self) -> None:
        """Accept every name: RabbitMQ allows any UTF-8, but pamqp refuses most of it."""


class QueueDeclare(commands.Queue.Declare):
    def validate(self) -> None:
        """As for exchanges."""


class QueueBind(commands.Queue.Bind):
    def validate(self) -> None:
        """As for exchanges."""


class Consume(commands.Basic.Consume):
    def validate(self) -> None:
        """As for exchanges."""


def consumer_topology(settings: ConsumerSettings) -> Iterator[Frame]:
    """The methods, in this order, that declare exchange and queue of a consumer.

    ``no_wait`` is not used: the broker would close the channel for an error without a response.
    ``exclusive`` concerns the queue only (in KrakenD it also makes the exchange internal). With
    ``declare: "none"`` the only method is a passive declaration of the queue.
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
    """The methods that bind the queue of a consumer, one for each routing key."""
    if settings.exchange and settings.declare == "create":
        for routing_key in settings.routing_key:
            yield QueueBind(
                queue=settings.name, exchange=settings.exchange, routing_key=routing_key
            )


def consume(settings: ConsumerSettings, consumer_tag: str) -> Consume:
    """The method that starts a consumer.

    The consumer of an exclusive queue is not exclusive itself: other connections cannot use the
    queue, and so a second consumer can replace the first one.
    """
    return Consume(
        queue=settings.name,
        consumer_tag=consumer_tag,
        no_local=settings.no_local,
        exclusive=settings.exclusive and settings.declare != "create",
        arguments={} if settings.priority is None else {"x-priority": settings.priority},
    )


def producer_exchange(settings: ProducerSettings) -> Iterator[Frame]:
    """The methods that declare the exchange of a producer: none for the default exchange.

    ``exclusive`` is ignored (in KrakenD it makes the exchange internal).
    """
    if settings.exchange and settings.declare != "none":
        yield _declare_exchange(settings)


def look_up_queue(settings: ProducerSettings) -> Frame:
    """The passive declaration that checks that the queue exists, with any arguments."""
    return QueueDeclare(queue=settings.name, passive=True)


def create_queue(settings: ProducerSettings) -> Frame:
    """The method that creates the queue of a producer, with the settings of a consumer of it."""
    return QueueDeclare(
        queue=settings.name,
        durable=settings.durable,
        auto_delete=settings.delete,
        arguments=settings.arguments,
    )


def bind_queue(settings: ProducerSettings) -> Frame:
    """The method that binds the queue of a producer by its static routing key."""
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
