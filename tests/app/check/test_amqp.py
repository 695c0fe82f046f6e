"""Traps of consumers, producers and agents."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.app.catalog import CATALOG
from gateway.app.check import check
from gateway.config.load import load


def findings_of(endpoint: dict[str, Any] | None = None, **settings: Any) -> str:
    consumer = {
        "name": "q",
        "exchange": "ex",
        "routing_key": ["#"],
        "durable": True,
        "prefetch_count": 500,
        **settings,
    }
    backend = {
        "host": ["amqp://broker"],
        "disable_host_sanitize": True,
        "extra_config": {"backend/amqp/consumer": consumer},
    }
    document = {
        "version": 3,
        "endpoints": [{"endpoint": "/a", "backend": [backend], **(endpoint or {})}],
    }
    return "\n".join(map(str, check(load(document, CATALOG, {}).service, CATALOG)))


def test_a_good_consumer_has_no_warnings() -> None:
    assert findings_of() == ""


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"prefetch_size": 1024}, "prefetch_size"),
        ({"prefetch_count": 0}, "no prefetch_count"),
        ({"prefetch_count": 10}, "small"),
        ({"auto_ack": True}, "at most once"),
        ({"exclusive": True}, "exclusive"),
        ({"delete": True}, "last consumer"),
        ({"durable": False}, "not durable"),
        ({"arguments": {"x-queue-type": "quorum", "x-delivery-limit": 3}}, "after 3"),
        ({"arguments": {"x-queue-type": "quorum"}}, "after 20"),
        ({"arguments": {"x-expires": 1000}}, "x-expires"),
        ({"arguments": {"x-max-length": 5}}, "drop-head"),
        ({"wait": "1s", "priority": 3}, "only this gateway knows: priority, wait"),
    ],
)
def test_a_trap_is_a_warning(settings: dict[str, Any], word: str) -> None:
    assert word in findings_of(**settings)


def test_concurrent_calls_do_not_take_several_messages() -> None:
    assert "counts as 1" in findings_of({"concurrent_calls": 3})


def findings_of_producer(path: str = "/p", **settings: Any) -> str:
    producer = {
        "name": "q",
        "exchange": "ex",
        "routing_key": "k",
        "static_routing_key": True,
        "durable": True,
        **settings,
    }
    backend = {
        "host": ["amqp://broker"],
        "disable_host_sanitize": True,
        "extra_config": {"backend/amqp/producer": producer},
    }
    calls = 3 if settings.pop("calls", False) else 1
    endpoint = {"endpoint": path, "method": "POST", "concurrent_calls": calls, "backend": [backend]}
    document = {"version": 3, "endpoints": [endpoint]}
    return "\n".join(map(str, check(load(document, CATALOG, {}).service, CATALOG)))


def test_a_good_producer_has_no_warnings() -> None:
    assert findings_of_producer() == ""


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"immediate": True}, "immediate is ignored"),
        ({"exclusive": True}, "exclusive is ignored"),
        ({"durable": False}, "not persistent"),
        ({"durable": False, "delivery_mode": 2}, "not durable"),
        ({"delivery_mode": 1}, "not persistent"),
        ({"routing_key": "#", "static_routing_key": False}, "documentation"),
        ({"routing_key": "{id}"}, "its braces are no placeholder"),
        ({"routing_key": "route", "static_routing_key": False}, "no parameter {route}"),
        ({"exp_key": "Ttl"}, "no parameter {Ttl}"),
        ({"calls": True}, "counts as 1"),
        ({"status": 202, "response": "receipt"}, "only this gateway knows: response, status"),
    ],
)
def test_a_trap_of_producers_is_a_warning(settings: dict[str, Any], word: str) -> None:
    assert word in findings_of_producer(**settings)


@pytest.mark.parametrize("key", ["route", "Route", "{query.key}", "{header.X-Key}", "{JWT.sub}"])
def test_a_parameter_that_can_have_a_value_is_no_warning(key: str) -> None:
    assert "no parameter" not in findings_of_producer("/p/{route}", msg_id_key=key)


def findings_of_agent(method: str = "POST", **settings: Any) -> str:
    source = {"host": "amqp://broker", "name": "q", "exchange": "ex", "durable": True, **settings}
    agent = {
        "name": "a",
        "consumer": {"topic": "#"},
        "backend": [{"host": ["http://service"], "url_pattern": "/", "method": method}],
        "extra_config": {"async/amqp": source},
    }
    document = {"version": 3, "async_agent": [agent]}
    return "\n".join(map(str, check(load(document, CATALOG, {}).service, CATALOG)))


def test_a_good_agent_has_no_warnings() -> None:
    assert findings_of_agent() == ""


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"method": "GET"}, "services expect POST"),
        ({"prefetch_size": 1}, "prefetch_size"),
        ({"auto_ack": True}, "at most once"),
        ({"nack_discard": True}, "drops"),
        ({"max_redeliveries": 3}, "only this gateway knows: max_redeliveries"),
        ({"delete": True}, "deletes the queue"),
        ({"durable": False}, "not durable"),
    ],
)
def test_a_trap_of_agents_is_a_warning(settings: dict[str, Any], word: str) -> None:
    assert word in findings_of_agent(**settings)


def test_the_topic_of_an_agent_is_a_routing_key_of_255_bytes_at_most() -> None:
    source = {"host": "amqp://broker", "name": "q", "exchange": "ex", "durable": True}
    agent = {
        "consumer": {"topic": "x" * 256},
        "backend": [{"host": ["http://service"]}],
        "extra_config": {"async/amqp": source},
    }
    found = [*check(load({"version": 3, "async_agent": [agent]}, CATALOG, {}).service, CATALOG)]
    (error,) = (each for each in found if each.severity == "error")
    assert error.path == "$.async_agent[0].consumer.topic"


def test_the_broker_of_an_agent_may_have_its_password_from_the_environment() -> None:
    source = {"host": "amqp://me:${SECRET}@broker", "name": "q", "exchange": "ex"}
    agent = {
        "consumer": {"topic": "#"},
        "backend": [{"host": ["http://service"]}],
        "extra_config": {"async/amqp": source},
    }
    loaded = load({"version": 3, "async_agent": [agent]}, CATALOG, {"SECRET": "a/b"})
    (loaded_agent,) = loaded.service.async_agent
    assert loaded_agent.name == "AsyncAgent-01"
    assert loaded_agent.extra_config["async/amqp"].host == "amqp://me:a%2Fb@broker"
    assert "a/b" not in str(loaded.findings)
