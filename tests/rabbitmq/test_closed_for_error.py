"""The broker closes the whole connection because of a message: that message fails, and no other."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TypeAlias
from urllib.parse import quote

import pytest

from bench.process import configuration, producer
from gateway.amqp.connection.urls import parse_broker_url
from gateway.amqp.publish.publication import Outcome, Publication
from gateway.amqp.publish.publisher import Publisher, PublishLink
from gateway.amqp.settings import ProducerSettings
from gateway.app.service import open_gateway
from gateway.core.bridge import AsyncioSide
from gateway.core.proxy import Part, Response
from tests.router.support import Client, http_scope

from .amqp import until
from .test_producer import post

pytestmark = pytest.mark.anyio

GOOD = b"\0\0"
"""A content header without properties."""
BAD = GOOD + b"?"
"""RabbitMQ fails on the byte after the properties: 541, INTERNAL_ERROR."""

Outcomes: TypeAlias = list[tuple[bytes, Outcome]]


@asynccontextmanager
async def open_publishers(
    side: AsyncioSide, url: str, *exchanges: str
) -> AsyncGenerator[list[Publisher]]:
    """One for each exchange, all on the same link."""
    link = PublishLink((parse_broker_url(url),), side, limit=1000)

    def publisher(name: str) -> Publisher:
        wanted = ProducerSettings(exchange=name)
        return link.shared(name, lambda: Publisher(wanted, link, side)).share_with(wanted)

    publishers = [publisher(name) for name in exchanges]
    async with link.opened():
        await until(lambda: all(each.is_ready for each in publishers))
        yield publishers


def publish(publisher: Publisher, key: bytes, properties: bytes, outcomes: Outcomes) -> None:
    def answer(publication: Publication, outcome: Outcome) -> Part:
        outcomes.append((key, outcome))
        return Response()

    publisher.publish(
        Publication(publisher, key, properties, b"x", key, False, answer, lambda part: None)
    )


async def test_a_message_that_ends_the_connection_fails_alone(
    side: AsyncioSide, vhost_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    outcomes: Outcomes = []
    async with open_publishers(side, vhost_url, "a", "b") as publishers:
        for number in range(60):
            properties = BAD if number in (20, 40) else GOOD
            publish(publishers[0], b"a%d" % number, properties, outcomes)
            publish(publishers[1], b"b%d" % number, GOOD, outcomes)
        await until(lambda: len(outcomes) == 120)
        await until(lambda: all(each.is_ready for each in publishers))
        publish(publishers[0], b"later", GOOD, outcomes)
        await until(lambda: len(outcomes) == 121)
    assert Counter(outcome for _, outcome in outcomes) == {
        Outcome.CONFIRMED: 119,
        Outcome.REFUSED: 2,
    }
    refused = {key for key, outcome in outcomes if outcome is Outcome.REFUSED}
    assert refused == {b"a20", b"a40"}
    assert "refused a message with routing key 'a20': INTERNAL_ERROR" in caplog.text


ODD = (b"\xff\xfe", b"\0", b"\xc3(", b"", b"x" * 255)
CHOSEN = {
    "routing_key": "{query.key}",
    "msg_id_key": "{header.x-id}",
    "reply_to_key": "{header.x-reply}",
    "exp_key": "{header.x-exp}",
    "priority_key": "{header.x-priority}",
    "type_key": "{header.x-type}",
}


async def test_no_value_of_a_request_ends_the_connection(
    vhost_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """RabbitMQ 3.10 takes texts that are not UTF-8 in properties; a routing key always is UTF-8."""
    keys = {"name": "", "static_routing_key": False, **CHOSEN}
    backend = producer(vhost_url, "ex", **keys)
    config = configuration(
        post("/p", backend, input_headers=["*"], input_query_strings=["*"], timeout="20s")
    )
    names = [b"content-type", b"content-encoding", b"x-id", b"x-reply", b"x-exp", b"x-priority"]
    statuses = set()
    async with open_gateway(config) as gateway:
        await until(lambda: gateway.readiness()["ready"])
        for name in [*names, b"x-type", b"cc", b"x-death", b"n" * 255, b"n" * 256]:
            for value in ODD:
                client = Client([b"x"])
                query = "/p?key=" + quote(value or b"k")
                scope = http_scope("POST", query, headers=[(b"host", b"h"), (name, value)])
                await gateway.asgi(scope, client.receive, client.send)
                statuses.add(client.reply.status)
    assert statuses == {200, 400}
    assert "(publish)" not in caplog.text  # the line about a connection that has ended
