"""The state in one sentence, from the reports of workers."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.components.page.rows import PartRows
from gateway.components.page.sentence import Facts, sentence
from gateway.components.page.state import CertificateState, FindingCounts, Sentence
from gateway.telemetry.parts import AgentPart, LinkPart, LinkStatus, QueuePart, StatePart

from .reports import report

NOW = 1_000_000.0
A, B = "amqp://a:5672/", "amqp://b:5672/"


def link(broker: str = A, status: LinkStatus = "up", **keys: Any) -> LinkPart:
    keys = {"since": NOW - 100, **keys}
    return LinkPart(broker=broker, role="consume", status=status, **keys)


def said(*parts: StatePart, **keys: Any) -> Sentence:
    rows = PartRows([report(1, parts=parts)], [], 1, NOW)
    facts: dict[str, Any] = {
        "time": NOW,
        "endpoints": 3,
        "workers": 1,
        "up": 1,
        "uptime": 1000.0,
        "was_ready": True,
        "is_stopping": False,
        "links": rows.links(),
        "queues": rows.queues(),
        "producers": rows.producers(),
        "agents": rows.agents(),
        "breakers": rows.breakers(),
        "certificates": [],
        "findings": FindingCounts(True),
    }
    return sentence(Facts(**{**facts, **keys}))


def test_a_gateway_without_a_problem_is_green() -> None:
    it = said(
        link(A),
        link(B),
        QueuePart(broker=A, queue="q", status="attached"),
        QueuePart(broker=A, queue="r", status="idle"),
        AgentPart(agent="mails", status="attached"),
        findings=FindingCounts(True, warnings=1, high=1, low=5),
    )
    assert (it.level, it.reasons) == ("green", ())
    assert it.text == (
        "Serving. 2 of 2 brokers up, 1 queue attached, 1 idle, 1 of 1 agent attached, 2 findings."
    )


def test_a_gateway_without_brokers_counts_its_endpoints() -> None:
    assert said().text == "Serving. 3 endpoints, no findings."
    assert (
        said(findings=FindingCounts(False)).text == "Serving. 3 endpoints, findings not known yet."
    )


def test_a_broker_that_is_away_is_amber_and_says_why() -> None:
    it = said(link(A), link(B, "down", problem="connection refused"))
    assert it.level == "amber"
    assert it.text.startswith("Serving. 1 of 2 brokers up")
    assert it.reasons == (f"{B} (consume): connection refused",)


@pytest.mark.parametrize(("seconds", "level"), [(0, "amber"), (14, "amber"), (16, "red")])
def test_an_outage_of_all_brokers_is_red_after_some_time(seconds: int, level: str) -> None:
    assert said(link(A, "down", since=NOW - seconds)).level == level


def test_a_queue_of_a_broker_that_is_away_is_no_reason_of_its_own() -> None:
    queue = QueuePart(broker=A, queue="q", status="down", problem="connection refused")
    assert len(said(link(A, "down"), link(B), queue).reasons) == 1
    assert said(link(A), queue).reasons == ("queue q: connection refused",)


def test_a_blocked_broker_is_up_and_amber() -> None:
    it = said(link(A, "blocked"))
    assert it.level == "amber"
    assert "1 of 1 broker up" in it.text


def test_a_gateway_that_stops_is_draining() -> None:
    it = said(link(A), is_stopping=True)
    assert (it.level, it.word) == ("amber", "Draining")
    assert it.text.startswith("Draining. ")


def test_a_gateway_that_connects_for_the_first_time_is_starting() -> None:
    it = said(link(A, "down", since=NOW - 1), uptime=1.0, was_ready=False)
    assert (it.level, it.word) == ("amber", "Starting")


def test_an_agent_that_is_not_attached_is_a_reason() -> None:
    agent = AgentPart(agent="mails", status="down", problem="no queue")
    assert said(link(A), agent).reasons == ("agent mails: no queue",)


def test_missing_workers_are_a_reason() -> None:
    it = said(workers=4, up=3)
    assert it.level == "amber"
    assert it.text.startswith("Serving. 3 of 4 workers up")


def test_a_breaker_that_is_not_closed_is_a_reason() -> None:
    breakers = PartRows(
        [report(1, breakers=(("GET /a", "backend[0]", 2), ("GET /b", "backend[0]", 0)))], [], 1, NOW
    ).breakers()
    assert said(breakers=breakers).reasons == (
        "the circuit breaker of GET /a (backend[0]) is open",
    )


@pytest.mark.parametrize(
    ("days", "reason"),
    [
        (15.0, []),
        (13.9, ["certificate /c.pem expires in 13 days"]),
        (1.5, ["certificate /c.pem expires in 1 day"]),
        (-0.1, ["certificate /c.pem has expired"]),
    ],
)
def test_a_certificate_that_expires_soon_is_a_reason(days: float, reason: list[str]) -> None:
    certificate = CertificateState("s", "server", "$.tls", "/c.pem", (), NOW, days, "")
    assert [*said(certificates=[certificate]).reasons] == reason
    broker = link(A, certificate_expires=NOW + days * 86_400)
    assert [*said(broker).reasons] == [each.replace("/c.pem", f"of {A}") for each in reason]
