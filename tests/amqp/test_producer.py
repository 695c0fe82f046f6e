"""Responses of producers to each outcome, without a broker."""

from __future__ import annotations

from typing import Any, cast

from gateway.amqp.publish.message_builder import MessageBuilder
from gateway.amqp.publish.producer import Producer
from gateway.amqp.publish.publication import Outcome, Publication
from gateway.amqp.publish.publisher import Publisher
from gateway.amqp.settings import ProducerSettings
from gateway.core.bridge import AsyncioSide
from gateway.core.proxy import Part, Request, Response


class RecordingPublisher:
    """A publisher that keeps every publication."""

    def __init__(self) -> None:
        self.publications: list[Publication] = []

    def publish(self, publication: Publication) -> None:
        self.publications.append(publication)


class FixedMessages:
    def build(self, request: Request) -> tuple[bytes, bytes, bytes]:
        return b"key", b"\xff", b""


def test_a_receipt_names_a_message_id_that_is_not_utf_8() -> None:
    """An agent's message keeps the one that it came with."""
    publisher, arrived = RecordingPublisher(), list[Part]()
    producer = Producer(
        ProducerSettings(exchange="ex", response="receipt"),
        cast(Publisher, publisher),
        cast(MessageBuilder, FixedMessages()),
        cast(AsyncioSide, None),
    )
    withdraw: Any = producer.later(Request("POST", "/", {}), arrived.append)
    publisher.publications[0].settle(Outcome.CONFIRMED)
    (answer,) = arrived
    assert isinstance(answer, Response)
    assert answer.data == {"message_id": "\ufffd", "exchange": "ex", "routing_key": "key"}
    assert withdraw() is None
