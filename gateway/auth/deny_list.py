"""Which claims are revoked, and until when. KrakenD keeps a bloom filter; this is exact.

With a file revocations survive a restart and hold for every process that has it: each appends to it
and reads what others have appended. Lines of it: ``[until, "jti-abc"]``.
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from time import time
from typing import Any

import msgspec

from ..errors import GatewayError
from .claims import MISSING, Claims, claim_texts, find

log = logging.getLogger("gateway.auth")

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
        self._file = -1
        self._read_to = 0
        self._until: dict[str, float] = {}
        """Nearly in the order in which they end: all have the same time to live."""

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[None]:
        if not self._path:
            yield
            return
        self._file = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            self._read_on()
            yield
        finally:
            os.close(self._file)
            self._file = -1

    def readiness(self) -> dict[str, Any]:
        return {"kind": "revocations", "ready": True, "count": len(self._until)}

    def is_revoked(self, claims: Claims) -> bool:
        """Whether one of the watched claims is. Never waits."""
        if self._file >= 0:
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
        if self._file >= 0:
            lines = [msgspec.json.encode((until, entry)) + b"\n" for entry in entries]
            os.write(self._file, b"".join(lines))  # at the end, in one piece (O_APPEND)
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
        """Take what has been appended since; a line that is not whole yet waits."""
        missing = os.fstat(self._file).st_size - self._read_to
        if missing <= 0:
            return
        whole, newline, _ = os.pread(self._file, missing, self._read_to).rpartition(b"\n")
        self._read_to += len(whole) + len(newline)
        now = time()
        for line in whole.splitlines():
            try:
                until, entry = _read_line(line)
            except ValueError:
                log.warning("%s: a line that is no revocation is left out", self._path)
                continue
            if until > now:
                self._take(entry, until)
