"""The page of one process: it takes a report once a second, and answers browsers.

Each worker reads the reports of the others, so each can serve the page: they listen on one
``management_port``, and a browser's next connection may reach another one.
"""

from __future__ import annotations

import math
import os
import re
import secrets
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeAlias

from anyio import Event, sleep, to_thread
from msgspec import MsgspecError
from msgspec.json import encode

from ...amqp.connection.link import Link
from ...config.json_types import JsonObject
from ...config.structs import PageSettings
from ...core.asgi import ASGIApp, AsgiResponse, Receive, Scope, Send, send_answer
from ...core.component import Assembly
from ...core.proxy import Guard, Request
from ...core.review import Review
from ...core.shared_file import SharedFile
from ...core.tasks import open_tasks
from ...errors import Refused
from ...telemetry.logs import get_logger
from . import report as reports
from .access import Access
from .assets import Asset, json_response, read_assets
from .certificates import certificate_places, read_certificates
from .config_view import extensions, hash_of, understood
from .counting import EndpointCounters
from .document import StateWriter
from .failures import FailureNotes
from .findings_view import counts_of, findings_document
from .history import GatewayHistory
from .report import Reporter, WorkerReport
from .state import VERSION_OF_STATE, ConfigDocument

log = get_logger("gateway.page")

CERTIFICATES_INTERVAL = 60.0
"""Seconds between two looks at the files of certificates."""

Answer: TypeAlias = Callable[[Scope], Awaitable[AsgiResponse]]
"""The response to a request that is admitted."""

_SINCE = re.compile(rb"(?:^|&)since=(\d{1,15})(?:&|$)")

WATCHED_SECONDS = 10
"""For how long reports have details after a browser has asked: they are most of the work."""

STATE, CONFIG, FINDINGS = "__state.json", "__config.json", "__findings.json"
"""The documents, relative to the page."""


class Page:
    """``counts``, ``failures``: what this process counts. ``guard``: checks logins; None: there is
    none."""

    def __init__(
        self,
        settings: PageSettings,
        assembly: Assembly,
        counts: EndpointCounters,
        failures: FailureNotes,
        guard: Guard | None,
    ) -> None:
        self._assembly = assembly
        self._access = Access(settings)
        self._guard = guard
        self._path = settings.path
        self._reporter = Reporter(assembly, counts, failures)
        self._history = GatewayHistory(len(counts.all), int(settings.history), settings.samples)
        files = [SharedFile(each) for each in assembly.shared_reports]
        self._own_file = files.pop(assembly.worker) if files else None
        self._other_files = files
        self._writer = StateWriter(assembly, self._history, _boot(assembly))
        self._config = self._findings = b""
        self._is_reviewed = Event()
        self._has_failed = False
        self._watched_until = 0

    # A resource of the gateway.

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[None]:
        self._is_reviewed = Event()
        self._reporter.opened()
        if self._own_file is not None:
            self._own_file.own()
        self._take(int(time.monotonic()), 0.0)
        async with open_tasks() as tasks:
            tasks.start_soon(self._keep_time)
            tasks.start_soon(self._find_out)
            yield
            tasks.cancel_scope.cancel()

    def readiness(self) -> JsonObject:
        return {"kind": "page", "ready": True}

    async def _keep_time(self) -> None:
        """Take a point at each full second of the machine's monotonic clock."""
        while True:
            now = time.monotonic()
            due = math.floor(now) + 1
            await sleep(due - now)
            late = time.monotonic() - due
            if late >= 0:
                self._take(due + int(late), late)

    def _watch(self) -> None:
        """A browser asks, and will probably ask again."""
        if self._history.last > self._watched_until and not self._other_files:
            self._history.put_details(self._assembly.worker, self._reporter.details())
        self._watched_until = self._history.last + WATCHED_SECONDS

    def _take(self, second: int, lag: float) -> None:
        try:
            # The others cannot know whether a browser asks another worker.
            with_details = bool(self._other_files) or second <= self._watched_until
            own = self._reporter.report(second, lag, with_details=with_details)
            if self._own_file is not None:
                self._own_file.write(reports.encode(own))
            self._history.advance(second, own, [*self._reports_of_others()])
        except Exception:  # the page must not stop the gateway
            if not self._has_failed:
                self._has_failed = True
                log.exception("the page has no new numbers: its next errors are not logged")

    def _reports_of_others(self) -> Iterable[WorkerReport]:
        for file in self._other_files:
            content = file.read()
            try:
                if content:
                    yield reports.decode(content)
            except MsgspecError:  # of another version
                continue

    async def _find_out(self) -> None:
        """What takes time, in threads."""
        in_thread = partial(to_thread.run_sync, abandon_on_cancel=True)
        known = self._writer.known
        review = await in_thread(self._assembly.review)
        described = await in_thread(self._describe_config, review)
        self._config, self._findings = encode(described), encode(findings_document(review))
        known.config_hash, known.file = described.hash, review.file
        known.findings = counts_of(review)
        self._is_reviewed.set()
        resources = self._assembly.resources.values()
        urls = [url for each in resources if isinstance(each, Link) for url in each.urls]
        places = certificate_places(self._assembly.service, urls)
        while places:
            known.certificates = await in_thread(read_certificates, places)
            await sleep(CERTIFICATES_INTERVAL)

    def _describe_config(self, review: Review) -> ConfigDocument:
        service = self._assembly.service
        config = understood(service, review.placeholders)
        keys = [*extensions(service)]
        return ConfigDocument(VERSION_OF_STATE, hash_of(config), review.file, keys, config)

    # For browsers.

    def apps(self) -> Mapping[str, ASGIApp]:
        """By their paths on the management port."""
        base = self._path.rpartition("/")[0] + "/"

        async def state(scope: Scope) -> AsgiResponse:
            self._watch()
            return json_response(self._writer.text(_since(scope)))

        async def config(scope: Scope) -> AsgiResponse:
            await self._is_reviewed.wait()
            return json_response(self._config)

        async def findings(scope: Scope) -> AsgiResponse:
            await self._is_reviewed.wait()
            return json_response(self._findings)

        documents = {STATE: state, CONFIG: config, FINDINGS: findings}
        apps = {base + name: self._app(respond) for name, respond in documents.items()}
        for name, asset in read_assets().items():
            apps[base + name if name else self._path] = self._app(_answer_with(asset))
        return apps

    def _app(self, answer: Answer) -> ASGIApp:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await send_answer(send, await self._refusal(scope) or await answer(scope))

        return app

    async def _refusal(self, scope: Scope) -> AsgiResponse | None:
        refusal = self._access.refusal(scope)
        if refusal is None and self._guard is not None:
            remote = (scope.get("client") or ("",))[0]
            request = Request(scope["method"], scope["path"], {}, scope["headers"], remote=remote)
            try:
                if (waiting := self._guard(request)) is not None:
                    await waiting
            except Refused as refused:
                return AsgiResponse(refused.status, refused.headers)
        return refusal


def _answer_with(asset: Asset) -> Answer:
    async def answer(scope: Scope) -> AsgiResponse:
        return asset.response(scope["headers"])

    return answer


def _since(scope: Scope) -> int:
    """``since=N`` of the query string; 0: from the beginning."""
    found = _SINCE.search(scope["query_string"])
    return int(found[1]) if found else 0


def _boot(assembly: Assembly) -> str:
    """The same for all workers, and another one after each start of the gateway."""
    if not assembly.shared_reports:
        return secrets.token_hex(8)
    return f"{os.getppid():x}-{os.fstat(assembly.shared_reports[0]).st_ino:x}"
