"""Traps that need meaning to be seen: what is right by its type and wrong in practice. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .amqp.settings import CONSUMER_OURS, DEFAULT_PREFETCH, ConsumerSettings
from .check_proxy import check_proxy
from .config.findings import Finding
from .config.structs import Backend, Endpoint, Service

CONSUMER = "backend/amqp/consumer"
SMALL_PREFETCH = 100

Rule = Callable[[ConsumerSettings], str | None]


def _prefetch_size(settings: ConsumerSettings) -> str | None:
    if settings.prefetch_size:
        return "prefetch_size is ignored: RabbitMQ closes the connection of who sends it (540)"
    return None


def _no_prefetch(settings: ConsumerSettings) -> str | None:
    if settings.prefetch_count <= 0:
        return f"no prefetch_count: {DEFAULT_PREFETCH} is used (KrakenD: the whole queue)"
    return None


def _small_prefetch(settings: ConsumerSettings) -> str | None:
    if 0 < settings.prefetch_count < SMALL_PREFETCH:
        return (
            f"prefetch_count {settings.prefetch_count} is small: under load RabbitMQ pauses for "
            "tens of milliseconds, and a buffer of 500 hides that"
        )
    return None


def _auto_ack(settings: ConsumerSettings) -> str | None:
    if settings.auto_ack:
        return "auto_ack: at most once; a client that goes away takes its message with it"
    return None


def _exclusive(settings: ConsumerSettings) -> str | None:
    if settings.exclusive:
        return "exclusive: the queue dies with its connection, and what is in it"
    return None


def _delete(settings: ConsumerSettings) -> str | None:
    if settings.delete and not settings.exclusive:
        return "delete: the queue dies with its last consumer, and what is in it"
    return None


def _not_durable(settings: ConsumerSettings) -> str | None:
    if not settings.durable and not settings.exclusive and settings.declare == "create":
        return "not durable: the queue is gone after a restart of the broker"
    return None


def _delivery_limit(settings: ConsumerSettings) -> str | None:
    is_quorum = settings.arguments.get("x-queue-type") == "quorum"
    if is_quorum and "x-delivery-limit" in settings.arguments:
        return (
            "x-delivery-limit: every message that only waited in a buffer counts as delivered "
            "when its connection closes; restarts can use the limit up"
        )
    return None


CONSUMER_RULES: tuple[Rule, ...] = (
    _prefetch_size,
    _no_prefetch,
    _small_prefetch,
    _auto_ack,
    _exclusive,
    _delete,
    _not_durable,
    _delivery_limit,
)


def check(service: Service) -> Iterator[Finding]:
    """Remarks on a configuration that was loaded without errors."""
    for place, endpoint in enumerate(service.endpoints):
        path = f"$.endpoints[{place}]"
        yield from _check_endpoint(endpoint, path)
        yield from check_proxy(endpoint, path)
        for number, backend in enumerate(endpoint.backend):
            yield from _check_backend(backend, f"{path}.backend[{number}]")


def _check_endpoint(endpoint: Endpoint, path: str) -> Iterator[Finding]:
    consumers = [backend for backend in endpoint.backend if CONSUMER in backend.extra_config]
    if consumers and endpoint.concurrent_calls > 1:
        text = "concurrent_calls on a consumer counts as 1: more would take messages for nothing"
        yield Finding(f"{path}.concurrent_calls", "warning", text)


def _check_backend(backend: Backend, path: str) -> Iterator[Finding]:
    settings = backend.extra_config.get(CONSUMER)
    if not isinstance(settings, ConsumerSettings):
        return
    where = f'{path}.extra_config["{CONSUMER}"]'
    for rule in CONSUMER_RULES:
        if text := rule(settings):
            yield Finding(where, "warning", text)
    defaults = ConsumerSettings(name="")
    ours = [key for key in CONSUMER_OURS if getattr(settings, key) != getattr(defaults, key)]
    if ours:
        text = f"only this gateway knows: {', '.join(sorted(ours))}"
        yield Finding(where, "warning", text)
