"""The rows of queues, producers, links, agents, limits, breakers and other resources: from the
reports of all workers, each thing once. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from msgspec.structs import asdict

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
        rows = []
        for key, parts in _grouped(self._now, LinkPart):
            fields = asdict(_joined(parts, WORST_LINK))
            expires = fields.pop("certificate_expires")
            fields["heartbeat"] = parts[0].heartbeat
            days = None if expires is None else days_until(expires, self._time)
            up = sum(each.is_ready for each in parts)
            rows.append(LinkState(key, up=up, of=len(parts), certificate_days=days, **fields))
        return rows

    def queues(self) -> list[QueueState]:
        now = self._joined(self._now, QueuePart, WORST_QUEUE)
        before = self._joined(self._before, QueuePart, WORST_QUEUE)
        return [
            QueueState(
                key,
                ack_rate=self._rate(part.acked, before.get(key, part).acked),
                requeue_rate=self._rate(part.requeued, before.get(key, part).requeued),
                **asdict(part),
            )
            for key, part in now.items()
        ]

    def producers(self) -> list[ProducerState]:
        now = self._joined(self._now, ProducerPart, WORST_PRODUCER)
        before = self._joined(self._before, ProducerPart, WORST_PRODUCER)
        return [
            ProducerState(
                key,
                confirm_rate=self._rate(part.confirmed, before.get(key, part).confirmed),
                **asdict(part),
            )
            for key, part in now.items()
        ]

    def agents(self) -> list[AgentState]:
        now = self._joined(self._now, AgentPart, WORST_AGENT)
        before = self._joined(self._before, AgentPart, WORST_AGENT)
        return [
            AgentState(
                key,
                success_rate=self._rate(part.succeeded, before.get(key, part).succeeded),
                failure_rate=self._rate(part.failed, before.get(key, part).failed),
                **asdict(part),
            )
            for key, part in now.items()
        ]

    def _joined(
        self, reports: Iterable[WorkerDetails], kind: type[T], worst: Sequence[str]
    ) -> dict[str, T]:
        return {key: _joined(parts, worst) for key, parts in _grouped(reports, kind)}

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


def _joined(parts: Sequence[T], worst: Sequence[str]) -> T:
    """The parts of several workers as one: the worst status, the first text that is not empty, the
    sum of numbers, the latest of times."""
    first = parts[0]
    if len(parts) == 1:
        return first
    fields: dict[str, Any] = {}
    for name in first.__struct_fields__:
        values = [getattr(each, name) for each in parts]
        known = [each for each in values if each is not None]
        if name == "status":
            fields[name] = min(values, key=worst.index)
        elif not known:
            fields[name] = None
        elif isinstance(known[0], str):
            fields[name] = next(filter(None, values), "")
        else:
            fields[name] = max(known) if isinstance(known[0], float) else sum(known)
    return type(first)(**fields)


def _denied(reports: Sequence[WorkerDetails]) -> Mapping[str, int]:
    if len(reports) == 1:
        return reports[0].denied
    denied: Counter[str] = Counter()
    for report in reports:
        denied.update(report.denied)
    return denied
