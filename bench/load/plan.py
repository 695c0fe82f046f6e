"""The messages between the harness and the generator: plans, progress and results."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Mode = Literal["open", "closed", "waiting", "deliver", "confirm"]
Jitter = Literal["none", "uniform", "poisson"]


class Step(Struct, frozen=True):
    """``rate`` requests a second for ``seconds``."""

    rate: float
    seconds: float


class Request(Struct, frozen=True):
    """The bytes of a request. One that ``is_numbered`` has its number between the two parts."""

    before_number: bytes
    after_number: bytes = b""
    is_numbered: bool = False
    weight: int = 1

    def as_bytes(self, number: int) -> bytes:
        if self.is_numbered:
            return b"%b%d%b" % (self.before_number, number, self.after_number)
        return self.before_number


class Plan(Struct, frozen=True):
    """What the generator does.

    - ``steps``: of all modes but "closed". ``seconds``: of mode "closed".
    - ``connections``: opened before the start. The open loop opens no others: when all of them are
      busy a request waits, and its latency counts from its intended start.
    - ``collects``: whether the result has the numbers in responses.
    - ``patience``: seconds to wait for missing responses after the last request.
    - ``publish``: broker URL, exchange and routing key of the messages that the modes "waiting",
      "deliver" and "confirm" publish at the rate of ``steps``. "waiting": HTTP clients wait for the
      messages. "deliver": an AMQP client consumes them from the queue that is named like the key.
      "confirm": latency is the broker's time to confirm a message of ``delivery_mode``.
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


class Slice(Struct, frozen=True, array_like=True):
    """A part of a step. ``rate``: responses a second. ``p50``, ``p99``: milliseconds, of requests
    that should have started in it; 0 when there are none."""

    rate: float
    p50: float
    p99: float


class StepResult(Struct, frozen=True):
    """The result of one step.

    - ``offered``: requests a second of the plan; 0 in a closed loop.
    - ``requests``: how many should have started in these ``seconds``. ``responded_in_time``: how
      many responses came during the step.
    - ``statuses``: count by status; 0 for no response (the connection broke, or the response was
      missing at the end).
    - ``latency``, ``lateness``: encoded histograms in microseconds. The latency of the open loop
      counts from the intended start. Requests without a response are not in it.
    - ``longest_gap``: seconds between two successful responses.
    - ``cpu_share``: part of one core that the generator used during the step.
    - ``slices``: the step over time, in parts of equal length.
    """

    offered: float
    seconds: float
    requests: int
    responded_in_time: int
    statuses: dict[int, int]
    latency: str
    lateness: str
    longest_gap: float
    cpu_share: float
    slices: list[Slice] = []


class LoadResult(Struct, frozen=True, tag=True):
    """``received``: numbers in 2xx responses. ``confirmed``: numbers in requests with such a
    response."""

    steps: list[StepResult]
    received: list[int] = []
    confirmed: list[int] = []


class Progress(Struct, frozen=True, tag=True):
    """Written when the load begins, then a few times a second: responses so far, and failures."""

    responded: int
    failed: int


class Failure(Struct, frozen=True, tag=True):
    """There was no server."""

    problem: str
