"""Buckets in memory that all workers of a gateway share, so that they have one limit together.

A table of sets, each with eight slots. A key belongs to one set. If all its slots are used, a new
bucket replaces the one that is nearest to full: so the fewest used tokens are forgotten.
"""

from __future__ import annotations

import fcntl
import mmap
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from struct import Struct

from ...config.json_types import JsonObject
from ...core.anonymous_file import open_anonymous_file
from .bucket import BucketState, Clock, Rate, bucket_state, take_token

SLOT = Struct("16sq")
"""A key, and the time at which its bucket is full. Zeros: the slot is free."""
SLOTS_PER_SET = 8
BYTES_PER_SET = SLOT.size * SLOTS_PER_SET
SETS = 32_768
TABLE_BYTES = BYTES_PER_SET * SETS
"""The operating system gives memory only to the pages that are used."""


@contextmanager
def open_shared_memory() -> Generator[int]:
    """The descriptor of a file of zeros that the workers inherit."""
    with open_anonymous_file("rate limits", TABLE_BYTES) as descriptor:
        yield descriptor


class SharedBuckets:
    """``descriptor``: of a file of :data:`TABLE_BYTES` bytes that the workers have inherited.

    A set is locked while a process uses it. The kernel releases the locks of a process that ends.
    """

    def __init__(self, descriptor: int, clock: Clock = time.monotonic_ns) -> None:
        self._descriptor = descriptor
        self._clock = clock
        self._memory = mmap.mmap(descriptor, TABLE_BYTES)

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[None]:
        yield
        self._memory.close()

    def readiness(self) -> JsonObject:
        return {"kind": "rate limits", "ready": True}

    def take(self, key: bytes, rate: Rate) -> bool:
        now = self._clock()
        with self._set_of(key) as slots:
            place, full_at = self._find(slots, key)
            after = take_token(full_at, now, rate)
            if after is not None:
                SLOT.pack_into(self._memory, place, key, after)
            return after is not None

    def put_back(self, key: bytes, rate: Rate) -> None:
        with self._set_of(key) as slots:
            place, full_at = self._find(slots, key)
            if full_at:
                SLOT.pack_into(self._memory, place, key, full_at - rate.interval)

    def state(self, key: bytes, rate: Rate) -> BucketState:
        with self._set_of(key) as slots:
            _, full_at = self._find(slots, key)
        return bucket_state(full_at, self._clock(), rate)

    @contextmanager
    def _set_of(self, key: bytes) -> Generator[range]:
        """The offsets of the slots of a key's set, which is locked for this process meanwhile."""
        start = int.from_bytes(key[:4]) % SETS * BYTES_PER_SET
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX, BYTES_PER_SET, start)
        try:
            yield range(start, start + BYTES_PER_SET, SLOT.size)
        finally:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN, BYTES_PER_SET, start)

    def _find(self, slots: range, key: bytes) -> tuple[int, int]:
        """The slot of a key, and the time at which its bucket is full; 0: the key is new."""
        fullest, soonest = slots[0], 2**63
        for place in slots:
            owner, full_at = SLOT.unpack_from(self._memory, place)
            if owner == key:
                return place, full_at
            if full_at < soonest:
                fullest, soonest = place, full_at
        return fullest, 0
