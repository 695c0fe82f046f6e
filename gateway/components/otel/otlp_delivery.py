"""Sends data to a collector of OpenTelemetry from a thread, and logs failures.

Encoding and sending block, so they take place in a thread. Nothing here knows what is sent.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from threading import Thread
from time import monotonic
from typing import ClassVar, Generic, Protocol, TypeAlias, TypeVar

from anyio import Event, current_time, move_on_after, to_thread

from ...config.json_types import JsonObject
from ...core.tasks import open_tasks
from ...errors import GatewayError
from ...telemetry.logs import get_logger
from .exporters import OtlpExporter

log = get_logger("gateway.otlp")

D = TypeVar("D")
"""What is sent at once: a report of metrics, or a batch of spans."""
D_in = TypeVar("D_in", contravariant=True)

STOP_TIMEOUT = 2.0
"""Seconds in which the last data are sent when the gateway stops."""
LOG_PERIOD = 60.0
"""Seconds between two lines of the log while a collector cannot be reached."""
JOIN_PERIOD = 0.25
"""Seconds after which a thread that waits for another looks whether it is still wanted."""
ABORT_DELAY = 1.0
"""Seconds beyond the timeout of the library. Usually its own timeouts end a send before."""


class CollectorSender(Protocol[D_in]):
    """Sends to one collector. ``timeout``: seconds that a send may take."""

    @property
    def timeout(self) -> float: ...

    def send(self, data: D_in) -> str:
        """Blocks until the collector has the data. Returns why it has not; "" if it has."""
        ...

    def abort(self) -> None:
        """End a send that takes too long. It is called from another thread."""
        ...

    def close(self) -> object: ...


OpenSender: TypeAlias = Callable[[], CollectorSender[D]]
"""Raises any error if the environment has values that the library does not accept."""


class OutageLog:
    """One line when sends begin to fail, one each :data:`LOG_PERIOD` while they do, and one when
    data arrive again.

    ``what`` is sent, in ``sends``. ``losses``: what is lost with a failed one, "" for nothing.
    """

    def __init__(
        self,
        name: str,
        what: str,
        sends: str,
        losses: str = "",
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._name = name
        self._what = what
        self._sends = sends
        self._losses = losses
        self._clock = clock
        self._failures = 0
        self._lost = 0
        self._logged_at = 0.0

    @property
    def is_up(self) -> bool:
        """Whether the last send arrived. True before the first one."""
        return not self._failures

    def record(self, reason: str, size: int = 1) -> None:
        """``reason``: why a send failed; "" if it arrived. ``size``: what is lost if it failed."""
        if not reason:
            if self._failures:
                log.info("%s: %s arrive again (%s)", self._name, self._what, self._counts)
            self._failures = self._lost = 0
            return
        self._failures += 1
        self._lost += size
        now = self._clock()
        if self._failures == 1 or now - self._logged_at >= LOG_PERIOD:
            self._logged_at = now
            text = "%s: %s are not sent (%s): %s"
            log.warning(text, self._name, self._what, self._counts, reason)

    @property
    def _counts(self) -> str:
        failed = f"failed {self._sends}: {self._failures}"
        return f"{failed}, lost {self._losses}: {self._lost}" if self._losses else failed


class SendThread(Thread, Generic[D]):
    """Sends once. ``reason``: as of :meth:`CollectorSender.send`, when the thread has ended.

    It is a daemon: a collector that does not respond must not keep the process alive.
    """

    def __init__(self, sender: CollectorSender[D], data: D) -> None:
        super().__init__(name="otlp", daemon=True)
        self._sender = sender
        self._data = data
        self.reason = ""

    def run(self) -> None:
        try:
            self.reason = self._sender.send(self._data)
        except Exception as error:  # of the library: the next data are sent all the same
            self.reason = _described(error)

    async def ended(self) -> None:
        """Wait for the end. If this is cancelled, the thread goes on alone."""
        while self.is_alive():
            await to_thread.run_sync(self.join, JOIN_PERIOD, abandon_on_cancel=True)


class Deliverer(Generic[D]):
    """Sends with one thread at a time, and logs failures. ``outage``: what it logs."""

    def __init__(self, sender: CollectorSender[D], outage: OutageLog) -> None:
        self._sender = sender
        self._outage = outage
        self._running: SendThread[D] | None = None

    async def send(self, data: D, size: int = 1) -> bool:
        """Whether the collector has the data. ``size``: how much is lost if it has not.

        A send that takes too long is ended. That is not possible while its connection is not open
        (a name that is not resolved): then the next data wait as long, and are not sent.
        """
        reason = await self._sent(data)
        self._outage.record(reason, size)
        return not reason

    async def _sent(self, data: D) -> str:
        if self._running is not None and not await self._has_ended(self._running, self._limit):
            return "an earlier one has not ended"
        thread = SendThread(self._sender, data)
        try:
            thread.start()
        except RuntimeError as error:  # no memory for a thread
            return _described(error)
        self._running = thread
        if await self._has_ended(thread, self._limit):
            return thread.reason
        self._sender.abort()
        await self._has_ended(thread, ABORT_DELAY)
        return f"no complete response within {self._sender.timeout:g} s"

    @property
    def _limit(self) -> float:
        return self._sender.timeout + ABORT_DELAY

    async def _has_ended(self, thread: SendThread[D], seconds: float) -> bool:
        with move_on_after(seconds):
            await thread.ended()
        return not thread.is_alive()


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


class OtlpResource(ABC, Generic[D]):
    """Sends to one collector while the gateway runs. A resource of the gateway.

    ``kind``: its name in readiness. ``outage``: logs failures.
    """

    kind: ClassVar[str]

    def __init__(
        self, exporter: OtlpExporter, outage: OutageLog, open_sender: OpenSender[D]
    ) -> None:
        self._exporter = exporter
        self._outage = outage
        self._open_sender = open_sender

    @abstractmethod
    async def _repeat(self, delivery: Deliverer[D], stop: Event) -> None:
        """Send until ``stop`` is set, and then what is left."""

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[None]:
        """Send while the block runs, and what is left when it ends."""
        stop = Event()
        sender = self._opened_sender()
        try:
            async with open_tasks() as tasks:
                tasks.start_soon(self._repeat, Deliverer(sender, self._outage), stop)
                yield
                stop.set()
                tasks.cancel_scope.deadline = current_time() + STOP_TIMEOUT
        finally:
            sender.close()

    def _opened_sender(self) -> CollectorSender[D]:
        try:
            return self._open_sender()
        except Exception as error:  # of the library: what is wrong in the environment
            raise GatewayError(f"otlp {self._exporter.name}: {error}") from error

    def readiness(self) -> JsonObject:
        """Always ready: without a collector requests are served all the same."""
        return {
            "kind": self.kind,
            "ready": True,
            "name": self._exporter.name,
            "address": self._exporter.address,
            "connected": self._outage.is_up,
        }


def log_name(exporter: OtlpExporter, url: str) -> str:
    """What lines of the log call the sends of an exporter to this URL."""
    return " ".join(filter(None, ("otlp", exporter.name, url)))
