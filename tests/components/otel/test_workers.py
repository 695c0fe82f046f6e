"""A gateway of several processes reports the metrics of all, also when one of them is killed."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest

from bench.process import GatewayProcess, configuration, endpoint, running
from gateway.components.otel.settings import NAMESPACE
from gateway.demo.broker import free_port

COUNT = re.compile(r"^krakend_proxy_duration_count\{.*\} (\S+)$", re.MULTILINE)

SECONDS = 50
"""Longer than any wait takes."""


class Scraper:
    """Reads one port again and again. The number of requests never becomes smaller."""

    def __init__(self, port: int) -> None:
        self.requests = 0
        self.text = ""
        self._url = f"http://127.0.0.1:{port}/metrics"

    def scrape(self) -> bool:
        """Whether the port has responded."""
        try:
            response = httpx.get(self._url)
        except httpx.TransportError:  # its worker has just been killed
            return False
        assert response.status_code == 200
        self.text = response.text
        found = sum(float(each) for each in COUNT.findall(self.text))
        assert found >= self.requests
        self.requests = int(found)
        return True

    def wait_for(self, requests: int) -> None:
        wait_until(lambda: self.scrape() and self.requests >= requests)
        assert self.requests == requests


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def send(gateway: GatewayProcess, number: int) -> None:
    """Each request has a connection: the kernel gives them to one worker or the other."""
    for _ in range(number):
        assert httpx.get(gateway.url + "/a", timeout=SECONDS).status_code == 500


def workers(gateway: GatewayProcess) -> dict[str, psutil.Process]:
    """Those that listen, by number."""
    found = {}
    for process in psutil.Process(gateway.pid).children():
        with suppress(psutil.Error):  # it has ended
            line = process.cmdline()
            ports = {each.laddr.port for each in process.net_connections() if each.laddr}
            if gateway.port in ports:
                found[line[line.index("--worker") + 1]] = process
    return found


@pytest.mark.parametrize("killed", ["0", "1"])
def test_counters_of_all_workers_outlast_a_worker_that_is_killed(
    tmp_path: Path, killed: str
) -> None:
    port, management, unused = free_port(), free_port(), free_port()
    backend = {"url_pattern": "/", "host": [f"http://127.0.0.1:{unused}"]}
    exporters = [{"port": port, "listen_ip": "127.0.0.1", "process_metrics": True}]
    settings = {NAMESPACE: {"exporters": {"prometheus": exporters}}}
    own = {"gateway": {"management_port": management}}
    config = configuration(endpoint("/a", backend), extra_config={**settings, **own})
    with running(config, tmp_path, "--workers", "2", is_awaited=False) as gateway:
        wait_until(lambda: workers(gateway).keys() == {"0", "1"})
        exporter, anyone = Scraper(port), Scraper(management)
        wait_until(exporter.scrape)
        send(gateway, 30)
        exporter.wait_for(30)
        anyone.wait_for(30)
        assert exporter.text.count("\nprocess_start_time_seconds ") == 1

        before = workers(gateway)[killed]
        before.kill()
        wait_until(lambda: workers(gateway).get(killed, before) != before)
        anyone.wait_for(30)
        wait_until(exporter.scrape)
        # It has its earlier counters again, and new ones.
        send(gateway, 30)
        exporter.wait_for(60)
        anyone.wait_for(60)
