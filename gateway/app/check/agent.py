"""Traps of ``async_agent`` and ``async/amqp``. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from ...amqp.settings import AgentSettings
from ...amqp.verify import verify_name
from ...config.findings import Finding
from ...config.structs import Agent
from .hosts import check_broker

NAMESPACE = "async/amqp"


def check_agent(agent: Agent, path: str) -> Iterator[Finding]:
    """Remarks on one agent; ``path``: of the agent."""
    settings = agent.extra_config.get(NAMESPACE)
    if not isinstance(settings, AgentSettings):
        return
    where = f'{path}.extra_config["{NAMESPACE}"]'
    for key, text in verify_name("topic", agent.consumer.topic):
        yield Finding(f"{path}.consumer.{key}", "error", text)
    yield from check_broker(settings.host, f"{where}.host")
    for text in _of_settings(settings):
        yield Finding(where, "warning", text)
    is_bound = settings.exchange and settings.declare == "create"
    if is_bound and not agent.consumer.topic and settings.exchange_type in ("direct", "topic"):
        text = "no topic: the queue gets only messages whose routing key is empty"
        if settings.exchange_type == "topic":
            text += '; "#" stands for every routing key'
        yield Finding(f"{path}.consumer.topic", "warning", text)
    for number, backend in enumerate(agent.backend):
        is_http = "backend/amqp/producer" not in backend.extra_config
        if is_http and backend.method == "GET":
            text = "GET, as in KrakenD, carries the message as a body: POST is what services expect"
            yield Finding(f"{path}.backend[{number}].method", "warning", text)
        if "backend/amqp/consumer" in backend.extra_config:
            text = "a consumer in an agent takes a message of its own for each one it gets"
            yield Finding(f"{path}.backend[{number}]", "warning", text)


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
