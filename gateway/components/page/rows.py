"""The rows of queues, producers, links, agents, limits, breakers and other resources: from the
reports of all workers, each thing once. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from ...telemetry.parts import AgentPart, LinkPart, ProducerPart, QueuePart
from .report import WorkerDetails, WorkerReport
from .state import (
    AgentState,
    BreakerState,
    LimitState,
    LinkState,
    ProducerState,
    QueueState,
    ResourceState,
)

T = TypeVar("T", LinkPart, QueuePart, ProducerPart, AgentPart)

WORST_LINK = ("down", "idle", "blocked", "up")
WORST_QUEUE = ("down", "attached", "idle")
"""Of several workers one that is attached counts: the queue is in use."""
WORST_PRODUCER = ("down", "blocked", "ready")
WORST_AGENT = ("down", "stopping", "attached")
"""The first status that a worker has is that of the row."""

BREAKERS = ("closed", "half-open", "open")
"""By their numbers in :class:`.report.WorkerReport`."""

SECONDS_OF_A_DAY = 86_400


class PartRows:
    """``now``: the reports of the workers that are up; ``before``: those of ``seconds`` ago, for
    rates. ``time``: Unix time."""

    def __init__(
        self,
        now: Sequence[WorkerReport],
        before: Sequence[WorkerReport],
        seconds: float,
        time: float,
    ) -> None:
        self._now = [each.details for each in now if each.details is not None]
        self._before = [each.details for each in before if each.details is not None]
        self._seconds = max(seconds, 1)
        self._time = time

    def links(self) -> list[LinkState]:
        return [
            LinkState(
                id=key,
                broker=parts[0].broker,
                role=parts[0].role,
                status=(status := _worst(parts, WORST_LINK)),
                problem=_first(each.problem for each in parts),
                host=_first(each.host for each in parts),
                node=_first(each.node for each in parts),
                up=sum(each.status in ("up", "blocked") for each in parts),
                of=len(parts),
                reconnects=sum(each.reconnects for each in parts),
                since=_newest(each.since for each in parts if each.status == status),
                silence=_newest(each.silence for each in parts),
                blocked_since=_newest(each.blocked_since for each in parts),
                heartbeat=parts[0].heartbeat,
                certificate_days=self._days(each.certificate_expires for each in parts),
            )
            for key, parts in _grouped(self._now, LinkPart)
        ]

    def queues(self) -> list[QueueState]:
        before = dict(_grouped(self._before, QueuePart))
        return [
            QueueState(
                id=key,
                broker=parts[0].broker,
                queue=parts[0].queue,
                status=_worst(parts, WORST_QUEUE),
                problem=_first(each.problem for each in parts),
                consumers=sum(each.consumers for each in parts),
                prefetch=sum(each.prefetch for each in parts),
                buffered=sum(each.buffered for each in parts),
                buffered_bytes=sum(each.buffered_bytes for each in parts),
                waiting=sum(each.waiting for each in parts),
                unacked=sum(each.unacked for each in parts),
                parked=sum(each.parked for each in parts),
                acked=(acked := _acked(parts)),
                requeued=(requeued := _requeued(parts)),
                rejected=sum(each.rejected for each in parts),
                ack_rate=self._rate(acked, _acked(before.get(key, parts))),
                requeue_rate=self._rate(requeued, _requeued(before.get(key, parts))),
            )
            for key, parts in _grouped(self._now, QueuePart)
        ]

    def producers(self) -> list[ProducerState]:
        before = dict(_grouped(self._before, ProducerPart))
        return [
            ProducerState(
                id=key,
                broker=parts[0].broker,
                exchange=parts[0].exchange,
                status=_worst(parts, WORST_PRODUCER),
                problem=_first(each.problem for each in parts),
                unconfirmed=sum(each.unconfirmed for each in parts),
                waiting=sum(each.waiting for each in parts),
                confirmed=(confirmed := _confirmed(parts)),
                returned=sum(each.returned for each in parts),
                nacked=sum(each.nacked for each in parts),
                confirm_rate=self._rate(confirmed, _confirmed(before.get(key, parts))),
            )
            for key, parts in _grouped(self._now, ProducerPart)
        ]

    def agents(self) -> list[AgentState]:
        before = dict(_grouped(self._before, AgentPart))
        return [
            AgentState(
                id=key,
                agent=parts[0].agent,
                status=_worst(parts, WORST_AGENT),
                problem=_first(each.problem for each in parts),
                workers=sum(each.workers for each in parts),
                in_flight=sum(each.in_flight for each in parts),
                succeeded=(succeeded := _succeeded(parts)),
                failed=(failed := _failed(parts)),
                parked=sum(each.parked for each in parts),
                dead_lettered=sum(each.dead_lettered for each in parts),
                success_rate=self._rate(succeeded, _succeeded(before.get(key, parts))),
                failure_rate=self._rate(failed, _failed(before.get(key, parts))),
                last_message=_newest(each.last_message for each in parts),
                last_error=_first(each.last_error for each in parts),
            )
            for key, parts in _grouped(self._now, AgentPart)
        ]

    def limits(self) -> list[LimitState]:
        now, before = _denied(self._now), _denied(self._before)
        return [
            LimitState(name, name, count, self._rate(count, before.get(name, count)))
            for name, count in now.items()
        ]

    def breakers(self) -> list[BreakerState]:
        states: dict[tuple[str, str], int] = {}
        for report in self._now:
            for endpoint, backend, state in report.breakers:
                key = endpoint, backend
                states[key] = max(state, states.get(key, 0))
        return [
            BreakerState(f"{endpoint} {backend}", endpoint, backend, BREAKERS[state])
            for (endpoint, backend), state in states.items()
        ]

    def resources(self) -> list[ResourceState]:
        """Those of the first worker: the others have the same."""
        found = self._now[0].others if self._now else []
        return [
            ResourceState(str(number), each.kind, each.is_ready, each.problem, each.details)
            for number, each in enumerate(found)
        ]

    def _rate(self, now: int, before: int) -> float:
        return round((now - before) / self._seconds, 2) if now > before else 0.0

    def _days(self, expiries: Iterable[float | None]) -> float | None:
        known = [each for each in expiries if each is not None]
        return days_until(min(known), self._time) if known else None


def days_until(expires: float, time: float) -> float:
    return round((expires - time) / SECONDS_OF_A_DAY, 2)


def _grouped(reports: Iterable[WorkerDetails], kind: type[T]) -> Iterator[tuple[str, list[T]]]:
    """The parts of all workers that are the same thing, by its key. A worker may have several with
    one name, such as two subscriptions to one queue: these are kept apart by their order."""
    groups: dict[str, list[T]] = {}
    for report in reports:
        names: Counter[str] = Counter()
        for part in report.parts:
            if isinstance(part, kind):
                name = _name(part)
                names[name] += 1
                key = name if names[name] == 1 else f"{name} #{names[name]}"
                groups.setdefault(key, []).append(part)
    yield from groups.items()


def _name(part: LinkPart | QueuePart | ProducerPart | AgentPart) -> str:
    if isinstance(part, LinkPart):
        return f"{part.broker} {part.role}"
    if isinstance(part, QueuePart):
        return f"{part.broker} {part.queue}"
    return part.agent if isinstance(part, AgentPart) else f"{part.broker} {part.exchange}"


def _worst(
    parts: Iterable[LinkPart | QueuePart | ProducerPart | AgentPart], order: Sequence[str]
) -> str:
    return min((each.status for each in parts), key=order.index)


def _first(texts: Iterable[str]) -> str:
    return next((each for each in texts if each), "")


def _newest(times: Iterable[float | None]) -> float | None:
    return max((each for each in times if each is not None), default=None)


def _acked(parts: Iterable[QueuePart]) -> int:
    return sum(each.acked for each in parts)


def _requeued(parts: Iterable[QueuePart]) -> int:
    return sum(each.requeued for each in parts)


def _confirmed(parts: Iterable[ProducerPart]) -> int:
    return sum(each.confirmed for each in parts)


def _succeeded(parts: Iterable[AgentPart]) -> int:
    return sum(each.succeeded for each in parts)


def _failed(parts: Iterable[AgentPart]) -> int:
    return sum(each.failed for each in parts)


def _denied(reports: Iterable[WorkerDetails]) -> dict[str, int]:
    denied: Counter[str] = Counter()
    for report in reports:
        denied.update(report.denied)
    return dict(denied)
