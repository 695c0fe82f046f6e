"""What a generator is told, and what it tells: the two messages between it and the harness."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Mode = Literal["open", "closed", "waiting", "tap", "confirm"]
Jitter = Literal["none", "uniform", "poisson"]


class Step(Struct, frozen=True):
    """``rate`` requests a second for ``seconds``."""

    rate: float
    seconds: float


class Request(Struct, frozen=True):
    """Bytes on the wire: ``head``, the number when it is ``numbered``, ``tail``."""

    head: bytes
    tail: bytes = b""
    is_numbered: bool = False
    weight: int = 1


class Plan(Struct, frozen=True):
    """``steps``: of the open loop and of ``waiting``; ``seconds``: of the closed loop.

    ``connections``: opened before the start. The open loop opens no others: a request that finds
    all of them busy waits, and its latency counts from when it should have started.
    ``collects``: the numbers in answers are wanted. ``patience``: seconds for answers that are
    missing when the last request is sent. ``publish``: for ``waiting``, ``tap`` and ``confirm``,
    broker URL, exchange and routing key of what is published at the rate of ``steps``. ``tap``:
    nobody asks; the messages are consumed from the queue that is called as the key. ``confirm``:
    nobody asks, either; the answer is the broker's confirm of a message of ``delivery_mode``.
    """

    port: int
    requests: list[Request]
    mode: Mode
    host: str = "127.0.0.1"
    steps: list[Step] = []
    seconds: float = 0.0
    connections: int = 64
    jitter: Jitter = "poisson"
    seed: int = 1
    first_number: int = 0
    collects: bool = False
    patience: float = 5.0
    publish: tuple[str, str, str] | None = None
    delivery_mode: int = 2


class StepResult(Struct, frozen=True):
    """What came of one step. ``offered``: requests a second that the plan asked for; 0 in a
    closed loop.

    ``statuses``: answers by status; 0 for none (broken connection, or still missing at the end).
    ``latency``, ``lateness``: histograms in microseconds, encoded; the latency of the open loop
    counts from the intended start, and only answers are in it. ``longest_gap``: seconds between
    two successful answers. ``cpu_share``: of one core, that the generator used while the step
    lasted. ``requests`` that should have started in these ``seconds``, and
    ``answered_in_time``: how many answers came while the step lasted.
    """

    offered: float
    seconds: float
    requests: int
    answered_in_time: int
    statuses: dict[int, int]
    latency: str
    lateness: str
    longest_gap: float
    cpu_share: float


class LoadResult(Struct, frozen=True, tag=True):
    """``received``: numbers found in answers with a status 2xx; ``confirmed``: numbers sent in
    requests answered so."""

    steps: list[StepResult]
    received: list[int] = []
    confirmed: list[int] = []


class Progress(Struct, frozen=True, tag=True):
    """Told when the load begins, then a few times a second: answers so far, and those that
    failed."""

    answered: int
    failed: int


class Failure(Struct, frozen=True, tag=True):
    """There was no server to put load on."""

    problem: str
