"""Which claims are revoked, and until when. KrakenD keeps a bloom filter; this is exact.

With a file revocations survive a restart and hold for every process that has it: each appends to
it and reads what others have appended. Lines of it: ``[until, "jti-abc"]``. It is written anew,
without those that have ended, at the start and when these have become the most.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from time import time
from typing import Any

import msgspec
from anyio import Event, to_thread

from ...core.tasks import open_tasks
from ...errors import GatewayError
from ...telemetry.logs import get_logger
from .claims import MISSING, Claims, claim_texts, find
from .line_file import LineFile

log = get_logger("gateway.auth")

GROWN, SPARED = 4, 1000
"""The file is written anew with so many times the lines that count, and as many more."""

_read_line = msgspec.json.Decoder(tuple[float, str]).decode


class Full(GatewayError):
    """There are as many revocations as there may be."""


class DenyList:
    """``names``: the claims that are watched. ``ttl``: seconds; ``most``: revocations. Full: no
    more are taken until some have ended."""

    def __init__(self, names: Iterable[str], ttl: float, most: int, path: str = "") -> None:
        self.names = tuple(names)
        self._ttl = ttl
        self._most = most
        self._path = path
        self._file = LineFile(path)
        self._is_grown = Event()
        self._spared = SPARED
        self._until: dict[str, float] = {}
        """Nearly in the order in which they end: all have the same time to live."""

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[None]:
        if not self._path:
            yield
            return
        self._is_grown = Event()
        self._file.open()
        try:
            self._read_on()
            if self._file.lines > len(self._until):
                self._rewrite()
            async with open_tasks() as service:
                service.start_soon(self._keep_small)
                yield
                service.cancel_scope.cancel()
        finally:
            self._file.close()

    def readiness(self) -> dict[str, Any]:
        return {"kind": "revocations", "ready": True, "count": len(self._until)}

    def is_revoked(self, claims: Claims) -> bool:
        """Whether one of the watched claims is. Never waits."""
        if self._file.is_open:
            self._read_on()
        if not self._until:
            return False
        now = time()
        return any(self._until.get(entry, 0.0) > now for entry in self._entries(claims))

    def add(self, claims: Claims) -> int:
        """Revoke what the watched claims say; returns how many they are. Raises :class:`Full`."""
        until = time() + self._ttl
        entries = list(self._entries(claims))
        self._forget_ended()
        if len(self._until) + len(entries) > self._most:
            raise Full(f"there are {self._most} revocations")
        for entry in entries:
            self._take(entry, until)
        if self._file.is_open:
            self._file.append([msgspec.json.encode((until, entry)) for entry in entries])
            self._read_on()
            if self._file.lines > GROWN * len(self._until) + self._spared:
                self._is_grown.set()
        return len(entries)

    def _entries(self, claims: Claims) -> Iterable[str]:
        """As KrakenD's filter has them: the claim, a hyphen, its value."""
        for name in self.names:
            if find(claims, name) is not MISSING:
                yield from (f"{name}-{text}" for text in claim_texts(claims, name))

    def _take(self, entry: str, until: float) -> None:
        self._until.pop(entry, None)
        self._until[entry] = until

    def _forget_ended(self) -> None:
        now = time()
        while self._until and self._until[first := next(iter(self._until))] <= now:
            del self._until[first]

    def _read_on(self) -> None:
        """Take what has been appended since, by whomever."""
        if lines := self._file.read_on():
            now = time()
            for until, entry in self._revocations(lines):
                if until > now:
                    self._take(entry, until)

    def _revocations(self, lines: Sequence[bytes]) -> Iterator[tuple[float, str]]:
        for line in lines:
            try:
                yield _read_line(line)
            except ValueError:
                log.warning("%s: a line that is no revocation is left out", self._path)

    async def _keep_small(self) -> None:
        while True:
            await self._is_grown.wait()
            await to_thread.run_sync(self._rewrite)
            self._is_grown = Event()

    def _rewrite(self) -> None:
        try:
            self._file.rewrite(self._needed)
        except OSError as error:
            self._spared += self._file.lines  # not with each revocation again
            log.warning("%s: cannot be written anew: %s", self._path, error.strerror)

    def _needed(self, lines: Sequence[bytes]) -> Sequence[bytes]:
        """Of each revocation the last, unless it has ended."""
        needed: dict[str, float] = {}
        for until, entry in self._revocations(lines):
            needed.pop(entry, None)
            needed[entry] = until
        now = time()
        return [msgspec.json.encode((until, e)) for e, until in needed.items() if until > now]
