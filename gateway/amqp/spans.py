"""Spans of messages, by the semantic conventions of OpenTelemetry for RabbitMQ.

https://opentelemetry.io/docs/specs/semconv/messaging/rabbitmq/ (1.44, status "Development")

- ``publish``: from the request to the confirm. Its context is in the message.
- ``receive``: from the request until it has a message, or knows that there is none. The context of
  the message is a link: the parent is the span of the backend.
- ``process``: one try of an agent. The context of the message is the parent, and a link.

Settling a message makes no span: the gateway settles many at once.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..core.proxy import Branch, Part, Pipe, Request, Response
from ..core.traced_parts import BeginSpan, traced_parts
from ..errors import DeadlineExceeded, GatewayError, QueueEmpty, Undecodable
from ..telemetry.propagation import NOTHING, Incoming, Propagation
from ..telemetry.spans import Attributes, Span, SpanKind
from ..telemetry.tracing import Trace, Tracer
from .agent.requests import OriginalMessage
from .connection.urls import parse_broker_url
from .consume.delivery import Delivery
from .settings import DEFAULT_EXCHANGE, AgentSettings, ConsumerSettings, ProducerSettings
from .wire.message import decode_route
from .wire.properties import (
    CORRELATION_ID,
    MESSAGE_ID,
    MalformedError,
    Properties,
    split_properties,
    text_headers,
    text_of,
)

DESTINATION = "messaging.destination.name"
ROUTING_KEY = "messaging.rabbitmq.destination.routing_key"
DELIVERY_TAG = "messaging.rabbitmq.message.delivery_tag"
MESSAGE = "messaging.message.id"
CONVERSATION = "messaging.message.conversation_id"
ERROR_TYPE = "error.type"

BACKEND_FAILED = "backend_failed"
"""The type of the error of a try of an agent to which a backend did not contribute."""
CANCELED = "canceled"
"""The type of the error when the client has disconnected."""

WILDCARDS = frozenset("*#")


# Publish.


def with_publish_spans(
    branch: Branch, settings: ProducerSettings, host: str, tracer: Tracer | None
) -> Branch:
    """The branch of a producer. :func:`describe_published` completes its spans."""
    if tracer is None or not tracer.records:
        return branch
    key = settings.routing_key
    if not settings.static_routing_key and key:
        key = f"{{{key.strip('{}')}}}"  # a name has no values of requests: there are too many
    destination = _joined(settings.exchange, key) or DEFAULT_EXCHANGE
    attributes = _attributes("publish", "send", destination, host)
    begin = _begin(f"publish {destination}", SpanKind.PRODUCER, attributes)
    return traced_parts(branch, begin, _end)


def describe_published(
    span: Span, exchange: str, routing_key: bytes, message_id: bytes, correlation_id: bytes
) -> None:
    """Add what is known when the message is made."""
    key = routing_key.decode(errors="replace")
    span.attributes[DESTINATION] = _joined(exchange, key) or DEFAULT_EXCHANGE
    span.attributes[MESSAGE] = message_id.decode(errors="replace")
    if key:
        span.attributes[ROUTING_KEY] = key
    if correlation_id:
        span.attributes[CONVERSATION] = correlation_id.decode(errors="replace")


# Receive.


def with_receive_spans(
    branch: Branch, settings: ConsumerSettings, host: str, tracer: Tracer | None
) -> Branch:
    """The branch of a consumer."""
    if tracer is None or not tracer.records:
        return branch
    propagation, queue = tracer.propagation, settings.name
    destination = _destination(settings.exchange, settings.routing_key, queue)
    attributes = _attributes("receive", "receive", destination, host)
    begin = _begin(f"receive {destination}", SpanKind.CLIENT, attributes)

    def end(request: Request, trace: Trace, part: Part | None) -> None:
        delivery = _delivery_of(part)
        if trace.span is not None and delivery is not None:
            properties = _split(delivery.properties)
            _describe(trace.span, queue, delivery.route, properties, delivery.tag)
            parent = extract(properties, propagation).parent
            if parent is not None:
                trace.span.links.append(parent)
        if isinstance(part, QueueEmpty):
            trace.end()
        else:
            _end(request, trace, part)

    return traced_parts(branch, begin, end)


def _delivery_of(part: Part | None) -> Delivery | None:
    """The message that a consumer has taken."""
    taken: object = None
    if isinstance(part, Response):
        taken = next(iter(part.messages), None)
    elif isinstance(part, Undecodable):
        taken = part.message
    return taken if isinstance(taken, Delivery) else None


# Process.


def with_process_spans(
    pipe: Pipe, settings: AgentSettings, topic: str, tracer: Tracer | None
) -> Pipe:
    """The pipe of an agent. The ``origin`` of its requests is an :class:`OriginalMessage`."""
    if tracer is None or not tracer.records:
        return pipe
    queue = settings.name
    destination = _destination(settings.exchange, (topic,), queue)
    attributes = _attributes("process", "process", destination, settings.host)

    def begin(request: Request, trace: Trace) -> Trace:
        origin: OriginalMessage = request.origin
        parent = origin.incoming.parent
        links = () if parent is None else (parent,)
        child = trace.child(f"process {destination}", SpanKind.CONSUMER, attributes, links)
        if child.span is not None:
            _describe(child.span, queue, origin.route, _split(origin.properties), origin.tag)
        return child

    return traced_parts(pipe, begin, _end)


# All of them.


def extract(properties: Properties, propagation: Propagation) -> Incoming:
    """The trace context in the headers of a message."""
    try:
        return propagation.extract(text_headers(properties, propagation.names))
    except MalformedError:
        return NOTHING


def _split(properties: bytes) -> Properties:
    """Without any, if they are malformed."""
    try:
        return split_properties(properties)
    except MalformedError:
        return {}


def _attributes(operation: str, kind: str, destination: str, host: str) -> Attributes:
    """``host``: the URL of the first broker."""
    url = parse_broker_url(host).aiormq
    return {
        "messaging.system": "rabbitmq",
        "messaging.operation.name": operation,
        "messaging.operation.type": kind,
        DESTINATION: destination,
        "server.address": url.host or "",
        "server.port": url.port or 0,
    }


def _destination(exchange: str, keys: Sequence[str], queue: str) -> str:
    """The destination of a consumer, as far as its settings say it: a binding with several keys,
    or with wildcards, leaves the routing key open."""
    key = keys[0] if len(keys) == 1 and not WILDCARDS & {*keys[0].split(".")} else ""
    return _joined(*dict.fromkeys((exchange, key, queue)))


def _joined(*parts: str) -> str:
    return ":".join(filter(None, parts))


def _describe(span: Span, queue: str, route: bytes, properties: Properties, tag: int) -> None:
    """Add what is known of a message that was taken."""
    exchange, key = decode_route(route)
    attributes = span.attributes
    attributes[DESTINATION] = _joined(*dict.fromkeys((exchange, key, queue)))
    attributes[DELIVERY_TAG] = tag
    if key:
        attributes[ROUTING_KEY] = key
    if message_id := text_of(properties, MESSAGE_ID):
        attributes[MESSAGE] = message_id
    if correlation_id := text_of(properties, CORRELATION_ID):
        attributes[CONVERSATION] = correlation_id


def _begin(name: str, kind: SpanKind, attributes: Attributes) -> BeginSpan:
    return lambda request, trace: trace.child(name, kind, attributes)


def _end(request: Request, trace: Trace, part: Part | None) -> None:
    """``part``: None if the request has ended without one."""
    if isinstance(part, GatewayError):
        _fail(trace, part.name_of_type, str(part))
    elif part is None and request.client.is_gone:
        _fail(trace, CANCELED, None)
    elif part is None:
        _fail(trace, DeadlineExceeded.error_type, "")
    elif part.has_failures:
        _fail(trace, BACKEND_FAILED, "")
    else:
        trace.end()


def _fail(trace: Trace, error_type: str, error: str | None) -> None:
    """``error``: None if it is no error of the gateway or of a backend."""
    if trace.span is not None:
        trace.span.attributes[ERROR_TYPE] = error_type
    trace.end(error)
