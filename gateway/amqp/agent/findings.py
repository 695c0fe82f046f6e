"""Warnings of ``check`` about ``async_agent`` with ``async/amqp``. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from ...config.findings import Finding
from ...core.component import Place
from ..hosts import host_findings
from ..refused_by_version import refused_arguments, refused_as_transient
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
    prefetch = settings.prefetch(agent.consumer.workers)
    if settings.prefetch_count > prefetch:
        yield place.hint(
            f"prefetch_count {settings.prefetch_count}: {prefetch} is used, twice `workers`"
        )
    is_bound = settings.exchange and settings.declare == "create"
    if is_bound and not agent.consumer.topic and settings.exchange_type in ("direct", "topic"):
        text = "no topic: the queue receives only messages with an empty routing key"
        if settings.exchange_type == "topic":
            text += '; the topic "#" matches every routing key'
        yield Finding(f"{place.part}.consumer.topic", "warning", text)
    for number, backend in enumerate(agent.backend):
        is_http = PRODUCER not in backend.extra_config
        if is_http and backend.method == "GET":
            text = (
                "GET, the default as in KrakenD, sends the message as the body of a GET request: "
                "most services expect POST"
            )
            yield Finding(f"{place.part}.backend[{number}].method", "warning", text)
        if CONSUMER in backend.extra_config:
            text = (
                "a consumer as the backend of an agent takes one more message for each message of "
                "the agent"
            )
            yield Finding(f"{place.part}.backend[{number}]", "warning", text)


def _of_settings(settings: AgentSettings) -> Iterator[str]:
    if settings.prefetch_size:
        yield "prefetch_size is ignored: RabbitMQ would close the connection (540, not implemented)"
    if settings.auto_ack:
        yield "auto_ack: at most once: when its backends fail, a message is lost"
    if settings.nack_discard and settings.dead_letter is None:
        yield (
            "nack_discard: RabbitMQ drops a message after the first failure of its backends, "
            "unless the queue has a dead-letter exchange"
        )
    if settings.max_redeliveries and settings.dead_letter is None:
        yield (
            "max_redeliveries: after these tries RabbitMQ drops the message, unless the queue has "
            "a dead-letter exchange"
        )
    if settings.delete or settings.exclusive:
        yield "delete or exclusive: RabbitMQ deletes the queue and its messages after its consumer"
    yield from refused_as_transient(settings)
    yield from refused_arguments(settings.arguments)
