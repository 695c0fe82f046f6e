"""A message as the request of an agent."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.amqp.agent import agent
from gateway.amqp.agent.agent import MAX_INLINE_BYTES, AmqpJob
from gateway.amqp.agent.requests import build_request, tries_of
from gateway.amqp.consume.delivery import Delivery
from gateway.core.proxy import Request

from .codec import Closed, encode_known


def delivery(body: bytes = b"{}", redelivered: bool = False, **properties: Any) -> Delivery:
    known = encode_known(**properties)
    route = b"\x04shop\x0aorders.new"
    return Delivery(Closed(), 1, redelivered, route, known, body)


def headers_of(request: Request) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in request.headers}


def test_properties_and_route_become_headers_and_parameters() -> None:
    message = delivery(
        content_type="application/json",
        content_encoding="gzip",
        message_id="m-1",
        correlation_id="c",
        message_type="order",
        app_id="shop",
        priority=3,
        timestamp=datetime.fromtimestamp(100, UTC),
        headers={"X-Tenant": "t", "count": 7, "traceparent": "00-1-2-01", "table": {"a": 1}},
    )
    request = build_request("q", message, True)
    assert headers_of(request) == {
        "content-type": "application/json",
        "content-encoding": "gzip",
        "x-amqp-exchange": "shop",
        "x-amqp-routing-key": "orders.new",
        "x-amqp-queue": "q",
        "x-amqp-redelivered": "false",
        "x-amqp-delivery-count": "0",
        "x-amqp-message-id": "m-1",
        "x-amqp-correlation-id": "c",
        "x-amqp-type": "order",
        "x-amqp-app-id": "shop",
        "x-amqp-priority": "3",
        "x-amqp-timestamp": "100",
        "x-amqp-header-x-tenant": "t",
        "x-amqp-header-count": "7",
        "x-amqp-header-table": '{"a":1}',
        "traceparent": "00-1-2-01",
        "idempotency-key": "m-1",
    }
    assert request.params["Amqp.routing_key"] == "orders.new"
    assert request.params["Amqp.headers.X-Tenant"] == "t"
    assert request.body == b"{}"


def test_a_request_has_the_request_id_of_its_message_or_a_new_one() -> None:
    def id_of(**properties: Any) -> str:
        request = build_request("q", delivery(**properties), False, has_id=True)
        return headers_of(request)["x-request-id"]

    assert id_of(headers={"X-Request-Id": "one"}) == "one"
    for odd in ({}, {"X-Request-Id": 7}, {"X-Request-Id": "a\nb"}):
        assert len(id_of(headers=odd)) == 32
    assert id_of() != id_of()


def test_lists_and_tables_of_a_message_are_json() -> None:
    died = [
        {"count": 2, "queue": "q1", "time": datetime.fromtimestamp(100, UTC), "keys": ["a", "b"]},
        {"count": 1, "reason": "expired", "is_last": True},
    ]
    request = build_request("q", delivery(headers={"x-death": died}), True)
    text = request.params["Amqp.headers.x-death"]
    assert json.loads(text) == [
        {"count": 2, "queue": "q1", "time": 100, "keys": ["a", "b"]},
        {"count": 1, "reason": "expired", "is_last": True},
    ]
    assert headers_of(request)["x-amqp-header-x-death"] == text


def test_a_list_that_is_too_long_for_a_header_is_left_out() -> None:
    headers = headers_of(build_request("q", delivery(headers={"l": ["x" * 5000], "a": 1}), True))
    assert "x-amqp-header-l" not in headers
    assert headers["x-amqp-header-a"] == "1"


def test_nested_tables_are_decoded_to_a_bound() -> None:
    nested: Any = "inmost"
    for _ in range(20):
        nested = {"t": nested}
    text = headers_of(build_request("q", delivery(headers={"t": nested}), True))["x-amqp-header-t"]
    assert text == '{"t":' * 8 + "null" + "}" * 8


def test_headers_may_be_switched_off_or_listed() -> None:
    message = delivery(headers={"a": "1", "b": "2"})
    assert "x-amqp-header-a" not in headers_of(build_request("q", message, False))
    listed = headers_of(build_request("q", message, ("A",)))
    assert listed["x-amqp-header-a"] == "1"
    assert "x-amqp-header-b" not in listed


def test_without_a_message_id_the_idempotency_key_is_a_hash_of_the_message() -> None:
    keys = [
        headers_of(build_request("q", each, True))["idempotency-key"]
        for each in (delivery(b"1"), delivery(b"1", True), delivery(b"2"))
    ]
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("size", "is_here"), [(MAX_INLINE_BYTES, True), (MAX_INLINE_BYTES + 1, False)]
)
async def test_the_hash_of_a_large_message_is_made_in_a_thread(
    size: int, is_here: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = []

    def build(*arguments: Any, **options: Any) -> Request:
        threads.append(threading.current_thread())
        return build_request(*arguments, **options)

    monkeypatch.setattr(agent, "build_request", build)
    source: Any = SimpleNamespace(
        settings=SimpleNamespace(name="q", headers=True), has_ids=False, tracer=None
    )
    message = delivery(bytes(size))
    request = await AmqpJob(source, message).request()
    assert (threads == [threading.current_thread()]) == is_here
    assert headers_of(request) == headers_of(build_request("q", message, True))
    assert request.body is message.body


def test_the_idempotency_key_does_not_depend_on_the_delivery_count() -> None:
    first, again = (delivery(headers={"a": "1", **more}) for more in ({}, {"x-delivery-count": 1}))
    key = headers_of(build_request("q", first, True))["idempotency-key"]
    assert headers_of(build_request("q", again, True))["idempotency-key"] == key


def test_no_value_of_a_message_adds_a_header_to_a_request() -> None:
    message = delivery(
        message_id="a\r\nX-Evil: 1", headers={"x\r\ny": "1", "fine": "a\nb", "ä": "1"}
    )
    headers = headers_of(build_request("q", message, True))
    assert headers["x-amqp-message-id"] == "aX-Evil: 1"
    assert headers["x-amqp-header-fine"] == "ab"
    assert not any("\r" in name or "\n" in name or "ä" in name for name in headers)


def test_tries_are_counted_here_or_by_a_quorum_queue() -> None:
    message = delivery(headers={"x-delivery-count": 4})
    assert tries_of(message) == 4
    message.tries = 6
    assert tries_of(message) == 6
    assert headers_of(build_request("q", message, True))["x-amqp-redelivered"] == "true"


def test_tries_of_a_message_with_malformed_headers_are_counted_here() -> None:
    message = delivery()
    message.properties = b"\x20\0\0\0\0\x04\1k?\0"
    message.tries = 3
    assert tries_of(message) == 3
