"""``scripts/cluster``: the harness itself, with few requests. Run it with ``pytest -m cluster``."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from bench.cluster import RUNS
from bench.cluster_nodes import FAULTS, open_cluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]


def test_a_killed_node_costs_no_message_and_no_request(tmp_path: Path) -> None:
    fault = replace(FAULTS["kill-used"], seconds=6)
    with open_cluster() as nodes:
        for run in RUNS.values():
            result = run(nodes, fault, tmp_path, 50, "10s")
            print(result)
            assert result.lost == []
            assert set(result.statuses) == {200}
