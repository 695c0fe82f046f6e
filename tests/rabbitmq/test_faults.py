"""Things break under load; every message is either answered or still in its queue."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from bench.faults import FAULTS, FaultResult, run_fault
from gateway.demo.broker import Broker

ANSWERED_THROUGHOUT = {"close", "broker", "alarm", "hangup", "slow"}
"""The gateway lives on: no request may fail whose deadline outlasts the repair."""


HYPERCORN = {
    "hypercorn": ("--server", "hypercorn"),
    "trio": ("--async-library", "trio"),
}


@pytest.mark.parametrize(
    ("fault", "server"),
    [
        *((fault, "http1") for fault in FAULTS),
        *(("close", server) for server in HYPERCORN),
        *(("hangup", server) for server in HYPERCORN),
        *(("slow", server) for server in HYPERCORN),
    ],
)
def test_nothing_is_lost(
    fault: str, server: str, broker: Broker, vhost_url: str, tmp_path: Path
) -> None:
    seconds = 12 if fault == "broker" else 5
    flags = HYPERCORN.get(server, ())
    result = run_fault(fault, broker, vhost_url, tmp_path, 200, seconds, "15s", flags)
    print(result)
    assert result.lost == []
    assert result.large_lost == 0
    assert set(result.statuses) <= ({200} if fault in ANSWERED_THROUGHOUT else {0, 200, 503})
    assert sum(result.received.values()) > 100


def test_the_result_shows_a_lost_message() -> None:
    result = FaultResult(4, Counter({0: 1, 2: 2}), Counter({200: 3}), [0], 0.1, 0)
    assert result.lost == [1, 3]
    assert result.duplicates == 2
