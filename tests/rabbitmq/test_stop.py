"""A stop with requests and agents whose backend never answers."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from bench.process import agent, configuration, endpoint, running
from tests.http.service import Connection, Service, serving

from .amqp import count, publish

QUEUES = ("first", "second")


def test_requests_and_agents_share_one_grace_period(vhost_url: str, tmp_path: Path) -> None:
    """One after the other they would take so long that the process ends itself, with status 1."""
    over = threading.Event()

    def never(service: Service, connection: Connection, request: bytes) -> bool:
        over.wait(60)
        return False

    with serving(never) as service, ThreadPoolExecutor() as threads:
        backend = {"host": [service.url], "url_pattern": "/"}
        agents = [agent(vhost_url, queue, backend) for queue in QUEUES]
        for each in agents:
            each["consumer"]["timeout"] = "60s"
        document = configuration(
            endpoint("/slow", backend, timeout="60s"),
            async_agent=agents,
            max_shutdown_wait_time="3s",
        )
        with running(document, tmp_path) as gateway:
            request = threads.submit(httpx.get, gateway.url + "/slow", timeout=60)
            gateway.wait_for("/__ready")
            for queue in QUEUES:
                asyncio.run(publish(vhost_url, queue, [b"{}"]))
            deadline = time.monotonic() + 20
            while len(service.requests) < 3:
                assert time.monotonic() < deadline, gateway.log
                time.sleep(0.02)
            assert gateway.stop() == 0, gateway.log
            answer = request.result()
            assert (answer.status_code, answer.text) == (503, "the gateway is stopping")
            assert "Traceback" not in gateway.log
        over.set()
    for queue in QUEUES:
        assert asyncio.run(count(vhost_url, queue))[0] == 1
