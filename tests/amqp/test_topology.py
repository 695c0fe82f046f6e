"""What a consumer declares."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from gateway.amqp.connection.topology import consume, consumer_bindings, consumer_topology
from gateway.amqp.settings import ConsumerSettings

SETTINGS = ConsumerSettings(
    name="q", exchange="ex", routing_key=("a.*", "b"), durable=True, exclusive=True, no_wait=True
)


def declared(**changes: Any) -> list[tuple[str, dict[str, Any]]]:
    settings = replace(SETTINGS, **changes)
    methods = (*consumer_topology(settings), *consumer_bindings(settings))
    return [(method.name, dict(method)) for method in methods]


def test_exchange_queue_and_one_binding_per_routing_key() -> None:
    methods = declared()
    assert [name for name, _ in methods] == [
        "Exchange.Declare",
        "Queue.Declare",
        "Queue.Bind",
        "Queue.Bind",
    ]
    assert [fields["routing_key"] for _, fields in methods[2:]] == ["a.*", "b"]


def test_no_wait_is_never_sent() -> None:
    assert not any(fields["nowait"] for _, fields in declared())


def test_exclusive_concerns_the_queue_only() -> None:
    exchange, queue = declared()[:2]
    assert exchange[1]["internal"] is False
    assert queue[1]["exclusive"] is True


def test_the_default_exchange_is_neither_declared_nor_bound() -> None:
    assert [name for name, _ in declared(exchange="")] == ["Queue.Declare"]


def test_passive_only_checks_that_exchange_and_queue_exist() -> None:
    methods = declared(declare="passive")
    assert [(name, fields["passive"]) for name, fields in methods] == [
        ("Exchange.Declare", True),
        ("Queue.Declare", True),
    ]


def test_none_only_checks_that_the_queue_exists() -> None:
    methods = declared(declare="none")
    assert [(name, fields["passive"]) for name, fields in methods] == [("Queue.Declare", True)]


def test_a_queue_declared_as_exclusive_needs_no_exclusive_consumer() -> None:
    assert not consume(SETTINGS, "tag").exclusive
    assert consume(replace(SETTINGS, declare="passive"), "tag").exclusive


def test_arguments_and_type_reach_the_broker() -> None:
    exchange, queue = declared(
        exchange_type="direct",
        arguments={"x-queue-type": "quorum"},
        exchange_arguments={"alternate-exchange": "other"},
    )[:2]
    assert exchange[1]["exchange_type"] == "direct"
    assert exchange[1]["arguments"] == {"alternate-exchange": "other"}
    assert queue[1]["arguments"] == {"x-queue-type": "quorum"}


def test_names_may_have_any_characters() -> None:
    settings = replace(SETTINGS, name="häse|<1>", exchange="$ex", routing_key=("ü",))
    methods = [*consumer_topology(settings), *consumer_bindings(settings)]
    assert all("häse|<1>".encode() in method.marshal() for method in methods[1:])
    assert "häse|<1>".encode() in consume(replace(SETTINGS, name="häse|<1>"), "tag").marshal()


def test_a_priority_is_an_argument_of_the_consumer() -> None:
    assert dict(consume(replace(SETTINGS, priority=3), "tag"))["arguments"] == {"x-priority": 3}
    assert dict(consume(SETTINGS, "tag"))["arguments"] == {}
