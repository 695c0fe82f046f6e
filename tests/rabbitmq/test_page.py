"""The page of a gateway as users run it, read over sockets: with a broker that stops, with several
workers, and while the gateway drains."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psutil
import pytest

from bench.process import (
    GatewayProcess,
    agent,
    configuration,
    consumer,
    endpoint,
    producer,
    running,
)
from gateway.components.page.state import PageState
from gateway.demo.broker import free_port, open_broker

from .amqp import publish

LIBRARIES = ["asyncio", "trio"]
SECONDS = 30
"""Longer than any wait takes."""

NOTICED = 2.0
"""Seconds in which the page shows that a broker has stopped."""


class Reader:
    """Reads the page of one gateway."""

    def __init__(self) -> None:
        self.port = free_port()
        self.settings = {"extra_config": {"gateway": {"management_port": self.port}}}

    def get(self, path: str, **headers: str) -> httpx.Response:
        return httpx.get(f"http://127.0.0.1:{self.port}{path}", headers=headers, timeout=5)

    def state(self, since: int = 0) -> PageState:
        response = self.get(f"/__state.json?since={since}")
        assert response.status_code == 200
        return msgspec.json.decode(response.content, type=PageState)

    def until(self, is_it: Callable[[PageState], object], seconds: float = SECONDS) -> PageState:
        """The first state for which ``is_it`` is true."""
        deadline = time.monotonic() + seconds
        while True:
            with suppress(httpx.TransportError):  # it does not listen yet, or its worker has ended
                found = self.state()
                if is_it(found):
                    return found
                assert time.monotonic() < deadline, found.state
            assert time.monotonic() < deadline
            time.sleep(0.05)


def everything(url: str, reader: Reader) -> dict[str, Any]:
    return configuration(
        endpoint("/take", consumer(url, "orders")),
        endpoint("/send", producer(url, "ex", name="sent"), method="POST"),
        async_agent=[agent(url, "mails", producer(url, "ex", name="sent"))],
        **reader.settings,
    )


@pytest.mark.parametrize("library", LIBRARIES)
def test_the_page_shows_queues_producers_links_and_agents(
    vhost_url: str, tmp_path: Path, library: str
) -> None:
    reader = Reader()
    flags = ("--async-library", library)
    with running(everything(vhost_url, reader), tmp_path, *flags, is_awaited=False) as gateway:
        reader.until(lambda it: it.state.level == "green")
        asyncio.run(publish(vhost_url, "orders", [b"{}"] * 3))
        asyncio.run(publish(vhost_url, "mails", [b"{}"] * 2))
        for _ in range(3):
            assert httpx.get(f"{gateway.url}/take", timeout=SECONDS).status_code == 200
        assert httpx.post(f"{gateway.url}/send", content=b"{}").status_code == 200
        found = reader.until(lambda it: sum(it.history.series.published) == 3)
        found = reader.until(lambda it: sum(it.history.series.taken) == 5)
        queues = {each.queue: each for each in found.queues}
        assert (queues["orders"].acked, queues["mails"].acked) == (3, 2)
        assert queues["mails"].status == "attached"
        [sent] = found.producers
        assert (sent.exchange, sent.status, sent.confirmed) == ("ex", "ready", 3)
        [mails] = found.agents
        assert (mails.agent, mails.status, mails.succeeded) == ("agent-mails", "attached", 2)
        assert {each.role: each.status for each in found.links} == {
            "consume": "up",
            "publish": "up",
        }
        assert all(each.node.startswith("RabbitMQ ") for each in found.links)
        assert all(each.since and each.silence is not None for each in found.links)
        rows = {each.id: each for each in found.endpoints}
        assert rows["GET /take"].total.ok == 3
        assert rows["POST /send"].total.ok == 1
        assert "guest" not in reader.get("/__config.json").text.replace("guest:guest", "guest")
        page = reader.get("/")
        assert page.status_code == 200
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        again = reader.get("/", **{"If-None-Match": page.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert reader.get("/__state.json", Host="evil.test").status_code == 403
        assert gateway.stop() == 0, gateway.log
        assert "Traceback" not in gateway.log


def test_a_broker_that_stops_is_seen_within_two_seconds_and_its_return_as_well(
    tmp_path: Path,
) -> None:
    reader = Reader()
    with open_broker() as broker:
        config = configuration(endpoint("/a", consumer(broker.url, "a")), **reader.settings)
        with running(config, tmp_path, is_awaited=False) as gateway:
            reader.until(lambda it: it.state.level == "green")
            broker.stop(signal.SIGKILL)
            found = reader.until(lambda it: it.state.level != "green", NOTICED)
            assert found.state.level == "amber"
            assert found.state.text.startswith("Serving. 0 of 1 broker up")
            [reason] = found.state.reasons
            assert "(consume): " in reason
            broker.start()
            reader.until(lambda it: it.state.level == "green")
            assert gateway.stop() == 0, gateway.log


@pytest.mark.parametrize("library", LIBRARIES)
def test_the_page_answers_while_the_gateway_drains(
    vhost_url: str, tmp_path: Path, library: str
) -> None:
    reader = Reader()
    config = configuration(endpoint("/empty", consumer(vhost_url, "empty")), **reader.settings)
    with running(config, tmp_path, "--async-library", library, is_awaited=False) as gateway:
        reader.until(lambda it: it.state.level == "green")
        waiting = threading.Thread(
            target=lambda: httpx.get(f"{gateway.url}/empty", timeout=SECONDS), daemon=True
        )
        waiting.start()
        reader.until(lambda it: it.workers[0].in_flight == 1)
        psutil.Process(gateway.pid).send_signal(signal.SIGTERM)
        found = reader.until(lambda it: it.state.word == "Draining")
        assert found.gateway.is_draining
        waiting.join(SECONDS)
        assert gateway.wait() == 0, gateway.log


def test_several_workers_are_one(tmp_path: Path) -> None:
    reader = Reader()
    backend = {"url_pattern": "/", "host": [f"http://127.0.0.1:{free_port()}"]}
    config = configuration(endpoint("/a", backend), **reader.settings)
    with running(config, tmp_path, "--workers", "2", is_awaited=False) as gateway:
        found = reader.until(lambda it: sum(each.is_up for each in it.workers) == 2)
        assert found.state.text.startswith("Serving. 2 of 2 workers up")
        ask(gateway, 40)
        for _ in range(4):  # each connection may reach the other worker
            found = reader.until(lambda it: total(it) == 40 and len(it.failures) == 40)
            assert len({each.id for each in found.failures}) == 40
        boot = found.boot
        pids = [each.pid for each in found.workers]
        psutil.Process(pids[1]).kill()
        found = reader.until(
            lambda it: sum(each.is_up for each in it.workers) == 2 and it.workers[1].pid != pids[1]
        )
        assert (found.boot, found.workers[0].pid) == (boot, pids[0])


def ask(gateway: GatewayProcess, number: int) -> None:
    """Each request has a connection: the kernel gives them to one worker or the other."""
    for _ in range(number):
        assert httpx.get(f"{gateway.url}/a", timeout=SECONDS).status_code == 500


def total(state: PageState) -> float:
    return state.endpoints[0].total.server_errors
