"""Traps of consumers, producers and agents."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.app.catalog import CATALOG
from gateway.app.check import check
from gateway.config.findings import ConfigError
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


def own_keys(*keys: str) -> str:
    """The hint about keys that KrakenD does not know."""
    path = '$.endpoints[0].backend[0].extra_config["backend/amqp/consumer"]'
    return f"hint: {path}: only this gateway knows: {', '.join(keys)}"


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
        ({"durable": False}, "RabbitMQ 4.3 refuses such a queue (541)"),
        ({"arguments": {"x-queue-mode": "lazy"}}, "4.3 refuses the argument x-queue-mode"),
        ({"arguments": {"x-queue-version": 1}}, "4.3 refuses the argument x-queue-version: 1"),
        ({"arguments": {"x-single-active-consumer": True}}, "only one gets messages"),
        ({"priority": 3}, "with a lower priority"),
        ({"wait": "1s", "priority": 3}, "only this gateway knows: priority, wait"),
    ],
)
def test_a_trap_is_a_warning(settings: dict[str, Any], word: str) -> None:
    assert word in findings_of(**settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"durable": False, "exclusive": True},
        {"durable": False, "declare": "passive"},
        {"durable": False, "declare": "none"},
        {"arguments": {"x-queue-version": 2}},
        {"arguments": {"x-queue-type": "quorum", "x-delivery-limit": -1}},
        {"arguments": {"x-single-active-consumer": False}},
    ],
)
def test_what_newer_versions_of_rabbitmq_accept_is_no_warning(settings: dict[str, Any]) -> None:
    found = findings_of(**settings)
    assert "RabbitMQ 4" not in found
    assert "x-single-active-consumer" not in found


@pytest.mark.parametrize("time", ["0s", "90s", "never"])
def test_idle_return_is_a_duration_or_never(time: str) -> None:
    assert findings_of(idle_return=time) in ("", own_keys("idle_return"))


@pytest.mark.parametrize(
    ("time", "text"),
    [
        ("-2s", 'expected a duration that is not negative, or "never"'),
        ("nevr", 'expected a duration such as "2s", or "never", found the string "nevr"; did you'),
        ("soon", 'expected a duration such as "2s", or "never", found the string "soon"'),
        ([], 'expected a duration such as "2s", or "never", found a list'),
    ],
)
def test_another_idle_return_is_an_error(time: Any, text: str) -> None:
    with pytest.raises(ConfigError) as error:
        findings_of(idle_return=time)
    assert f"idle_return: {text}" in str(error.value)


def test_concurrent_calls_do_not_take_several_messages() -> None:
    assert "counts as 1" in findings_of({"concurrent_calls": 3})


def findings_of_producer(
    path: str = "/p", *, root: dict[str, Any] | None = None, **settings: Any
) -> str:
    """``root``: further keys of the configuration."""
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
    document = {"version": 3, "endpoints": [endpoint], **(root or {})}
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
        ({"durable": False}, "RabbitMQ 4.3 refuses such a queue (541)"),
        ({"arguments": {"x-queue-mode": "lazy"}}, "4.3 refuses the argument x-queue-mode"),
        ({"arguments": {"x-queue-version": 1}}, "4.3 refuses the argument x-queue-version: 1"),
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


@pytest.mark.parametrize(
    "settings",
    [
        {"name": ""},
        {"static_routing_key": False},
        {"declare": "passive"},
        {"declare": "none"},
    ],
)
def test_a_queue_that_a_producer_does_not_create_is_no_warning(settings: dict[str, Any]) -> None:
    assert "541" not in findings_of_producer("/p/{k}", durable=False, **settings)


@pytest.mark.parametrize(("mebibytes", "is_found"), [(16, False), (17, True)])
def test_bodies_that_rabbitmq_4_refuses_are_a_hint(mebibytes: int, *, is_found: bool) -> None:
    gateway = {"max_body_bytes": mebibytes * 2**20}
    found = findings_of_producer(root={"extra_config": {"gateway": gateway}}).splitlines()
    hints = [each for each in found if "max_body_bytes is larger than 16 MiB" in each]
    assert len(hints) == is_found
    assert all(each.startswith("hint:") for each in hints)


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
        ({"durable": False}, "RabbitMQ 4.3 refuses such a queue (541)"),
        ({"arguments": {"x-queue-mode": "lazy"}}, "4.3 refuses the argument x-queue-mode"),
        ({"arguments": {"x-queue-version": 1}}, "4.3 refuses the argument x-queue-version: 1"),
        ({"prefetch_count": 3}, "prefetch_count 3: 2 is used, twice `workers`"),
    ],
)
def test_a_trap_of_agents_is_a_warning(settings: dict[str, Any], word: str) -> None:
    assert word in findings_of_agent(**settings)


def test_a_prefetch_of_an_agent_up_to_twice_its_workers_is_no_hint() -> None:
    assert findings_of_agent(prefetch_count=2) == ""


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
