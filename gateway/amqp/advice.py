"""Rules of ``audit`` about brokers, consumers and producers. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from urllib.parse import SplitResult, urlsplit

from msgspec import Struct

from ..config.structs import Backend, Endpoint, Service
from ..core.families import (
    AuthenticationSettings,
    RateLimitSettings,
    ValidationSettings,
    settings_of,
)
from ..core.rule import FindPlaces, Rule, backends, endpoints, is_http, is_local
from .settings import AGENT, AgentSettings, ConsumerSettings, ProducerSettings


def _brokers(service: Service) -> Iterator[tuple[SplitResult, str]]:
    """The URL of each broker, and its path in the configuration."""
    for place in backends(service):
        if not is_http(place.backend):
            for number, host in enumerate(place.backend.host):
                yield urlsplit(host), f"{place.path}.host[{number}]"
    for number, agent in enumerate(service.async_agent):
        settings = settings_of(agent, AgentSettings)
        if settings is not None and settings.host:
            yield urlsplit(settings.host), f'$.async_agent[{number}].extra_config["{AGENT}"].host'


def _brokers_where(condition: Callable[[SplitResult], object]) -> FindPlaces:
    return lambda service: (path for url, path in _brokers(service) if condition(url))


def _is_guest(url: SplitResult) -> bool:
    """A URL without a login means ``guest``, too."""
    return (url.username or "guest") == "guest" and (url.password or "guest") == "guest"


def _endpoints_with(service: Service, source: type[Struct]) -> Iterator[tuple[Endpoint, str]]:
    """Endpoints that have a backend of this kind, and their paths."""
    for endpoint, path in endpoints(service):
        if any(settings_of(backend, source) is not None for backend in endpoint.backend):
            yield endpoint, path


def _without(source: type[Struct], family: type[Struct]) -> FindPlaces:
    """Paths of endpoints with a backend of this kind and nothing of ``family`` on any level."""

    def places(service: Service) -> Iterator[str]:
        for endpoint, path in _endpoints_with(service, source):
            levels: list[Service | Endpoint | Backend] = [service, endpoint, *endpoint.backend]
            if all(settings_of(level, family) is None for level in levels):
                yield path

    return places


def _unauthenticated(source: type[Struct]) -> FindPlaces:
    """Paths of endpoints with a backend of this kind that require neither credentials nor a client
    certificate. API keys and users at the root alone protect nothing: an endpoint has to require
    them.
    """

    def places(service: Service) -> Iterator[str]:
        if service.tls is not None and service.tls.enable_mtls and not service.tls.disabled:
            return
        for endpoint, path in _endpoints_with(service, source):
            if settings_of(endpoint, AuthenticationSettings) is None:
                yield path

    return places


def _keys_chosen_by_clients(service: Service) -> Iterator[str]:
    for place in backends(service):
        settings = settings_of(place.backend, ProducerSettings)
        if settings is None or settings.static_routing_key:
            continue
        if settings.routing_key not in ("", "#"):
            yield place.path


def _at_most_once(service: Service) -> Iterator[str]:
    for place in backends(service):
        consumer = settings_of(place.backend, ConsumerSettings)
        if consumer is not None and consumer.auto_ack:
            yield place.path
    for number, agent in enumerate(service.async_agent):
        settings = settings_of(agent, AgentSettings)
        if settings is not None and settings.auto_ack:
            yield f"$.async_agent[{number}]"


def _not_mandatory(service: Service) -> Iterator[str]:
    for place in backends(service):
        settings = settings_of(place.backend, ProducerSettings)
        if settings is not None and not settings.mandatory:
            yield place.path


ON_BROKERS = (
    Rule(
        "8.1.1",
        "CRITICAL",
        "Create a user for the gateway: the password of guest is public knowledge.",
        _brokers_where(lambda url: _is_guest(url) and not is_local(url.hostname)),
    ),
    Rule(
        "8.1.2",
        "HIGH",
        "Use TLS for brokers on other machines (amqps://).",
        _brokers_where(lambda url: url.scheme == "amqp" and not is_local(url.hostname)),
    ),
    Rule(
        "8.1.3",
        "LOW",
        "Create a user for the gateway also where the broker is on this machine (now: guest).",
        _brokers_where(lambda url: _is_guest(url) and is_local(url.hostname)),
    ),
)
ON_CONSUMERS = (
    Rule(
        "8.2.2",
        "HIGH",
        "Authenticate clients of endpoints with a consumer: each request removes a message.",
        _unauthenticated(ConsumerSettings),
    ),
    Rule(
        "8.3.1",
        "MEDIUM",
        "auto_ack loses messages of clients that disconnect early.",
        _at_most_once,
    ),
)
ON_PRODUCERS = (
    Rule(
        "8.2.1",
        "HIGH",
        "Authenticate clients of endpoints with a producer: each request publishes a message.",
        _unauthenticated(ProducerSettings),
    ),
    Rule(
        "8.2.3",
        "HIGH",
        "Limit the rate of publishing (qos/ratelimit): by default a queue has no bound.",
        _without(ProducerSettings, RateLimitSettings),
    ),
    Rule(
        "8.2.4",
        "LOW",
        "Validate what is published (validation/json-schema, validation/cel).",
        _without(ProducerSettings, ValidationSettings),
    ),
    Rule(
        "8.2.5",
        "MEDIUM",
        "Clients choose the routing key: make it static, or check which queues it can reach.",
        _keys_chosen_by_clients,
    ),
    Rule(
        "8.3.2",
        "LOW",
        "Without mandatory a message that is routed to no queue is lost, and the response is 200.",
        _not_mandatory,
    ),
)
