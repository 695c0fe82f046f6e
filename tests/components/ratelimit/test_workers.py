"""A gateway of several processes keeps the limit of one."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import httpx

from bench.process import running
from gateway.demo.broker import free_port


def test_all_workers_share_a_limit(tmp_path: Path) -> None:
    backend = {"url_pattern": "/", "host": [f"http://127.0.0.1:{free_port()}"]}
    limits = {"qos/ratelimit/router": {"max_rate": 5, "capacity": 5, "every": "1h"}}
    config = {
        "version": 3,
        "endpoints": [{"endpoint": "/a", "backend": [backend], "extra_config": limits}],
    }
    with running(config, tmp_path, "--workers", "2") as gateway:
        # A connection each: the kernel gives them to one worker or the other.
        statuses = Counter(httpx.get(gateway.url + "/a").status_code for _ in range(40))
    assert statuses == {500: 5, 503: 35}
