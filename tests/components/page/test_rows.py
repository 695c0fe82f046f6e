"""Rows of all workers together."""

from __future__ import annotations

from typing import Any

from gateway.components.page.rows import PartRows
from gateway.telemetry.parts import AgentPart, LinkPart, ProducerPart, QueuePart

from .reports import report

A = "amqp://a:5672/"


def queue(**keys: Any) -> QueuePart:
    return QueuePart(**{"broker": A, "queue": "q", "status": "attached", **keys})


def test_a_queue_of_two_workers_is_one_row() -> None:
    one = report(9, parts=(queue(acked=30, buffered=1, consumers=1),))
    two = report(9, worker=1, parts=(queue(acked=12, buffered=2, status="idle"),))
    before = report(4, parts=(queue(acked=10),)), report(4, worker=1, parts=(queue(acked=12),))
    [row] = PartRows([one, two], before, 5, 0).queues()
    assert (row.id, row.status, row.acked, row.buffered) == (f"{A} q", "attached", 42, 3)
    assert row.ack_rate == 4.0


def test_two_subscriptions_to_one_queue_are_two_rows_with_ids_of_their_own() -> None:
    rows = PartRows([report(1, parts=(queue(), queue(prefetch=5)))], [], 1, 0).queues()
    assert [(each.id, each.prefetch) for each in rows] == [(f"{A} q", 0), (f"{A} q #2", 5)]


def test_a_row_that_is_new_has_no_rate() -> None:
    [row] = PartRows([report(1, parts=(queue(acked=1000),))], [report(0)], 1, 0).queues()
    assert row.ack_rate == 0


def test_a_counter_that_begins_again_has_no_rate() -> None:
    before = report(0, parts=(queue(acked=1000),))
    [row] = PartRows([report(1, parts=(queue(acked=3),))], [before], 1, 0).queues()
    assert row.ack_rate == 0


def test_a_link_has_the_worst_status_of_all_workers() -> None:
    up = LinkPart(broker=A, role="consume", status="up", host=A, node="RabbitMQ 4", since=5.0)
    down = LinkPart(broker=A, role="consume", status="down", problem="refused", since=7.0)
    [row] = PartRows([report(1, parts=(up,)), report(1, parts=(down,))], [], 1, 0).links()
    assert (row.status, row.up, row.of, row.since) == ("down", 1, 2, 7.0)
    assert (row.problem, row.node) == ("refused", "RabbitMQ 4")


def test_links_of_both_roles_are_rows() -> None:
    parts = tuple(LinkPart(broker=A, role=each, status="up") for each in ("consume", "publish"))
    rows = PartRows([report(1, parts=parts)], [], 1, 0).links()
    assert [each.id for each in rows] == [f"{A} consume", f"{A} publish"]


def test_producers_agents_and_limits_have_rates() -> None:
    def at(number: int) -> list[Any]:
        parts = (
            ProducerPart(broker=A, exchange="x", status="ready", confirmed=number),
            AgentPart(agent="mails", status="attached", succeeded=number, failed=2 * number),
        )
        return [report(1, parts=parts, denied={"GET /a": number})]

    rows = PartRows(at(10), at(5), 5, 0)
    assert rows.producers()[0].confirm_rate == 1
    assert (rows.agents()[0].success_rate, rows.agents()[0].failure_rate) == (1, 2)
    assert (rows.limits()[0].denied, rows.limits()[0].denied_rate) == (10, 1)


def test_a_breaker_has_the_worst_state_of_all_workers() -> None:
    one = report(1, breakers=(("GET /a", "backend[0]", 0),))
    two = report(1, breakers=(("GET /a", "backend[0]", 1),))
    assert [each.status for each in PartRows([one, two], [], 1, 0).breakers()] == ["half-open"]


def test_without_a_report_there_are_no_rows() -> None:
    rows = PartRows([], [], 0, 0)
    assert not any((rows.resources(), rows.links(), rows.limits(), rows.queues()))
