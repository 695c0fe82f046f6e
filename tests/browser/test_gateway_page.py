"""The live page of a real gateway on a real RabbitMQ, in a browser."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from time import monotonic, sleep
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from bench.process import (
    GatewayProcess,
    agent,
    configuration,
    consumer,
    endpoint,
    producer,
    running,
)
from gateway.demo.broker import Broker, free_port

from .watched import Watched, axe_findings

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

HOSTILE = "<img src=x onerror=alert(1)>"


def shop(url: str, port: int) -> dict[str, Any]:
    queue = {"name": HOSTILE, "routing_key": ["orders"], "exchange": "shop"}
    return configuration(
        endpoint("/orders", consumer(url, "", **queue, wait="300ms")),
        endpoint(
            "/orders",
            producer(url, "shop", name="", routing_key="orders", mandatory=True),
            method="POST",
        ),
        endpoint(
            "/lost", producer(url, "shop", name="", routing_key="no", mandatory=True), method="POST"
        ),
        name="Shop",
        async_agent=[
            agent(url, "mails", {"host": [f"http://127.0.0.1:{port}"], "url_pattern": "/"})
        ],
        extra_config={"gateway": {"management_port": port}},
    )


@contextmanager
def load(gateway: GatewayProcess) -> Iterator[None]:
    """A client that publishes and consumes until the end; failures count as well."""
    is_over = Event()

    def ask() -> None:
        with httpx.Client(base_url=gateway.url, timeout=10) as client:
            while not is_over.is_set():
                try:
                    client.post("/orders", json={"n": 1})
                    client.get("/orders")
                except httpx.TransportError:
                    pass
                is_over.wait(0.02)

    thread = Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def delivered(url: str) -> str:
    """What the document says of POST /orders, as the page writes it. Both are of the last second:
    so they agree only when no request is counted any more."""
    state = httpx.get(url + "__state.json").json()
    orders = next(each for each in state["endpoints"] if each["id"] == "POST /orders")
    return f"{orders['total']['ok']:,.0f}"


def until(condition: Callable[[], bool]) -> None:
    end = monotonic() + 20
    while not condition():
        assert monotonic() < end
        sleep(0.1)


def test_the_page_shows_what_the_gateway_does(
    page: Page, watched: Watched, vhost_url: str, tmp_path: Path
) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/"
    with running(shop(vhost_url, port), tmp_path, "--workers", "2", is_awaited=False) as gateway:
        gateway.wait_for("/", status=404)  # health and readiness are on the other port
        page.goto(url)
        sentence = page.locator("#sentence")
        expect(sentence).to_contain_text(
            "Serving. 2 of 2 workers up, 1 of 1 broker up", timeout=20_000
        )
        expect(page.locator("#facts")).to_contain_text("workers 2")
        expect(page.locator("#workers tbody tr.row")).to_have_count(2)
        with load(gateway):
            row = page.locator("#endpoints tr.row", has_text="POST")
            expect(row.first.locator("td").nth(2)).not_to_have_text("0")
            expect(page.locator("#charts dd[data-series=published]")).not_to_have_text("0")
            expect(page.locator("#charts dd[data-series=taken]")).not_to_have_text("0")
            assert httpx.post(gateway.url + "/lost", json={}).status_code == 422
            expect(page.locator("#failures tr.row", has_text="422")).to_have_count(1)

        # At rest the page has the numbers of the document.
        page.get_by_label("Outcomes").select_option("total")
        state = httpx.get(url + "__state.json").json()
        until(lambda: row.first.locator("td").nth(6).text_content() == delivered(url))
        queue = page.locator("#queues tr.row", has_text=HOSTILE)
        expect(queue).to_have_count(1)
        expect(page.locator("#producers tr.row")).to_have_count(len(state["producers"]))
        expect(page.locator("#links tr.row").first).to_contain_text("RabbitMQ")
        expect(page.locator("#agents tr.row")).to_contain_text("agent-mails")
        expect(page.locator("#findings tr.row")).to_have_count(
            len(httpx.get(url + "__findings.json").json()["findings"])
        )
        row.first.locator(".toggle").click()
        expect(page.locator("#endpoints .box", has_text="shop")).to_be_visible()
        expect(page.locator("#endpoints .bars li.some").first).to_be_visible()
        assert axe_findings(page) == []
        assert page.locator("img, [onerror]").count() == 0
        assert (watched.errors, watched.violations()) == ([], [])
        assert watched.hosts == {url.rstrip("/")}
        assert gateway.stop() == 0


def test_a_broker_that_is_stopped_is_seen_and_seen_again(
    page: Page, broker: Broker, vhost_url: str, tmp_path: Path
) -> None:
    port = free_port()
    with running(shop(vhost_url, port), tmp_path, is_awaited=False) as gateway:
        gateway.wait_for("/", status=404)
        page.goto(f"http://127.0.0.1:{port}/")
        state, sentence = page.locator("#state"), page.locator("#sentence")
        expect(sentence).to_contain_text("1 of 1 broker up", timeout=20_000)
        expect(state).to_have_attribute("data-level", "ok", timeout=20_000)
        with load(gateway):
            broker.stop(signal.SIGKILL)
            try:
                expect(sentence).to_contain_text("0 of 1 broker up", timeout=20_000)
                expect(state).to_have_attribute("data-level", re.compile("warning|critical"))
                expect(page.locator("#links .level").first).to_have_text("down")
                expect(page.locator("#endpoints td.bad").first).to_be_visible(timeout=20_000)
            finally:
                broker.start()  # other tests need it
            expect(sentence).to_contain_text("1 of 1 broker up", timeout=20_000)
            expect(page.locator("#links .level").first).to_have_text("up")
        expect(state).to_have_attribute("data-level", "ok", timeout=20_000)
        assert gateway.stop() == 0
        expect(sentence).to_contain_text("No answer from the gateway.")
