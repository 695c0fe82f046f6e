"""Findings of ``check`` about exchanges and queues that are declared more than once. Pure.

RabbitMQ refuses a declaration that differs from the existing exchange or queue. So when two
declarations differ, only the endpoint that declares first works.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import NamedTuple, TypeAlias

from ..config.findings import Finding
from ..config.structs import Service
from ..errors import GatewayError
from .connection.urls import parse_broker_url
from .consume.subscription import subscription_key
from .settings import (
    AGENT,
    CONSUMER,
    MAX_PREFETCH,
    PRODUCER,
    AgentSettings,
    ConsumerSettings,
    ProducerSettings,
)

Settings: TypeAlias = ConsumerSettings | ProducerSettings | AgentSettings

EXCHANGE_KEYS = ("exchange_type", "durable", "delete", "exchange_arguments")
QUEUE_KEYS = ("durable", "delete", "exclusive", "arguments")


class DeclaringSettings(NamedTuple):
    """Settings that declare an exchange or a queue, or both. ``brokers``: their names. ``path``: of
    the settings."""

    brokers: tuple[str, ...]
    settings: Settings
    path: str


class Declaration(NamedTuple):
    """``what``: the exchange or the queue, for messages. ``values``: what RabbitMQ compares, by
    key. ``accepts_existing``: an existing one is used whatever its values are."""

    what: str
    values: dict[str, object]
    path: str
    accepts_existing: bool = False


def overall(service: Service) -> Iterator[Finding]:
    """Findings about all endpoints and agents together."""
    declaring = [*_declaring(service)]
    seen: dict[Hashable, Declaration] = {}
    for each in declaring:
        for declaration in _declarations(each):
            for broker in each.brokers:
                first = seen.setdefault((broker, declaration.what), declaration)
                if first is not declaration and (found := _contradiction(first, declaration)):
                    yield found
                    break
    yield from _check_prefetch(declaring)


def _declaring(service: Service) -> Iterator[DeclaringSettings]:
    for place, endpoint in enumerate(service.endpoints):
        path = f"$.endpoints[{place}]"
        for number, backend in enumerate(endpoint.backend):
            for namespace in (CONSUMER, PRODUCER):
                if (settings := backend.extra_config.get(namespace)) is not None:
                    where = f'{path}.backend[{number}].extra_config["{namespace}"]'
                    yield DeclaringSettings(_brokers(backend.host), settings, where)
    for place, agent in enumerate(service.async_agent):
        path = f"$.async_agent[{place}]"
        if (settings := agent.extra_config.get(AGENT)) is not None:
            yield DeclaringSettings(
                _brokers((settings.host,)), settings, f'{path}.extra_config["{AGENT}"]'
            )
        for number, backend in enumerate(agent.backend):
            if (settings := backend.extra_config.get(PRODUCER)) is not None:
                where = f'{path}.backend[{number}].extra_config["{PRODUCER}"]'
                yield DeclaringSettings(_brokers(backend.host), settings, where)


def _brokers(hosts: tuple[str, ...]) -> tuple[str, ...]:
    """Address and virtual host of each host. A malformed URL is reported elsewhere."""
    names = []
    for host in hosts:
        try:
            names.append(parse_broker_url(host).name)
        except GatewayError:
            continue
    return tuple(names)


def _declarations(each: DeclaringSettings) -> Iterator[Declaration]:
    settings = each.settings
    if settings.declare != "create":
        return
    if settings.exchange:
        values = {key: getattr(settings, key) for key in EXCHANGE_KEYS}
        yield Declaration(f'exchange "{settings.exchange}"', values, each.path)
    queue = f'queue "{settings.name}"'
    values = {key: getattr(settings, key) for key in QUEUE_KEYS}
    if not isinstance(settings, ProducerSettings):
        yield Declaration(queue, values, each.path)
    elif settings.name and settings.static_routing_key:
        yield Declaration(queue, {**values, "exclusive": False}, each.path, accepts_existing=True)


def _contradiction(first: Declaration, second: Declaration) -> Finding | None:
    if first.accepts_existing and second.accepts_existing:
        return None
    consequence = "RabbitMQ refuses the second declaration, and its endpoint responds with 503"
    if first.accepts_existing or second.accepts_existing:
        consequence = "when the producer creates the queue first, RabbitMQ refuses the consumer"
    for key, value in second.values.items():
        before = first.values[key]
        if value != before:
            text = (
                f"{second.what} is declared with {key} {_shown(value)} here and with "
                f"{_shown(before)} at {first.path}: {consequence}"
            )
            return Finding(f"{second.path}.{key}", "warning", text)
    return None


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f'"{value}"' if isinstance(value, str) else "other arguments"


def _check_prefetch(declaring: list[DeclaringSettings]) -> Iterator[Finding]:
    """Consumers that share a queue have one prefetch in common: the sum of theirs."""
    sums: dict[Hashable, int] = {}
    for brokers, settings, path in declaring:
        if isinstance(settings, ProducerSettings):
            continue
        key: Hashable = path  # an agent shares its prefetch with no other consumer
        if isinstance(settings, ConsumerSettings):
            key = brokers, subscription_key(settings)
        sums[key] = sums.get(key, 0) + settings.prefetch_count
        if sums[key] > MAX_PREFETCH:
            text = (
                f"the prefetch of the consumers of this queue is {sums[key]} in total: "
                f"{MAX_PREFETCH} is used, the largest prefetch of AMQP"
            )
            yield Finding(f"{path}.prefetch_count", "warning", text)
