"""Exchanges and queues that are declared more than once. Pure.

RabbitMQ refuses a declaration that differs from what exists. So of two that contradict each other
only the endpoint whose declaration comes first works.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Any, NamedTuple, TypeAlias

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

OF_EXCHANGES = ("exchange_type", "durable", "delete", "exchange_arguments")
OF_QUEUES = ("durable", "delete", "exclusive", "arguments")


class User(NamedTuple):
    """Settings that name an exchange, perhaps a queue. ``path``: of the settings."""

    brokers: tuple[str, ...]
    settings: Settings
    path: str


class Declaration(NamedTuple):
    """``what``: for people; ``values``: what RabbitMQ compares, by key. ``takes_any``: one that
    exists differently is used as it is."""

    what: str
    values: dict[str, Any]
    path: str
    takes_any: bool = False


def overall(service: Service) -> Iterator[Finding]:
    """Remarks on all endpoints and agents together."""
    users = [*_users(service)]
    seen: dict[Hashable, Declaration] = {}
    for user in users:
        for declaration in _declarations(user):
            for broker in user.brokers:
                first = seen.setdefault((broker, declaration.what), declaration)
                if first is not declaration and (found := _contradiction(first, declaration)):
                    yield found
                    break
    yield from _check_prefetch(users)


def _users(service: Service) -> Iterator[User]:
    for place, endpoint in enumerate(service.endpoints):
        path = f"$.endpoints[{place}]"
        for number, backend in enumerate(endpoint.backend):
            for namespace in (CONSUMER, PRODUCER):
                if (settings := backend.extra_config.get(namespace)) is not None:
                    where = f'{path}.backend[{number}].extra_config["{namespace}"]'
                    yield User(_brokers(backend.host), settings, where)
    for place, agent in enumerate(service.async_agent):
        path = f"$.async_agent[{place}]"
        if (settings := agent.extra_config.get(AGENT)) is not None:
            yield User(_brokers((settings.host,)), settings, f'{path}.extra_config["{AGENT}"]')
        for number, backend in enumerate(agent.backend):
            if (settings := backend.extra_config.get(PRODUCER)) is not None:
                where = f'{path}.backend[{number}].extra_config["{PRODUCER}"]'
                yield User(_brokers(backend.host), settings, where)


def _brokers(hosts: tuple[str, ...]) -> tuple[str, ...]:
    """Address and virtual host of each; what is no URL is a finding already."""
    names = []
    for host in hosts:
        try:
            names.append(parse_broker_url(host).name)
        except GatewayError:
            continue
    return tuple(names)


def _declarations(user: User) -> Iterator[Declaration]:
    settings = user.settings
    if settings.declare != "create":
        return
    if settings.exchange:
        values = {key: getattr(settings, key) for key in OF_EXCHANGES}
        yield Declaration(f'exchange "{settings.exchange}"', values, user.path)
    queue = f'queue "{settings.name}"'
    values = {key: getattr(settings, key) for key in OF_QUEUES}
    if not isinstance(settings, ProducerSettings):
        yield Declaration(queue, values, user.path)
    elif settings.name and settings.static_routing_key:
        yield Declaration(queue, {**values, "exclusive": False}, user.path, takes_any=True)


def _contradiction(first: Declaration, second: Declaration) -> Finding | None:
    if first.takes_any and second.takes_any:
        return None
    consequence = "RabbitMQ refuses the one that comes second, and its endpoint answers 503"
    if first.takes_any or second.takes_any:
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


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f'"{value}"' if isinstance(value, str) else "other arguments"


def _check_prefetch(users: list[User]) -> Iterator[Finding]:
    """Consumers that share a queue share one prefetch: the sum of theirs."""
    sums: dict[Hashable, int] = {}
    for brokers, settings, path in users:
        if isinstance(settings, ProducerSettings):
            continue
        key: Hashable = path  # agents share with nobody
        if isinstance(settings, ConsumerSettings):
            key = brokers, subscription_key(settings)
        sums[key] = sums.get(key, 0) + settings.prefetch_count
        if sums[key] > MAX_PREFETCH:
            text = (
                f"consumers of this queue ask for {sums[key]} messages in all: {MAX_PREFETCH} is "
                "used, the largest prefetch of AMQP"
            )
            yield Finding(f"{path}.prefetch_count", "warning", text)
