"""Writes ``/__state.json``: once in a second for all browsers, and only if one asks."""

from __future__ import annotations

import os
import platform
import socket
import time
from collections.abc import Callable, Sequence
from typing import TypeAlias

import msgspec
from msgspec import Raw

from ...core.component import Assembly
from ...core.version import VERSION
from ...tls.expiry import CertificateFile
from .certificates import CertificatePlace, certificate_rows
from .counting import BOUNDS
from .endpoint_rows import EndpointRows
from .history import GatewayHistory
from .rows import PartRows
from .sentence import Facts, sentence
from .state import (
    VERSION_OF_STATE,
    ChartSeries,
    EndpointState,
    FailureState,
    FindingCounts,
    History,
    Instance,
    Outcomes,
    PageState,
    WorkerState,
)

STEP = 1.0
"""Seconds between two points."""

MAX_WRITTEN = 8
"""Documents of one second that are kept: browsers ask at different times, for the points after
different ones."""

Clock: TypeAlias = Callable[[], float]

NO_ENDPOINT = EndpointState("", "", "", 0, [], Outcomes(), Outcomes(), None, None, None, [], Raw())
NO_HISTORY = History(
    0, True, STEP, 0, [], ChartSeries(*([] for _ in ChartSeries.__struct_fields__))
)

encode = msgspec.json.Encoder().encode


class Known(msgspec.Struct):
    """What is found out in threads after the start. ``config_hash``: "" as long as it is not known.
    ``certificates``: as they were read last."""

    config_hash: str = ""
    file: str = ""
    findings: FindingCounts = FindingCounts(False)
    certificates: Sequence[tuple[CertificatePlace, CertificateFile]] = ()


class StateWriter:
    """``boot``: differs between two starts of the gateway. ``clock``: the monotonic clock of
    ``history``, in seconds; ``unix_time``: Unix time."""

    def __init__(
        self,
        assembly: Assembly,
        history: GatewayHistory,
        boot: str,
        clock: Clock = time.monotonic,
        unix_time: Clock = time.time,
    ) -> None:
        service = assembly.service
        self.known = Known()
        self._assembly = assembly
        self._history = history
        self._boot = boot
        self._clock = clock
        self._time = unix_time
        self._started = unix_time()
        self._endpoints = EndpointRows(service.endpoints, assembly.catalog, history)
        self._written: dict[tuple[int, bool], bytes] = {}
        self._written_at = 0
        self._was_ready = False
        self._base: PageState | None = None

    def text(self, since: int) -> bytes:
        """The document with the points after ``since``."""
        history = self._history
        if self._written_at != history.last:
            self._written.clear()
            self._written_at, self._base = history.last, None
        seconds = history.after(since)
        key = seconds.start, seconds.start != since + 1
        written = self._written.get(key)
        if written is None:
            written = encode(self._state(seconds, is_complete=key[1]))
            if len(self._written) < MAX_WRITTEN:
                self._written[key] = written
        return written

    def _state(self, seconds: range, *, is_complete: bool) -> PageState:
        """The same for everybody, with the points of ``seconds``."""
        if self._base is None:
            self._base = self._without_points()
        base, history = self._base, self._history
        rows = self._endpoints.rows(seconds)
        now = self._time() - (self._clock() - history.last)
        times = [round(now - (history.last - second), 3) for second in seconds]
        return msgspec.structs.replace(
            base,
            history=History(
                last=history.last,
                is_complete=is_complete,
                step=STEP,
                length=history.length,
                times=times,
                series=history.series(seconds),
            ),
            endpoints=rows[:-1],
            unmatched=rows[-1],
            failures=[
                FailureState(
                    id=each.id,
                    endpoint=each.endpoint,
                    second=second,
                    time=each.time,
                    status=each.status,
                    reason=each.reason,
                    request_id=each.request_id,
                    trace_id=each.trace_id,
                )
                for second, each in history.failures.after(seconds.start - 1)
            ],
        )

    def _without_points(self) -> PageState:
        history, now = self._history, self._time()
        up = history.up
        then, before = history.for_rates()
        rows = PartRows(up, before, history.last - then, now)
        links, queues, producers, agents = (
            rows.links(),
            rows.queues(),
            rows.producers(),
            rows.agents(),
        )
        breakers = rows.breakers()
        certificates = certificate_rows(self.known.certificates, now)
        is_stopping = any(each.is_stopping for each in up)
        is_ready = all(each.details and each.details.is_ready for each in up)
        self._was_ready = self._was_ready or is_ready
        said = sentence(
            Facts(
                time=now,
                endpoints=len(self._assembly.service.endpoints),
                workers=self._assembly.workers,
                up=len(up),
                uptime=now - self._started,
                was_ready=self._was_ready,
                is_stopping=is_stopping,
                links=links,
                queues=queues,
                producers=producers,
                agents=agents,
                breakers=breakers,
                certificates=certificates,
                findings=self.known.findings,
            )
        )
        return PageState(
            v=VERSION_OF_STATE,
            boot=self._boot,
            time=round(now, 3),
            state=said,
            gateway=self._instance(now, is_ready=is_ready, is_stopping=is_stopping),
            workers=self._worker_rows(),
            history=NO_HISTORY,
            bounds=BOUNDS,
            endpoints=[],
            unmatched=NO_ENDPOINT,
            failures=[],
            queues=queues,
            producers=producers,
            links=links,
            agents=agents,
            limits=rows.limits(),
            breakers=breakers,
            certificates=certificates,
            resources=rows.resources(),
            findings=self.known.findings,
        )

    def _instance(self, now: float, *, is_ready: bool, is_stopping: bool) -> Instance:
        assembly = self._assembly
        process = os.getppid() if assembly.workers > 1 else os.getpid()
        return Instance(
            name=assembly.service.name,
            version=VERSION,
            instance=f"{socket.gethostname()}:{process}",
            python=platform.python_version(),
            async_library="asyncio" if assembly.side.is_here else "trio",
            config=self.known.config_hash,
            config_file=self.known.file,
            started=round(self._started, 3),
            uptime=round(now - self._started, 3),
            is_ready=is_ready,
            is_draining=is_stopping,
        )

    def _worker_rows(self) -> list[WorkerState]:
        history = self._history
        up = {each.worker for each in history.up}
        return [
            WorkerState(
                id=str(each.worker),
                number=each.worker,
                pid=each.pid,
                started=round(each.started, 3),
                is_up=each.worker in up,
                is_ready=each.details is not None and each.details.is_ready,
                age=float(history.last - each.second),
                lag=round(each.lag, 6),
                in_flight=each.in_flight,
            )
            for each in history.workers
        ]
