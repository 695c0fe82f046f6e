"""Declarations that contradict each other, and prefetches that are too large together."""

from __future__ import annotations

from typing import Any

import pytest

from bench.process import agent, configuration, consumer, endpoint, producer
from gateway.app.catalog import CATALOG
from gateway.app.check import check
from gateway.config.load import load

URL = "amqp://broker/shop"
CONSUMER = 'extra_config["backend/amqp/consumer"]'
PRODUCER = 'extra_config["backend/amqp/producer"]'
REFUSED = ": RabbitMQ refuses the second declaration, and its endpoint responds with 503"


def findings_of(*endpoints: dict[str, Any], **changes: Any) -> list[str]:
    service = load(configuration(*endpoints, **changes), CATALOG, {}).service
    return [
        f"{each.path}: {each.text}"
        for each in check(service, CATALOG)
        if "durable:" not in each.text
    ]


def contradictions(*backends: dict[str, Any], **changes: Any) -> list[str]:
    endpoints = [
        endpoint(f"/{number}", backend, method="POST") for number, backend in enumerate(backends)
    ]
    return [each for each in findings_of(*endpoints, **changes) if "RabbitMQ refuses the" in each]


def test_declarations_that_agree_have_no_warnings() -> None:
    assert (
        contradictions(
            consumer(URL, "q"),
            consumer(URL, "q", routing_key=["other"], prefetch_count=7, wait="1s"),
            producer(URL, "ex", name="q"),
            async_agent=[agent(URL, "q", producer(URL, "ex", name="q"))],
        )
        == []
    )


@pytest.mark.parametrize(
    ("changes", "key", "here", "there"),
    [
        ({"durable": False}, "durable", "false", "true"),
        ({"delete": True}, "delete", "true", "false"),
        ({"exchange_type": "direct"}, "exchange_type", '"direct"', '"topic"'),
        (
            {"exchange_arguments": {"alternate-exchange": "x"}},
            "exchange_arguments",
            "other arguments",
            "other arguments",
        ),
    ],
)
def test_two_users_of_one_exchange_that_contradict_each_other_are_named_with_both_paths(
    changes: dict[str, Any], key: str, here: str, there: str
) -> None:
    for second, name in (
        (consumer(URL, "q2", **changes), CONSUMER),
        (producer(URL, "ex", name="", **changes), PRODUCER),
    ):
        (found,) = contradictions(consumer(URL, "q"), second)
        assert found == (
            f'$.endpoints[1].backend[0].{name}.{key}: exchange "ex" is declared with {key} {here} '
            f"here and with {there} at $.endpoints[0].backend[0].{CONSUMER}{REFUSED}"
        )


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"durable": False, "exchange": ""}, "durable"),
        ({"exclusive": True}, "exclusive"),
        ({"arguments": {"x-max-length": 5}}, "arguments"),
    ],
)
def test_two_users_of_one_queue_that_contradict_each_other_are_named(
    changes: dict[str, Any], key: str
) -> None:
    (found,) = contradictions(producer(URL, "ex", name="q"), consumer(URL, "q", **changes))
    assert found.startswith(f'$.endpoints[1].backend[0].{CONSUMER}.{key}: queue "q" is declared')
    assert f"at $.endpoints[0].backend[0].{PRODUCER}: when the producer creates" in found
    (found,) = contradictions(
        consumer(URL, "q"), async_agent=[agent(URL, "q", producer(URL, ""), **changes)]
    )
    assert found.startswith(f'$.async_agent[0].extra_config["async/amqp"].{key}: queue "q"')


@pytest.mark.parametrize(
    "other",
    [
        consumer("amqp://broker/other", "q", durable=False),
        consumer("amqp://other/shop", "q", durable=False),
        consumer(URL, "q", durable=False, declare="passive"),
        producer(URL, "ex", durable=False, declare="none"),
        producer("amqp://broker:5673/shop", "ex", durable=False),
    ],
)
def test_a_declaration_elsewhere_or_none_is_no_contradiction(other: dict[str, Any]) -> None:
    assert contradictions(consumer(URL, "q"), other) == []


def test_one_shared_host_is_enough_and_the_default_port_is_the_same() -> None:
    second = {**consumer(URL, "q", durable=False), "host": ["amqp://a", "amqp://broker:5672/shop"]}
    found = contradictions(consumer(URL, "q"), second)
    assert ['exchange "ex" is' in found[0], 'queue "q" is' in found[1], len(found)] == [
        True,
        True,
        2,
    ]


def test_a_queue_of_two_producers_is_not_a_contradiction() -> None:
    second = producer(URL, "ex", name="q", arguments={"x-max-length": 5})
    assert contradictions(producer(URL, "ex", name="q"), second) == []


def test_a_prefetch_above_what_amqp_can_carry_is_a_warning() -> None:
    found = findings_of(endpoint("/a", consumer(URL, "q", prefetch_count=70_000)))
    assert (
        f"$.endpoints[0].backend[0].{CONSUMER}.prefetch_count: the prefetch of the consumers "
        "of this queue is 70000 in total: 65535 is used, the largest prefetch of AMQP"
    ) in found


def test_prefetches_of_consumers_that_share_a_queue_count_together() -> None:
    half = {"prefetch_count": 40_000}
    together = findings_of(
        endpoint("/a", consumer(URL, "q", **half)), endpoint("/b", consumer(URL, "q", **half))
    )
    assert [each for each in together if "80000 in total" in each]
    apart = findings_of(
        endpoint("/a", consumer(URL, "q", **half)), endpoint("/b", consumer(URL, "q2", **half))
    )
    assert not [each for each in apart if "in total" in each]
