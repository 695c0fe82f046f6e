"""Responses of producers to each outcome, without a broker."""

from __future__ import annotations

from typing import Any, cast

import pytest

from gateway.amqp.publish.message_builder import MessageBuilder
from gateway.amqp.publish.producer import Producer
from gateway.amqp.publish.publication import Outcome, Publication
from gateway.amqp.publish.publisher import Publisher
from gateway.amqp.settings import ProducerSettings
from gateway.amqp.spans import with_publish_spans
from gateway.components.otel.meter import outcome_of
from gateway.core.bridge import AsyncioSide
from gateway.core.proxy import Branch, Part, Request, Response, nothing_to_withdraw
from gateway.telemetry.propagation import Propagation
from gateway.telemetry.spans import SpanBuffer
from gateway.telemetry.tracing import Tracer


class RecordingPublisher:
    """A publisher that keeps every publication."""

    def __init__(self) -> None:
        self.publications: list[Publication] = []

    def publish(self, publication: Publication) -> None:
        self.publications.append(publication)


class AwayPublisher(RecordingPublisher):
    """Its messages are not written. ``why_away``: why."""

    def __init__(self, *, is_ready: bool = False, why_away: str = "broker_away") -> None:
        super().__init__()
        self.is_ready = is_ready
        self.why_away = why_away

    def why_waiting(self) -> str:
        return ""

    def withdraw(self, publication: Publication) -> None: ...


class FixedMessages:
    def build(self, request: Request) -> tuple[bytes, bytes, bytes]:
        return b"key", b"\xff", b""


def build(publisher: RecordingPublisher, **settings: Any) -> Producer:
    return Producer(
        ProducerSettings(exchange="ex", **settings),
        cast(Publisher, publisher),
        cast(MessageBuilder, FixedMessages()),
        cast(AsyncioSide, Side()),
    )


class Side:
    def time(self) -> float:
        return 0


@pytest.mark.parametrize(
    ("outcome", "reason", "error_type"),
    [
        (Outcome.REFUSED, "", "nack"),
        (Outcome.REFUSED, "ACCESS_REFUSED", "refused"),
        (Outcome.UNROUTABLE, "", "unroutable"),
        (Outcome.TOO_LARGE, "", "message_too_large"),
    ],
)
def test_the_type_of_an_error_says_what_the_broker_did(
    outcome: Outcome, reason: str, error_type: str
) -> None:
    publisher, arrived = RecordingPublisher(), list[Part]()
    build(publisher).later(Request("POST", "/", {}), arrived.append)
    publisher.publications[0].reason = reason
    publisher.publications[0].settle(outcome)
    assert outcome_of(Request("POST", "/", {}), arrived[0]).error_type == error_type


@pytest.mark.parametrize(
    ("is_ready", "why_away", "is_written", "error_type"),
    [
        (False, "broker_away", False, "broker_away"),
        (False, "not_declared", False, "not_declared"),
        (True, "", False, "blocked"),
        (True, "", True, "unconfirmed"),
    ],
)
def test_the_type_of_an_error_says_why_there_is_no_confirm(
    is_ready: bool, why_away: str, is_written: bool, error_type: str
) -> None:
    publisher = AwayPublisher(is_ready=is_ready, why_away=why_away)
    withdraw = build(publisher).later(Request("POST", "/", {}), lambda part: None)
    publisher.publications[0].is_written = is_written
    error = withdraw()
    assert error is not None
    assert outcome_of(Request("POST", "/", {}), error).error_type == error_type


def test_a_receipt_names_a_message_id_that_is_not_utf_8() -> None:
    """An agent's message keeps the one that it came with."""
    publisher, arrived = RecordingPublisher(), list[Part]()
    producer = build(publisher, response="receipt")
    withdraw: Any = producer.later(Request("POST", "/", {}), arrived.append)
    publisher.publications[0].settle(Outcome.CONFIRMED)
    (answer,) = arrived
    assert isinstance(answer, Response)
    assert answer.data == {"message_id": "\ufffd", "exchange": "ex", "routing_key": "key"}
    assert withdraw() is None


def traced_withdrawal(*, is_written: bool) -> Any:
    """The span of a publish that is not confirmed before the deadline."""
    publisher, buffer = AwayPublisher(why_away="broker_away"), SpanBuffer()
    tracer = Tracer(Propagation(), [buffer])
    producer = build(publisher)
    settings = ProducerSettings(exchange="", routing_key="q", static_routing_key=True)
    branch = with_publish_spans(Branch(later=producer.later), settings, "amqp://h:1", tracer)
    request = Request("POST", "/", {})
    request.trace = tracer.start()
    assert branch.later is not None
    withdraw = branch.later(request, list[Part]().append)
    publisher.publications[0].is_written = is_written
    withdraw()
    (span,) = buffer.take(2)
    return span


@pytest.mark.parametrize(
    ("is_written", "error_type"), [(True, "unconfirmed"), (False, "broker_away")]
)
def test_the_span_of_a_message_that_is_not_confirmed_says_why(
    is_written: bool, error_type: str
) -> None:
    span = traced_withdrawal(is_written=is_written)
    assert span.name == "publish q"
    assert (span.attributes["error.type"], bool(span.error)) == (error_type, True)
    assert (span.attributes["server.address"], span.attributes["server.port"]) == ("h", 1)


@pytest.mark.parametrize(
    ("exchange", "key", "is_static", "name"),
    [
        ("", "", True, "amq.default"),
        ("ex", "", True, "ex"),
        ("", "q", True, "q"),
        ("ex", "q", True, "ex:q"),
        ("ex", "id", False, "ex:{id}"),
        ("ex", "{query.x}", False, "ex:{query.x}"),
    ],
)
def test_a_span_is_named_for_its_destination(
    exchange: str, key: str, is_static: bool, name: str
) -> None:
    """Not for a routing key that a request chooses: there are too many."""
    tracer = Tracer(Propagation(), [SpanBuffer()])
    settings = ProducerSettings(exchange=exchange, routing_key=key, static_routing_key=is_static)
    seen = list[Any]()

    def later(request: Request, arrive: Any) -> Any:
        seen.append(request.trace)
        return nothing_to_withdraw

    branch = with_publish_spans(Branch(later=later), settings, "amqp://h", tracer)
    request = Request("POST", "/", {})
    request.trace = tracer.start()
    assert branch.later is not None
    branch.later(request, list[Part]().append)
    assert seen[0].span.name == f"publish {name}"
    assert seen[0].span.attributes["messaging.destination.name"] == name


def test_without_spans_a_branch_is_not_wrapped() -> None:
    branch = Branch(later=lambda request, arrive: nothing_to_withdraw)
    settings = ProducerSettings(exchange="ex")
    for tracer in (None, Tracer(Propagation())):
        assert with_publish_spans(branch, settings, "amqp://h", tracer) is branch
