"""The whole gateway as a process, on every server and both async libraries."""

from __future__ import annotations

import asyncio
import signal
import threading
from pathlib import Path

import httpx
import pytest

from bench.process import GatewayProcess, configuration, consumer, endpoint, running
from gateway.demo.broker import free_port

from .amqp import count, publish

SERVERS = {
    "http1": ("--server", "http1"),
    "hypercorn": ("--server", "hypercorn"),
    "trio": ("--async-library", "trio"),
}


@pytest.fixture(params=list(SERVERS.values()), ids=list(SERVERS))
def flags(request: pytest.FixtureRequest) -> tuple[str, ...]:
    return tuple(request.param)


def ready_in_queue(url: str, queue: str) -> int:
    return asyncio.run(count(url, queue))[0]


def get(gateway: GatewayProcess, path: str, **options: object) -> httpx.Response:
    return httpx.get(gateway.url + path, timeout=15, **options)  # type: ignore[arg-type]


def test_messages_are_answered_merged_and_acknowledged(
    vhost_url: str, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    config = configuration(
        endpoint("/one", consumer(vhost_url, "a")),
        endpoint("/both", consumer(vhost_url, "a"), consumer(vhost_url, "b", wait="100ms")),
    )
    with running(config, tmp_path, *flags) as gateway:
        gateway.wait_for("/__ready")
        asyncio.run(publish(vhost_url, "a", [b'{"a":%d}' % n for n in range(4)]))
        asyncio.run(publish(vhost_url, "b", [b'{"b":1}']))
        assert get(gateway, "/one").json() == {"a": 0}
        # The server closes with the answer; whether it has left is seen before.
        assert get(gateway, "/one", headers={"Connection": "close"}).json() == {"a": 1}
        whole = get(gateway, "/both")
        assert whole.json() == {"a": 2, "b": 1}
        assert whole.headers["x-krakend-completed"] == "true"
        part = get(gateway, "/both")
        assert part.json() == {"a": 3}
        assert part.headers["x-krakend-completed"] == "false"
        assert gateway.stop() == 0
        assert "Traceback" not in gateway.log
    assert ready_in_queue(vhost_url, "a") == 0
    assert ready_in_queue(vhost_url, "b") == 0


def test_buffered_messages_are_returned_to_the_queue_at_the_stop(
    vhost_url: str, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    with running(configuration(endpoint("/a", consumer(vhost_url, "a"))), tmp_path, *flags) as it:
        it.wait_for("/__ready")
        asyncio.run(publish(vhost_url, "a", [b"{}"] * 10))
        assert get(it, "/a").status_code == 200
        assert it.stop(signal.SIGINT) == 0
    assert ready_in_queue(vhost_url, "a") == 9


def test_a_request_that_waits_is_answered_during_the_stop(
    vhost_url: str, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    with running(configuration(endpoint("/a", consumer(vhost_url, "a"))), tmp_path, *flags) as it:
        it.wait_for("/__ready")
        answers: list[int] = []
        waiting = threading.Thread(target=lambda: answers.append(get(it, "/a").status_code))
        waiting.start()
        threading.Timer(0.7, lambda: asyncio.run(publish(vhost_url, "a", [b"{}"]))).start()
        threading.Event().wait(0.3)
        assert it.stop() == 0
        waiting.join()
    assert answers == [200]
    assert ready_in_queue(vhost_url, "a") == 0


def test_without_a_broker_the_gateway_starts_and_says_so(
    tmp_path: Path, flags: tuple[str, ...]
) -> None:
    config = configuration(
        endpoint("/a", consumer("amqp://me:secret@127.0.0.1:1", "a"), timeout="200ms")
    )
    with running(config, tmp_path, *flags) as gateway:
        answer = get(gateway, "/a")
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        ready = get(gateway, "/__ready")
        assert ready.status_code == 503
        assert "secret" not in ready.text + gateway.log


def test_health_and_readiness_may_have_a_port_of_their_own(
    tmp_path: Path, flags: tuple[str, ...]
) -> None:
    port = free_port()
    config = configuration(
        {"endpoint": "/a", "backend": [{"host": ["http://127.0.0.1:10"], "url_pattern": "/"}]},
        extra_config={"gateway": {"management_port": port}},
    )
    with running(config, tmp_path, *flags, is_awaited=False) as gateway:
        gateway.wait_for("/__health", 404)
        for path in ("/__health", "/__ready"):
            assert httpx.get(f"http://127.0.0.1:{port}{path}").status_code == 200
            assert get(gateway, path).status_code == 404
        assert httpx.get(f"http://127.0.0.1:{port}/a").status_code == 404
        assert gateway.stop() == 0


def test_workers_share_the_port_and_stop_together(vhost_url: str, tmp_path: Path) -> None:
    config = configuration(endpoint("/a", consumer(vhost_url, "a"), timeout="200ms"))
    with running(config, tmp_path, "--workers", "2") as gateway:
        gateway.wait_for("/__ready")
        asyncio.run(publish(vhost_url, "a", [b"{}"] * 20))
        # Each worker has its own part of the messages, and the kernel deals out the requests.
        statuses: list[int] = []
        while statuses.count(200) < 20:
            statuses.append(get(gateway, "/a").status_code)
        assert set(statuses) <= {200, 204}
        assert gateway.stop() == 0
    assert ready_in_queue(vhost_url, "a") == 0
