"""Settings that AMQP cannot carry, or that RabbitMQ always refuses: found before the start."""

from __future__ import annotations

from typing import Any

import pytest
from pamqp.frame import marshal

from gateway.amqp.connection.topology import (
    bind_queue,
    create_queue,
    look_up_queue,
    producer_exchange,
)
from gateway.amqp.settings import AgentSettings, ConsumerSettings, DeadLetter, ProducerSettings
from gateway.amqp.verify import verify_agent, verify_consumer, verify_producer
from gateway.app.catalog import CATALOG
from gateway.config.findings import ConfigError
from gateway.config.load import load

LONG = "x" * 256
STREAM = {"x-queue-type": "stream"}
UMLAUTS = "ä" * 128
SURROGATE = "\ud800"


def keys_of(problems: Any) -> list[str]:
    return [key for key, _ in problems]


def deep(levels: int) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for _ in range(levels):
        table = {"a": table}
    return table


NAMES = [
    ({"name": LONG}, "name"),
    ({"name": UMLAUTS}, "name"),
    ({"name": SURROGATE}, "name"),
    ({"exchange": LONG}, "exchange"),
    ({"exchange_type": "x-" + LONG}, "exchange_type"),
    ({"exchange_type": "topix"}, "exchange_type"),
    ({"exchange_type": ""}, "exchange_type"),
    ({"declare": "sometimes"}, "declare"),
]
TABLES = [
    ({"a": 2**63}, '["a"]', ".a"),
    ({"x-max-length": "5"}, '["x-max-length"]', ""),
    ({"x-max-length": True}, '["x-max-length"]', ""),
    ({"x-message-ttl": 60000.0}, '["x-message-ttl"]', ""),
    ({"x-message-ttl": -1}, '["x-message-ttl"]', ""),
    ({"x-expires": 0}, '["x-expires"]', ""),
    ({"x-max-priority": 256}, '["x-max-priority"]', ""),
    ({"x-dead-letter-exchange": 1}, '["x-dead-letter-exchange"]', ""),
    ({"x-single-active-consumer": "yes"}, '["x-single-active-consumer"]', ""),
    ({"text": SURROGATE}, ".text", ""),
    ({"list": [1, {"set": {1}}]}, ".list[1].set", ""),
    ({"n" * 129: 1}, "." + "n" * 129, ""),
    ({"large": "x" * 100_000}, "", ""),
    (deep(33), ".a" * 32, ""),
]
"""A table, and the path of what is wrong in it."""


@pytest.mark.parametrize(("settings", "key"), NAMES)
def test_a_name_that_amqp_cannot_carry_is_an_error(settings: dict[str, Any], key: str) -> None:
    others = {"name": "q", "exchange": "ex"}
    consumer: Any = {**others, **settings}
    assert keys_of(verify_consumer(ConsumerSettings(**consumer))) == [key]
    assert keys_of(verify_producer(ProducerSettings(**consumer))) == [key]
    assert keys_of(verify_agent(AgentSettings(host="amqp://h", **consumer))) == [key]


@pytest.mark.parametrize(("table", "where", "other"), TABLES)
@pytest.mark.parametrize("key", ["arguments", "exchange_arguments"])
def test_a_table_that_amqp_cannot_carry_is_an_error(
    key: str, table: dict[str, Any], where: str, other: str
) -> None:
    consumer: dict[str, Any] = {"name": "q", "exchange": "ex", key: table}
    expected = [f"{key}{other or where}"]
    assert keys_of(verify_consumer(ConsumerSettings(**consumer))) == expected
    assert keys_of(verify_producer(ProducerSettings(**consumer))) == expected


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"routing_key": ("a", LONG)}, "routing_key[1]"),
        ({"consumer_tag": LONG}, "consumer_tag"),
        ({"priority": 2**31}, "priority"),
        ({"arguments": {"x-queue-type": "quorum"}}, "durable"),
        (
            {"arguments": {"x-queue-type": "stream"}, "durable": True, "exclusive": True},
            "exclusive",
        ),
        ({"arguments": {"x-queue-type": "quorum"}, "durable": True, "delete": True}, "delete"),
    ],
)
def test_a_consumer_setting_that_rabbitmq_refuses_is_an_error(
    settings: dict[str, Any], key: str
) -> None:
    assert keys_of(verify_consumer(ConsumerSettings(name="q", **settings))) == [key]


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"routing_key": LONG, "static_routing_key": True}, "routing_key"),
        ({"delivery_mode": 3}, "delivery_mode"),
        ({"status": 70000}, "status"),
        ({"response": "recipe"}, "response"),
        ({"arguments": {"x-queue-type": "quorum"}}, "durable"),
    ],
)
def test_a_producer_setting_that_rabbitmq_refuses_is_an_error(
    settings: dict[str, Any], key: str
) -> None:
    assert keys_of(verify_producer(ProducerSettings(exchange="ex", **settings))) == [key]


def test_the_dead_letter_of_an_agent_is_checked() -> None:
    dead_letters = DeadLetter(exchange=LONG, routing_key=LONG)
    settings = AgentSettings(host="amqp://h", name="q", exchange="ex", dead_letter=dead_letters)
    assert keys_of(verify_agent(settings)) == ["dead_letter.exchange", "dead_letter.routing_key"]


def test_settings_at_the_limits_can_be_encoded() -> None:
    """The limits themselves."""
    table = {
        "x-max-priority": 255,
        "x-message-ttl": 2**32 - 1,
        "n" * 128: [-(2**63), 2**63 - 1, 1.5, None, True, "ä"],
        "deep": deep(30),
    }
    settings = ProducerSettings(
        name="ä" * 127,
        exchange="x" * 255,
        routing_key="k" * 255,
        static_routing_key=True,
        durable=True,
        arguments=table,
        exchange_arguments=table,
    )
    assert keys_of(verify_producer(settings)) == []
    methods = (
        *producer_exchange(settings),
        look_up_queue(settings),
        create_queue(settings),
        bind_queue(settings),
    )
    assert all(marshal(method, 1) for method in methods)


def test_an_error_stops_the_start_and_names_its_path() -> None:
    producer = {"exchange": "ex", "routing_key": "k", "arguments": {"x-max-length": "5"}}
    backend = {
        "host": ["amqp://broker"],
        "disable_host_sanitize": True,
        "extra_config": {"backend/amqp/producer": producer},
    }
    document = {"version": 3, "endpoints": [{"endpoint": "/p", "backend": [backend]}]}
    with pytest.raises(ConfigError) as error:
        load(document, CATALOG, {})
    assert (
        '$.endpoints[0].backend[0].extra_config["backend/amqp/producer"]'
        '.arguments["x-max-length"]: expected a whole number'
    ) in str(error.value)
