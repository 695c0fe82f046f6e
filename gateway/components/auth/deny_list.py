"""Which claims are revoked, and until when. KrakenD keeps a bloom filter; this is exact.

With a file (an SQLite database) revocations survive a restart and are valid in every process that
has the file open. Requests are checked in memory: a process reads the rows that it does not have
yet when SQLite reports a change. Rows are written in a thread.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import AsyncGenerator, Generator, Iterable, Sequence
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from pathlib import Path
from time import time
from typing import Any

from anyio import Lock, to_thread

from ...errors import GatewayError
from .claims import MISSING, Claims, claim_texts, find

SCHEMA = """
PRAGMA journal_mode = WAL;
CREATE TABLE IF NOT EXISTS revoked (
    number INTEGER PRIMARY KEY AUTOINCREMENT, entry TEXT UNIQUE NOT NULL, until REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS revoked_until ON revoked (until);
"""


class Full(GatewayError):
    """There are as many revocations as there may be."""


def open_database(path: str) -> sqlite3.Connection:
    """Creates the file if there is none; removes expired rows. Raises OSError, sqlite3.Error."""
    # SQLite does not wait when several processes switch one file to WAL.
    with _locked(Path(path).absolute().parent):
        with suppress(FileExistsError):  # SQLite itself would let everybody read it
            os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))
        database = sqlite3.connect(path)
        try:
            database.executescript(SCHEMA)
            with database:
                database.execute("DELETE FROM revoked WHERE until <= ?", (time(),))
            database.execute("PRAGMA busy_timeout = 5")  # milliseconds: it reads on the event loop
        except BaseException:
            database.close()
            raise
        return database


@contextmanager
def _locked(folder: Path) -> Generator[None]:
    file = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


class DenyList:
    """``names``: the claims that are watched. ``ttl``: seconds; ``most``: revocations. Full: no
    more are taken until some have ended."""

    def __init__(self, names: Iterable[str], ttl: float, most: int, path: str = "") -> None:
        self.names = tuple(names)
        self._ttl = ttl
        self._most = most
        self._path = path
        self._database: sqlite3.Connection | None = None
        self._version = self._last_number = 0
        self._adding = Lock()
        self._until: dict[str, float] = {}
        """Nearly in the order in which they end: all have the same time to live."""

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[None]:
        if not self._path:
            yield
            return
        self._version = self._last_number = 0
        self._database = open_database(self._path)
        try:
            self._read_on()
            yield
        finally:
            self._database.close()
            self._database = None

    def readiness(self) -> dict[str, Any]:
        return {"kind": "revocations", "ready": True, "count": len(self._until)}

    def is_revoked(self, claims: Claims) -> bool:
        """Whether one of the watched claims is. Never waits."""
        self._read_on()
        if not self._until:
            return False
        now = time()
        return any(self._until.get(entry, 0.0) > now for entry in self._entries(claims))

    async def add(self, claims: Claims) -> int:
        """Revoke what the watched claims say; returns how many they are.

        Raises :class:`Full`, and sqlite3.Error when the file cannot keep them.
        """
        entries = list(self._entries(claims))
        async with self._adding:
            self._forget_ended()
            if len(self._until) + len(entries) > self._most:
                raise Full(f"there are {self._most} revocations")
            until = time() + self._ttl
            if self._database is None:
                self._take((entry, until) for entry in entries)
            else:
                await to_thread.run_sync(_write, self._path, entries, until)
                self._read_on()
                if any(self._until.get(entry, 0.0) < until for entry in entries):
                    raise sqlite3.OperationalError("the file was replaced: restart the gateway")
        return len(entries)

    def _entries(self, claims: Claims) -> Iterable[str]:
        """As KrakenD's filter has them: the claim, a hyphen, its value."""
        for name in self.names:
            if find(claims, name) is not MISSING:
                yield from (f"{name}-{text}" for text in claim_texts(claims, name))

    def _take(self, revocations: Iterable[tuple[str, float]]) -> None:
        for entry, until in revocations:
            self._until.pop(entry, None)
            self._until[entry] = until

    def _forget_ended(self) -> None:
        now = time()
        while self._until and self._until[first := next(iter(self._until))] <= now:
            del self._until[first]

    def _read_on(self) -> None:
        """Take the rows that this or another process has added since the last call."""
        if self._database is None:
            return
        ((version,),) = self._database.execute("PRAGMA data_version")
        if version == self._version:
            return
        rows = self._database.execute(
            "SELECT number, entry, until FROM revoked WHERE number > ? ORDER BY number",
            (self._last_number,),
        ).fetchall()
        self._version = version
        if rows:
            self._last_number = rows[-1][0]
            self._forget_ended()
            self._take((entry, until) for _, entry, until in rows)


def _write(path: str, entries: Sequence[str], until: float) -> None:
    """In a thread, with a connection of its own: locks and the disk may take seconds."""
    uri = f"{Path(path).absolute().as_uri()}?mode=rw"
    with closing(sqlite3.connect(uri, uri=True)) as database, database:
        database.execute("DELETE FROM revoked WHERE until <= ?", (time(),))
        database.executemany(
            "INSERT OR REPLACE INTO revoked (entry, until) VALUES (?, ?)",
            [(entry, until) for entry in entries],
        )
