"""Warnings of ``check`` about ``backend/amqp/consumer``. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ...config.findings import Finding
from ...core.component import Place
from ..refused_by_version import refused_arguments, refused_as_transient
from ..settings import DEFAULT_PREFETCH, ConsumerSettings

SMALL_PREFETCH = 100
PARKED_ON_FAILURE = (
    "a message whose response fails here stays unacknowledged, and is tried again with backoff"
)
"""The warning about a stage that may refuse the response that was made of a message."""

Rule = Callable[[ConsumerSettings], str | None]


def _prefetch_size(settings: ConsumerSettings) -> str | None:
    if settings.prefetch_size:
        return (
            "prefetch_size is ignored: RabbitMQ would close the connection (540, not implemented)"
        )
    return None


def _no_prefetch(settings: ConsumerSettings) -> str | None:
    if settings.prefetch_count <= 0:
        return f"no prefetch_count: {DEFAULT_PREFETCH} is used (KrakenD: no bound)"
    return None


def _small_prefetch(settings: ConsumerSettings) -> str | None:
    if 0 < settings.prefetch_count < SMALL_PREFETCH:
        return (
            f"prefetch_count {settings.prefetch_count} is small: under load RabbitMQ stops for "
            "tens of milliseconds, and with fewer than 500 buffered messages requests then wait"
        )
    return None


def _auto_ack(settings: ConsumerSettings) -> str | None:
    if settings.auto_ack:
        return "auto_ack: at most once: when a client disconnects early, its message is lost"
    return None


def _exclusive(settings: ConsumerSettings) -> str | None:
    if settings.exclusive:
        return (
            "exclusive: RabbitMQ deletes the queue and its messages when the connection ends; of "
            "several workers only the first one consumes it"
        )
    return None


def _delete(settings: ConsumerSettings) -> str | None:
    if settings.delete and not settings.exclusive:
        return "delete: RabbitMQ deletes the queue and its messages after its last consumer"
    return None


def _expires(settings: ConsumerSettings) -> str | None:
    if "x-expires" in settings.arguments:
        return (
            "x-expires: RabbitMQ deletes the queue and its messages when it has no consumer for "
            "this time"
        )
    return None


def _delivery_limit(settings: ConsumerSettings) -> str | None:
    limit = settings.arguments.get("x-delivery-limit", 20)
    if settings.arguments.get("x-queue-type") == "quorum" and limit != -1:
        return (
            "quorum queue: RabbitMQ 4.0 to 4.2 counts each return of a message to its queue, and "
            f"drops or dead-letters it after {limit} (x-delivery-limit; default 20, -1: never)"
        )
    return None


def _single_active(settings: ConsumerSettings) -> str | None:
    if settings.arguments.get("x-single-active-consumer"):
        return (
            "x-single-active-consumer: of several gateways only one gets messages; endpoints of "
            "the others respond as with an empty queue"
        )
    return None


def _priority(settings: ConsumerSettings) -> str | None:
    if settings.priority is not None:
        return (
            "priority: of several gateways those with a lower priority get a message only while "
            "all others have as many unacknowledged messages as their prefetch allows"
        )
    return None


def _drop_head(settings: ConsumerSettings) -> str | None:
    arguments = settings.arguments
    if arguments.get("x-overflow", "drop-head") != "drop-head":
        return None
    for name in ("x-max-length", "x-max-length-bytes"):
        if name in arguments:
            return (
                f"{name} with the overflow drop-head: RabbitMQ may drop a message that is returned "
                "to a full queue"
            )
    return None


RULES: tuple[Rule, ...] = (
    _prefetch_size,
    _auto_ack,
    _exclusive,
    _delete,
    _expires,
    _delivery_limit,
    _single_active,
    _priority,
    _drop_head,
)
HINTS: tuple[Rule, ...] = (_no_prefetch, _small_prefetch)


def findings(settings: ConsumerSettings, place: Place) -> Iterator[Finding]:
    for rule in RULES:
        if text := rule(settings):
            yield place.warning(text)
    for text in refused_as_transient(settings):
        yield place.warning(text)
    for text in refused_arguments(settings.arguments):
        yield place.warning(text, "arguments")
    for rule in HINTS:
        if text := rule(settings):
            yield place.hint(text)
    if place.endpoint is not None and place.endpoint.concurrent_calls > 1:
        yield place.warning(
            "concurrent_calls counts as 1: more calls would take messages that no response uses"
        )
