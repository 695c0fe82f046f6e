"""What settings mean together."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.amqp.settings import ConsumerSettings, redelivery_limit


@pytest.mark.parametrize(
    ("max_redeliveries", "arguments", "limit"),
    [
        (0, {}, 0),
        (5, {}, 5),
        (0, {"x-delivery-limit": 3}, 3),
        (5, {"x-delivery-limit": 3}, 5),
        (0, {"x-delivery-limit": -1}, 0),
        (0, {"x-delivery-limit": "3"}, 0),
    ],
)
def test_the_delivery_limit_of_a_queue_counts_as_max_redeliveries(
    max_redeliveries: int, arguments: dict[str, Any], limit: int
) -> None:
    assert redelivery_limit(max_redeliveries, arguments) == limit


@pytest.mark.parametrize(
    ("changes", "dies"),
    [
        ({}, False),
        ({"delete": True}, True),
        ({"arguments": {"x-expires": 1000}}, True),
        ({"arguments": {"x-message-ttl": 1000}}, False),
    ],
)
def test_which_queues_rabbitmq_deletes_without_a_consumer(
    changes: dict[str, Any], dies: bool
) -> None:
    assert ConsumerSettings(name="q", **changes).dies_without_consumer is dies


@pytest.mark.parametrize(
    "arguments", [{"x-queue-type": "stream"}, {"x-single-active-consumer": True}]
)
def test_some_consumers_cannot_be_replaced(arguments: dict[str, Any]) -> None:
    assert not ConsumerSettings(name="q", arguments=arguments).is_replaceable
    assert ConsumerSettings(name="q").is_replaceable
