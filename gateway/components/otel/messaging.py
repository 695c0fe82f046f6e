"""Metrics of queues and exchanges, by the semantic conventions of OpenTelemetry for messaging.

They are series of the meters of backends and agents (``meter.py``), so a message costs nothing in
addition. Names: https://opentelemetry.io/docs/specs/semconv/messaging/messaging-metrics/ (1.44,
status "Development").
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from ...amqp.connection.urls import parse_broker_url
from ...amqp.settings import (
    AGENT,
    DEFAULT_EXCHANGE,
    AgentSettings,
    ConsumerSettings,
    ProducerSettings,
)
from ...config.structs import AgentPipe, Backend, Endpoint
from ...core.component import Catalog
from ...telemetry.metrics import Family, Registry
from .meter import CallOutcome, OutcomeSeries

NO_ERRORS = frozenset(("", "queue_empty"))
"""Outcomes without ``error.type``: an empty queue is no error."""

WITH_MESSAGE = frozenset(("", "undecodable", "invalid_response"))
"""Outcomes of a receive in which the request has taken a message."""

SENT = frozenset(("", "message_too_large", "nack", "refused", "unconfirmed", "unroutable"))
"""Outcomes of a publish in which the message was certainly written to the broker."""

Filter = Callable[[str], bool]
"""Whether an outcome with this type of error counts."""


class MessagingFamilies:
    """The families, and which series of them a backend or an agent has."""

    def __init__(self, registry: Registry, bounds: Sequence[float], catalog: Catalog) -> None:
        self._catalog = catalog
        self._durations = registry.family(
            Family(
                "messaging.client.operation.duration",
                "histogram",
                unit="s",
                help="Publish: until the broker has confirmed the message. Receive: until the "
                "request has a message, or knows that there is none.",
                bounds=bounds,
            )
        )
        self._processing = registry.family(
            Family(
                "messaging.process.duration",
                "histogram",
                unit="s",
                help="Each try of an agent to process a message.",
                bounds=bounds,
            )
        )
        self._sent = registry.family(
            Family(
                "messaging.client.sent.messages",
                "counter",
                help="Messages that were sent to the broker.",
            )
        )
        self._consumed = registry.family(
            Family(
                "messaging.client.consumed.messages",
                "counter",
                help="Messages that a request or an agent has taken; each try of an agent counts.",
            )
        )

    def of_backend(self, backend: Backend) -> Iterator[OutcomeSeries]:
        """The series of a consumer or a producer."""
        settings = self._source(backend)
        if isinstance(settings, ConsumerSettings):
            labels = _labels("receive", "receive", settings.name, backend.host[0])
            yield OutcomeSeries(self._durations, _counted(labels))
            yield OutcomeSeries(self._consumed, _counted(labels, WITH_MESSAGE.__contains__))
        elif isinstance(settings, ProducerSettings):
            labels = _labels("publish", "send", settings.exchange, backend.host[0])
            yield OutcomeSeries(self._durations, _counted(labels))
            yield OutcomeSeries(self._sent, _counted(labels, SENT.__contains__))

    def of_agent(self, endpoint: Endpoint) -> Iterator[OutcomeSeries]:
        """The series of an agent, which ``endpoint`` is made of; none of an endpoint with a
        route."""
        settings = endpoint.extra_config.get(AGENT)
        if isinstance(endpoint, AgentPipe) and isinstance(settings, AgentSettings):
            labels = _labels("process", "process", settings.name, settings.host)
            yield OutcomeSeries(self._processing, _counted(labels))
            yield OutcomeSeries(self._consumed, lambda outcome: labels)

    def _source(self, backend: Backend) -> object:
        """The settings of the component that is the backend; None: the default one, HTTP."""
        for row in self._catalog.rows_of(backend):
            if row.backend is not None and not row.is_default:
                return backend.extra_config[row.namespace]
        return None


def _labels(operation: str, kind: str, destination: str, host: str) -> dict[str, str]:
    """``destination``: a queue, or an exchange. ``host``: the URL of the first broker."""
    url = parse_broker_url(host).aiormq
    return {
        "messaging.destination.name": destination or DEFAULT_EXCHANGE,
        "messaging.operation.name": operation,
        "messaging.operation.type": kind,
        "messaging.system": "rabbitmq",
        "server.address": url.host or "",
        "server.port": str(url.port),
    }


def _counted(
    labels: Mapping[str, str], counts: Filter = lambda error_type: True
) -> Callable[[CallOutcome], Mapping[str, str] | None]:
    """The labels of an outcome: with ``error.type`` if it is an error. None: it does not count."""

    def name(outcome: CallOutcome) -> Mapping[str, str] | None:
        error_type = outcome.error_type
        if not counts(error_type):
            return None
        return labels if error_type in NO_ERRORS else {**labels, "error.type": error_type}

    return name
