"""What the access log says of messages, of a whole gateway with a broker in memory."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest

from bench.process import configuration, consumer, endpoint, producer
from gateway import open_gateway
from gateway.app import service
from gateway.app.service import Gateway
from gateway.components.log.access_log import ACCESS_LOG
from gateway.core.bridge import AsyncioSide, open_asyncio_side
from gateway.core.direct import Application
from gateway.core.proxy import Arrival
from gateway.server import serve_settings

from ..router.support import ask, http_scope
from ..server.client import connect as connect_client
from ..server.client import get, receive_until, serving
from .amqp import connect, publish, until

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def reachable_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gateways reach brokers in memory."""
    monkeypatch.setattr(service, "open_asyncio_side", partial(open_asyncio_side, connect))


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Generator[list[str]]:
    """The lines of the access log, as they are written."""
    found: list[str] = []

    class Keeping(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record.getMessage())

    caplog.set_level(logging.INFO, ACCESS_LOG)
    logger, handler = logging.getLogger(ACCESS_LOG), Keeping()
    logger.addHandler(handler)
    yield found
    logger.removeHandler(handler)


@asynccontextmanager
async def logging_gateway(pattern: str, *endpoints: dict[str, Any]) -> AsyncGenerator[Gateway]:
    settings = {
        "level": "CRITICAL",
        "access_log_format": "custom",
        "access_log_custom_format": f"{pattern}\n",
    }
    document = configuration(*endpoints, extra_config={"telemetry/logging": settings})
    async with open_gateway(document) as gateway:
        await until(lambda: gateway.readiness()["ready"])
        yield gateway


def endpoints(url: str) -> list[dict[str, Any]]:
    take = consumer(url, "q")
    lost = producer(url, "ex", name="", routing_key="no queue", mandatory=True)
    static = {"proxy": {"static": {"strategy": "always", "data": {"a": 1}}}}
    empty = consumer(url, "empty")
    return [
        endpoint("/take", take),
        endpoint("/put", producer(url, "ex", routing_key="q"), method="POST"),
        endpoint("/lost", lost, method="POST"),
        endpoint("/both", take, lost, method="POST"),
        endpoint("/two", take, empty, timeout="50ms"),
        endpoint("/empty", empty, timeout="50ms"),
        endpoint("/static", empty, timeout="50ms", extra_config=static),
        endpoint("/at-once", consumer(url, "auto", wait="0s", auto_ack=True)),
        endpoint("/bad", consumer(url, "bad")),
        endpoint("/refused", consumer(url, "refused", nack_discard=True)),
    ]


async def test_a_line_says_what_became_of_the_messages(
    any_url: str, side: AsyncioSide, lines: list[str]
) -> None:
    pattern = "%{path} %{status} %{outcome} %{queue} %{exchange} %{completed} %{redelivered}"
    async with logging_gateway(pattern, *endpoints(any_url)) as gateway:
        for queue in ("bad", "refused"):
            await side.run(publish, any_url, queue, [b"no JSON"])
        await side.run(publish, any_url, "auto", [b'{"a": 1}'])
        app = gateway.asgi
        for request in (
            *("POST /put", "GET /take", "POST /lost", "POST /put", "POST /both", "GET /two"),
            *("GET /empty", "GET /static", "GET /at-once", "GET /bad"),
            *("GET /refused", "GET /missing"),
        ):
            method, path = request.split()
            await ask(app, method, path, b'{"a": 1}')
    assert lines == [
        "/put 200 confirmed - ex true -",
        "/take 200 acked q ex true false",
        "/lost 422 unroutable - ex false -",
        "/put 200 confirmed - ex true -",
        "/both 422 unroutable q ex false false",
        "/two 200 acked q,empty ex false false",
        "/empty 204 empty empty ex false -",
        "/static 200 empty empty ex false -",
        "/at-once 200 acked auto ex true false",
        "/bad 502 parked bad ex false false",
        "/refused 502 rejected refused ex false false",
        "/missing 404 - - - false -",
    ]


async def test_a_line_has_the_message_id(any_url: str, lines: list[str]) -> None:
    """The id that the producer has made is the one that the consumer gets."""
    async with logging_gateway("%{messageId}", *endpoints(any_url)) as gateway:
        await ask(gateway.asgi, "POST", "/put", b'{"a": 1}')
        await ask(gateway.asgi, "GET", "/take")
    sent, received = lines
    assert sent == received
    assert "-" in sent[1:]


class Holding:
    """The client of a request without a task. ``arrivals``: of its responses, undecided."""

    is_gone = False

    def __init__(self) -> None:
        self.arrivals: list[Arrival] = []
        self.statuses: list[int] = []

    def watch(self, gone: object) -> None: ...

    def respond(self, response: Any) -> None:
        self.statuses.append(response.status)

    def fail(self) -> None: ...

    def run(self, app: object) -> None: ...

    def when_arrived(self, arrival: Arrival) -> None:
        arrival.sent()
        self.arrivals.append(arrival)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize(("has_arrived", "outcome"), [(True, "acked"), (False, "requeued")])
async def test_a_line_is_written_when_its_outcome_is_decided(
    any_url: str, side: AsyncioSide, lines: list[str], has_arrived: bool, outcome: str
) -> None:
    async with logging_gateway("%{outcome}", *endpoints(any_url)) as gateway:
        await side.run(publish, any_url, "q", [b"{}"])
        app = gateway.asgi
        assert isinstance(app, Application)
        assert app.direct is not None
        head = app.direct(http_scope("GET", "/take"))
        assert head is not None
        client = Holding()
        head.begin(b"", client)
        await until(lambda: client.arrivals)
        assert client.statuses == [200]
        assert lines == []
        client.arrivals[0].decided(has_arrived)
        assert lines == [outcome]


async def test_a_line_without_outcome_is_written_at_once(
    any_url: str, side: AsyncioSide, lines: list[str]
) -> None:
    async with logging_gateway("%{status}", *endpoints(any_url)) as gateway:
        await side.run(publish, any_url, "q", [b"{}"])
        async with serving(gateway.asgi, serve_settings(gateway.service)) as (port, _):
            client = await connect_client(port)
            await client.send(get("/take"))
            await receive_until(client, b"{}")
            await until(lambda: lines)
    assert lines == ["200"]


async def test_the_outcome_is_known_behind_a_server(
    any_url: str, side: AsyncioSide, lines: list[str]
) -> None:
    async with logging_gateway("%{outcome}", *endpoints(any_url)) as gateway:
        await side.run(publish, any_url, "q", [b"{}"])
        async with serving(gateway.asgi, serve_settings(gateway.service)) as (port, _):
            client = await connect_client(port)
            await client.send(get("/take"))
            await receive_until(client, b"{}")
            await until(lambda: lines)
    assert lines == ["acked"]
