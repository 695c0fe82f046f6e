"""Reports metrics to collectors of OpenTelemetry: when, and what the log says about failures.

A report has the sums since the start of the process. So a report that fails is not repeated: the
next one includes its numbers. Each worker reports for itself. Data and protocols:
:mod:`.otlp_library`.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from importlib.util import find_spec
from ipaddress import IPv6Address
from threading import Thread
from time import monotonic
from typing import Protocol, TypeAlias

from anyio import Event, current_time, move_on_after, to_thread

from ...config.json_types import JsonObject
from ...config.structs import Service
from ...core.component import MAX_PORT, Assembly
from ...core.tasks import open_tasks
from ...errors import GatewayError
from ...telemetry.logs import get_logger
from ...telemetry.metrics import FamilySample, Registry
from . import runtime
from .exporters import OtlpExporter
from .settings import OtelSettings
from .shared_metrics import ReadMetrics

log = get_logger("gateway.otlp")

MIN_TIMEOUT, MAX_TIMEOUT = 2.0, 10.0
"""Seconds that a report may take. Between them it is the period. The largest is the default of
OpenTelemetry's exporters."""
STOP_TIMEOUT = 2.0
"""Seconds that the last report may take when the gateway stops."""
LOG_PERIOD = 60.0
"""Seconds between two lines of the log while a collector cannot be reached."""
JOIN_PERIOD = 0.25
"""Seconds after which a thread that waits for a report looks whether it is still wanted."""

LIBRARIES = {
    True: ("opentelemetry.exporter.otlp.proto.http", "otel"),
    False: ("opentelemetry.exporter.otlp.proto.grpc", "otel-grpc"),
}
"""``use_http`` -> the library that it needs, and the extra that installs it."""

_HOST = re.compile(r"[\w.-]+|\[[0-9a-fA-F:.]+\]")


class ReportSender(Protocol):
    """Sends metrics to one collector."""

    def send(self, families: Sequence[FamilySample]) -> str:
        """Blocks until the collector has them. Returns why it has not; "" if it has."""
        ...

    def close(self) -> object: ...


OpenSender: TypeAlias = Callable[[], ReportSender]
"""Raises any error if the environment has values that the library does not accept."""


class OutageLog:
    """One line when reports begin to fail, one each :data:`LOG_PERIOD` while they do, and one when
    they arrive again."""

    def __init__(self, name: str, clock: Callable[[], float] = monotonic) -> None:
        self._name = name
        self._clock = clock
        self._failures = 0
        self._logged_at = 0.0

    @property
    def is_up(self) -> bool:
        """Whether the last report arrived. True before the first one."""
        return not self._failures

    def record(self, reason: str) -> None:
        """``reason``: why a report failed; "" if it arrived."""
        if not reason:
            if self._failures:
                log.info("%s: metrics arrive again (%d reports failed)", self._name, self._failures)
            self._failures = 0
            return
        self._failures += 1
        now = self._clock()
        if self._failures == 1 or now - self._logged_at >= LOG_PERIOD:
            self._logged_at = now
            text = "%s: metrics are not sent (failed reports: %d): %s"
            log.warning(text, self._name, self._failures, reason)


class ReportThread(Thread):
    """Sends one report. ``reason``: as of :meth:`ReportSender.send`, when the thread has ended.

    It is a daemon: a collector that does not respond must not keep the process alive.
    """

    def __init__(self, sender: ReportSender, families: Sequence[FamilySample]) -> None:
        super().__init__(name="otlp", daemon=True)
        self._sender = sender
        self._families = families
        self.reason = ""

    def run(self) -> None:
        try:
            self.reason = self._sender.send(self._families)
        except Exception as error:  # of the library: the next report is tried all the same
            self.reason = f"{type(error).__name__}: {error}"

    async def ended(self) -> None:
        """Wait for the end. If this is cancelled, the thread goes on alone."""
        while self.is_alive():
            await to_thread.run_sync(self.join, JOIN_PERIOD, abandon_on_cancel=True)


class OtlpReports:
    """The reports to one collector, one each ``period`` seconds, one after the other."""

    def __init__(
        self, exporter: OtlpExporter, period: float, read: ReadMetrics, open_sender: OpenSender
    ) -> None:
        self._exporter = exporter
        self._period = period
        self._read = read
        self._open_sender = open_sender
        self._outage = OutageLog(" ".join(filter(None, ("otlp", exporter.name, exporter.url))))

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[None]:
        """Report while the block runs, and once when it ends."""
        stop = Event()
        try:
            sender = self._open_sender()
        except Exception as error:  # of the library: what is wrong in the environment
            raise GatewayError(f"otlp {self._exporter.name}: {error}") from error
        try:
            async with open_tasks() as tasks:
                tasks.start_soon(self._repeat, sender, stop)
                yield
                stop.set()
                tasks.cancel_scope.deadline = current_time() + STOP_TIMEOUT
        finally:
            sender.close()

    def readiness(self) -> JsonObject:
        """Always ready: without a collector requests are served all the same."""
        return {
            "kind": "otlp",
            "ready": True,
            "name": self._exporter.name,
            "address": self._exporter.address,
            "connected": self._outage.is_up,
        }

    async def _repeat(self, sender: ReportSender, stop: Event) -> None:
        is_last = False
        while not is_last:
            with move_on_after(self._period):
                await stop.wait()
            is_last = stop.is_set()
            try:
                report = ReportThread(sender, tuple(self._read()))
                report.start()
                await report.ended()
            except Exception as error:  # such as no memory for a thread: the next one is tried
                self._outage.record(f"{type(error).__name__}: {error}")
            else:
                self._outage.record(report.reason)


def build_otlp(
    settings: OtelSettings, service: Service, registry: Registry, assembly: Assembly
) -> None:
    """Make the reports to each collector. The library is imported only if there is one."""
    if not settings.otlp_of_metrics:
        return
    from .otlp_library import OtlpSender, build_resource

    def read() -> Iterator[FamilySample]:
        """As in KrakenD, metrics of the process and of Python are for Prometheus only."""
        hidden = runtime.PROCESS, runtime.PYTHON
        return (each for each in registry.samples() if not each.name.startswith(hidden))

    resource = build_resource(settings.target(service), assembly.worker, assembly.workers)
    for number, each in enumerate(settings.otlp_of_metrics):
        period = settings.period_of(each)
        timeout = max(MIN_TIMEOUT, min(period, MAX_TIMEOUT))
        open_sender = partial(OtlpSender, each.url, resource, timeout, use_http=each.use_http)
        make = partial(OtlpReports, each, period, read, open_sender)
        assembly.resource(("otlp", number), make)


def verify_otlp(settings: OtelSettings) -> Iterator[tuple[str, str]]:
    """Hosts, ports and periods that are not possible, and libraries that are not installed."""
    for number, each in enumerate(settings.otlp):
        key = f"exporters.otlp[{number}]"
        if not 0 <= each.port <= MAX_PORT:
            yield f"{key}.port", f"expected a port from 1 to {MAX_PORT}, found {each.port}"
        if not _is_host(each.bare_host):
            yield f"{key}.host", "expected a name or an address without port and path"
        if each.custom_metric_reporting_period < 0:
            yield f"{key}.custom_metric_reporting_period", "expected 0 or more"
        library, extra = LIBRARIES[each.use_http]
        if not each.disable_metrics and not _is_installed(library):
            yield key, f'needs a library: pip install "hutch-gateway[{extra}]"'
    if settings.metric_reporting_period < 0:
        yield "metric_reporting_period", "expected 0 or more"


def _is_host(host: str) -> bool:
    if _HOST.fullmatch(host):
        return True
    try:
        IPv6Address(host)
    except ValueError:
        return False
    return True


def _is_installed(library: str) -> bool:
    """Without importing it."""
    try:
        return find_spec(library) is not None
    except ModuleNotFoundError:  # the package around it
        return False


def otlp_traps(settings: OtelSettings) -> Iterator[tuple[str, str]]:
    """What works in another way than in KrakenD, or not yet: key and text."""
    for number, each in enumerate(settings.otlp):
        key = f"exporters.otlp[{number}]"
        if each.use_http and not each.port and not each.disable_metrics:
            text = f"is {each.address.rpartition(':')[2]}, the port of collectors for HTTP; "
            yield f"{key}.port", f"{text}KrakenD would use 4317, that for gRPC"
        if not each.disable_traces:
            yield key, "traces are not sent yet, only metrics"
