"""Limits that several processes share."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from anyio import run
from hypothesis import given
from hypothesis import strategies as st

import gateway
from gateway.components.ratelimit import shared_buckets as module
from gateway.components.ratelimit.bucket import SECOND, Buckets, Rate
from gateway.components.ratelimit.limits import fingerprint
from gateway.components.ratelimit.shared_buckets import SharedBuckets, open_shared_memory

from .test_bucket import Time, rate

TAKING = """
import sys
from gateway.components.ratelimit.bucket import Rate
from gateway.components.ratelimit.shared_buckets import SharedBuckets
table = SharedBuckets(int(sys.argv[1]))
sys.stdin.readline()
print(sum(table.take(bytes(16), Rate(10**15, 10**18)) for _ in range(1000)))
"""


def test_processes_together_admit_what_one_process_would() -> None:
    with open_shared_memory() as memory:
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", TAKING, str(memory)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pass_fds=[memory],
                cwd=Path(gateway.__file__).parents[1],
                text=True,
            )
            for _ in range(2)
        ]
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        passed = [int(process.communicate()[0]) for process in processes]
    assert sum(passed) == 1000


def test_buckets_refill_and_take_tokens_back() -> None:
    time, key, limit = Time(), fingerprint("a"), rate(1, 2)
    with open_shared_memory() as memory:
        table = SharedBuckets(memory, time)
        assert [table.take(key, limit) for _ in range(3)] == [True, True, False]
        table.put_back(key, limit)
        assert [table.take(key, limit) for _ in range(2)] == [True, False]
        time.now += SECOND
        assert [table.take(key, limit) for _ in range(2)] == [True, False]
        table.put_back(fingerprint("b"), limit)
        assert [table.take(fingerprint("b"), limit) for _ in range(3)] == [True, True, False]


@given(
    st.lists(st.tuples(st.integers(0, SECOND), st.sampled_from("abc"), st.booleans()), max_size=50)
)
def test_shared_buckets_admit_the_same_as_buckets_of_one_process(
    steps: list[tuple[int, str, bool]],
) -> None:
    time, limit = Time(), rate(2, 3)
    buckets = Buckets(time)
    with open_shared_memory() as memory:
        table = SharedBuckets(memory, time)
        for pause, client, takes in steps:
            time.now += pause
            key = fingerprint(client)
            if takes:
                assert table.take(key, limit) == buckets.take(key, limit)
            else:
                table.put_back(key, limit)
                buckets.put_back(key, limit)


def test_in_a_full_set_the_bucket_nearest_to_full_is_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "SETS", 1)
    keys = [fingerprint(str(number)) for number in range(module.SLOTS_PER_SET)]
    slow, quick = Rate(10 * SECOND, 10 * SECOND), Rate(SECOND, SECOND)
    with open_shared_memory() as memory:
        table = SharedBuckets(memory, Time())
        for key in keys[1:]:
            assert table.take(key, slow)
        assert table.take(keys[0], quick)
        assert table.take(fingerprint("another"), slow)
        assert not any(table.take(key, slow) for key in keys[1:])
        assert table.take(keys[0], quick)


def test_closing_shared_buckets_leaves_the_memory_to_others() -> None:
    async def close(table: SharedBuckets) -> None:
        async with table.opened():
            assert table.readiness()["ready"]

    with open_shared_memory() as memory:
        other = SharedBuckets(memory)
        run(close, SharedBuckets(memory))
        assert other.take(fingerprint("a"), rate(1))
        os.fstat(memory)
