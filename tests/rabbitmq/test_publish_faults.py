"""Things break while messages are published; every 200 is in the queue."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from bench.publish_faults import CASES, LIMIT, PublishFaultResult, run_case
from gateway.demo.broker import Broker

ANSWERED_THROUGHOUT = {"close", "broker"}
"""No request may fail whose deadline outlasts the repair."""

HYPERCORN = {
    "hypercorn": ("--server", "hypercorn"),
    "trio": ("--async-library", "trio"),
}


@pytest.mark.parametrize(
    ("case", "server"),
    [*((case, "http1") for case in CASES), *(("close", server) for server in HYPERCORN)],
)
def test_every_200_is_in_the_queue(
    case: str, server: str, broker: Broker, vhost_url: str, tmp_path: Path
) -> None:
    seconds = 12 if case == "broker" else 5
    flags = HYPERCORN.get(server, ())
    result = run_case(case, broker, vhost_url, tmp_path, 200, seconds, "15s", flags)
    print(result)
    assert result.lost == []
    assert set(result.statuses) <= ({200} if case in ANSWERED_THROUGHOUT else {0, 200, 503, 504})
    assert len(result.confirmed) >= 200
    if case == "full":
        assert len(result.confirmed) == LIMIT
        assert result.unannounced == 0


def test_the_result_shows_a_lost_message() -> None:
    result = PublishFaultResult({1, 2, 3}, Counter({1: 1, 3: 2, 4: 1}), Counter({200: 3}), 0.1)
    assert result.lost == [2]
    assert result.duplicates == 1
    assert result.unannounced == 1
