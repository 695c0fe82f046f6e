"""The state of the gateway in one sentence, with a colour. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import Struct

from .state import (
    AgentState,
    BreakerState,
    CertificateState,
    FindingCounts,
    Level,
    LinkState,
    ProducerState,
    QueueState,
    Sentence,
)

SOON = 14.0
"""Days before a certificate expires from which on it is a problem."""


OUTAGE_SECONDS = 15.0
"""How long all brokers are away until the level is red. The end of a connection is repaired within
seconds."""

STARTING_SECONDS = 10.0
"""How long after its start a gateway that was never ready is only starting."""


class Facts(Struct, frozen=True, kw_only=True):
    """What the sentence is made of. ``time``: now, Unix time. ``workers``: how many are configured;
    ``up``: how many are up. ``uptime``: seconds. ``was_ready``: it was ready once.
    ``is_stopping``: at least one worker stops. ``endpoints``: how many there are."""

    time: float
    endpoints: int
    workers: int
    up: int
    uptime: float
    was_ready: bool
    is_stopping: bool
    links: Sequence[LinkState]
    queues: Sequence[QueueState]
    producers: Sequence[ProducerState]
    agents: Sequence[AgentState]
    breakers: Sequence[BreakerState]
    certificates: Sequence[CertificateState]
    findings: FindingCounts

    @property
    def is_starting(self) -> bool:
        return self.uptime < STARTING_SECONDS and not self.was_ready and not self.is_stopping

    @property
    def brokers(self) -> dict[str, bool]:
        """Whether all links to a broker are up."""
        brokers: dict[str, bool] = {}
        for each in self.links:
            is_up = each.status in ("up", "blocked")
            brokers[each.broker] = brokers.get(each.broker, True) and is_up
        return brokers

    @property
    def is_outage(self) -> bool:
        """No link has been up for some time."""
        since = [each.since for each in self.links if each.up == 0]
        return len(since) == len(self.links) > 0 and all(
            each is not None and self.time - each >= OUTAGE_SECONDS for each in since
        )


def sentence(facts: Facts) -> Sentence:
    reasons = tuple(_reasons(facts))
    word = "Draining" if facts.is_stopping else "Starting" if facts.is_starting else "Serving"
    return Sentence(_level(facts, reasons), word, f"{word}. {', '.join(_clauses(facts))}.", reasons)


def _level(facts: Facts, reasons: Sequence[str]) -> Level:
    if facts.is_outage:
        return "red"
    return "amber" if reasons or facts.is_stopping else "green"


def _clauses(facts: Facts) -> Iterator[str]:
    if facts.workers > 1:
        yield f"{facts.up} of {facts.workers} workers up"
    if brokers := facts.brokers:
        yield f"{sum(brokers.values())} of {_many(len(brokers), 'broker')} up"
    else:
        yield _many(facts.endpoints, "endpoint")
    if facts.queues:
        yield f"{_many(_count(facts.queues, 'attached'), 'queue')} attached"
        for status in ("idle", "down"):
            if number := _count(facts.queues, status):
                yield f"{number} {status}"
    if facts.agents:
        attached = _count(facts.agents, "attached")
        yield f"{attached} of {_many(len(facts.agents), 'agent')} attached"
    findings = facts.findings
    if findings.is_known:
        number = findings.warnings + findings.critical + findings.high
        yield _many(number, "finding") if number else "no findings"
    else:
        yield "findings not known yet"


def _reasons(facts: Facts) -> Iterator[str]:
    if facts.is_stopping:
        yield "the gateway stops"
    if facts.up < facts.workers:
        yield f"{facts.workers - facts.up} of {facts.workers} workers do not report"
    down = set()
    for link in facts.links:
        if link.status != "up":
            down.add(link.broker)
            text = "the broker blocks publishers" if link.status == "blocked" else link.problem
            yield f"{link.broker} ({link.role}): {text or link.status}"
    named: list[tuple[str, QueueState | ProducerState]] = [
        *((f"queue {each.queue}", each) for each in facts.queues),
        *((f"exchange {each.exchange}", each) for each in facts.producers),
    ]
    for name, part in named:
        if part.broker not in down and (part.status == "down" or part.problem):
            yield f"{name}: {part.problem or part.status}"
    for agent in facts.agents:
        if agent.status == "down":
            yield f"agent {agent.agent}: {agent.problem or 'not attached'}"
    for breaker in facts.breakers:
        if breaker.status != "closed":
            where = f"{breaker.endpoint} ({breaker.backend})"
            yield f"the circuit breaker of {where} is {breaker.status}"
    yield from _certificate_reasons(facts)


def _certificate_reasons(facts: Facts) -> Iterator[str]:
    expiring = [(each.file, each.days, each.problem) for each in facts.certificates]
    expiring += [(f"of {each.broker}", each.certificate_days, "") for each in facts.links]
    for name, days, problem in dict.fromkeys(expiring):
        if problem:
            yield f"certificate {name}: {problem}"
        elif days is not None and days < 0:
            yield f"certificate {name} has expired"
        elif days is not None and days < SOON:
            yield f"certificate {name} expires in {_many(int(days), 'day')}"


def _count(parts: Sequence[QueueState] | Sequence[AgentState], status: str) -> int:
    return sum(each.status == status for each in parts)


def _many(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
