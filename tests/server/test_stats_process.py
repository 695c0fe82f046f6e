"""``/__stats`` as users read it: on its own port, on the management port, and while its port is in
use."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from bench.process import GatewayProcess
from gateway.demo.broker import free_port

from .test_tls_process import until

COUNT = "krakend.router.response./__a.status.500.count"


def count_at(port: int) -> int:
    count: int = httpx.get(f"http://127.0.0.1:{port}/__stats").json().get(COUNT, 0)
    return count


@pytest.mark.parametrize("library", ["asyncio", "trio"])
def test_both_ports_have_the_numbers_and_a_port_in_use_stops_the_start(
    tmp_path: Path, library: str
) -> None:
    port, management_port = free_port(), free_port()
    backend = {"url_pattern": "/a", "host": [f"http://127.0.0.1:{free_port()}"]}
    config = {
        "version": 3,
        "endpoints": [{"endpoint": "/__a", "backend": [backend]}],
        "extra_config": {
            "telemetry/metrics": {"listen_address": f"127.0.0.1:{port}"},
            "gateway": {"management_port": management_port},
        },
    }
    first = GatewayProcess(config, tmp_path, ["--async", library])
    second = GatewayProcess(config, tmp_path, ["--async", library])
    try:
        first.start(is_awaited=False)
        first.wait_for("/__a", 500)
        until(lambda: count_at(port) >= 1)
        count = count_at(port)
        assert count_at(management_port) == count
        second.start(is_awaited=False)
        assert second.wait() == 1
        assert f"cannot listen on 127.0.0.1:{port}: " in second.log
        assert count_at(port) == count
    finally:
        second.stop()
        assert first.stop() == 0, first.log
