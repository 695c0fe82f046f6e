"""What newer versions of RabbitMQ refuse. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from .settings import AgentSettings, Arguments, ConsumerSettings, ProducerSettings

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
"""RabbitMQ's ``max_message_size`` since 4.0, unless it is configured; 128 MiB before."""


def refused_arguments(arguments: Arguments) -> Iterator[str]:
    """Warnings about the arguments of a queue."""
    if "x-queue-mode" in arguments:
        yield "RabbitMQ 4.3 refuses the argument x-queue-mode: remove it (3.12 and later ignore it)"
    if arguments.get("x-queue-version") == 1:
        yield "RabbitMQ 4.3 refuses the argument x-queue-version: 1: remove it"


def refused_as_transient(
    settings: ConsumerSettings | ProducerSettings | AgentSettings,
) -> Iterator[str]:
    """Warnings about a queue that does not survive a restart. A producer ignores ``exclusive``."""
    is_exclusive = settings.exclusive and not isinstance(settings, ProducerSettings)
    if settings.declare == "create" and not settings.durable and not is_exclusive:
        yield (
            "not durable: a restart of the broker deletes the queue and its messages, and RabbitMQ "
            "4.3 refuses such a queue (541)"
        )
