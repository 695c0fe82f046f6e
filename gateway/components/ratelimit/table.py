"""Buckets in memory that all workers of a gateway share: one limit for all of them.

A table of sets of slots. A key belongs to one set; with no slot left in it the bucket that is
nearest to full is forgotten: it has the least to tell.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from struct import Struct
from typing import Any

from .bucket import Clock, Left, Rate, left, taken

SLOT = Struct("16sq")
"""A key, and when its bucket is full. Zeros: nobody's."""
SLOTS = 8
SET_SIZE = SLOT.size * SLOTS
SETS = 32_768
SIZE = SET_SIZE * SETS
"""Bytes; what is never used is never there."""


@contextmanager
def open_shared_memory() -> Generator[int]:
    """The descriptor of a file of zeros, for processes to inherit."""
    with ExitStack() as stack:
        if sys.platform == "linux":
            file = stack.enter_context(os.fdopen(os.memfd_create("rate limits"), "r+b"))
        else:
            file = stack.enter_context(tempfile.TemporaryFile())
        file.truncate(SIZE)
        yield file.fileno()


class SharedBuckets:
    """``descriptor``: of a file of :data:`SIZE` bytes that the workers have inherited.

    A set is locked while a process looks at it; the kernel unlocks what a dead one has left.
    """

    def __init__(self, descriptor: int, clock: Clock = time.monotonic_ns) -> None:
        self._descriptor = descriptor
        self._clock = clock
        self._memory = mmap.mmap(descriptor, SIZE)

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[None]:
        yield
        self._memory.close()

    def readiness(self) -> dict[str, Any]:
        return {"kind": "rate limits", "ready": True}

    def take(self, key: bytes, rate: Rate) -> bool:
        now = self._clock()
        with self._set_of(key) as slots:
            place, full_at = self._find(slots, key)
            after = taken(full_at, now, rate)
            if after is not None:
                SLOT.pack_into(self._memory, place, key, after)
            return after is not None

    def put_back(self, key: bytes, rate: Rate) -> None:
        with self._set_of(key) as slots:
            place, full_at = self._find(slots, key)
            if full_at:
                SLOT.pack_into(self._memory, place, key, full_at - rate.interval)

    def look(self, key: bytes, rate: Rate) -> Left:
        with self._set_of(key) as slots:
            _, full_at = self._find(slots, key)
        return left(full_at, self._clock(), rate)

    @contextmanager
    def _set_of(self, key: bytes) -> Generator[range]:
        """The places of a key's slots, nobody else's for as long."""
        start = int.from_bytes(key[:4]) % SETS * SET_SIZE
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX, SET_SIZE, start)
        try:
            yield range(start, start + SET_SIZE, SLOT.size)
        finally:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN, SET_SIZE, start)

    def _find(self, slots: range, key: bytes) -> tuple[int, int]:
        """The slot of a key and when its bucket is full; 0: it is new there."""
        fullest, soonest = slots[0], 2**63
        for place in slots:
            owner, full_at = SLOT.unpack_from(self._memory, place)
            if owner == key:
                return place, full_at
            if full_at < soonest:
                fullest, soonest = place, full_at
        return fullest, 0
