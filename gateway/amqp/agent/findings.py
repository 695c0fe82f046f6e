"""Traps of ``async_agent`` and ``async/amqp``. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from ...config.findings import Finding
from ...core.component import Place
from ..hosts import host_findings
from ..settings import CONSUMER, PRODUCER, AgentSettings
from ..verify import verify_name


def findings(settings: AgentSettings, place: Place) -> Iterator[Finding]:
    agent = place.agent
    if agent is None:
        return
    for key, text in verify_name("topic", agent.consumer.topic):
        yield Finding(f"{place.part}.consumer.{key}", "error", text)
    yield from host_findings(settings.host, f"{place.path}.host")
    for text in _of_settings(settings):
        yield place.warning(text)
    is_bound = settings.exchange and settings.declare == "create"
    if is_bound and not agent.consumer.topic and settings.exchange_type in ("direct", "topic"):
        text = "no topic: the queue gets only messages whose routing key is empty"
        if settings.exchange_type == "topic":
            text += '; "#" stands for every routing key'
        yield Finding(f"{place.part}.consumer.topic", "warning", text)
    for number, backend in enumerate(agent.backend):
        is_http = PRODUCER not in backend.extra_config
        if is_http and backend.method == "GET":
            text = "GET, as in KrakenD, carries the message as a body: POST is what services expect"
            yield Finding(f"{place.part}.backend[{number}].method", "warning", text)
        if CONSUMER in backend.extra_config:
            text = "a consumer in an agent takes a message of its own for each one it gets"
            yield Finding(f"{place.part}.backend[{number}]", "warning", text)


def _of_settings(settings: AgentSettings) -> Iterator[str]:
    if settings.prefetch_size:
        yield "prefetch_size is ignored: RabbitMQ closes the connection of who sends it (540)"
    if settings.auto_ack:
        yield "auto_ack: at most once; a message whose backends fail is gone"
    if settings.nack_discard and settings.dead_letter is None:
        yield (
            "nack_discard: a message whose backends fail once is dropped, unless its queue has a "
            "dead-letter exchange"
        )
    if settings.max_redeliveries and settings.dead_letter is None:
        yield (
            "max_redeliveries: then a message is dropped, unless its queue has a dead-letter "
            "exchange"
        )
    if settings.delete or settings.exclusive:
        yield "delete or exclusive: the queue dies with its consumer, and what is in it"
    if not settings.durable and not settings.exclusive and settings.declare == "create":
        yield "not durable: the queue is gone after a restart of the broker"
