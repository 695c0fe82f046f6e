"""Scrapes of a gateway that has had every kind of success and failure: they have every family."""

from __future__ import annotations

from functools import partial
from typing import Any

import anyio
import pytest
from anyio import create_task_group, to_thread

from gateway.app import service
from gateway.app.service import Gateway
from gateway.core.bridge import open_asyncio_side
from gateway.testing.memory_broker import MemoryBroker

from ..components.otel.client_backends import CANCELED, HEAD, NAMESPACE, Held
from ..components.otel.scrapes import scrape
from ..components.otel.test_client_failures import Leaving
from ..http.service import Service, answering, message, serving
from ..rabbitmq.amqp import MEMORY, connect
from ..rabbitmq.test_metrics import MESSAGES, document, loaded, read_until, ready_gateway
from ..router.support import ask, http_scope

HOST = "broker.deploy.test"

EXPORTER = {"name": "p", "port": 1, "process_metrics": True, "go_metrics": True}

COLLECTOR = {"name": "o", "host": "127.0.0.1", "port": 1, "use_http": True, "disable_metrics": True}
"""It is not there, and gets nothing."""

CUT = HEAD + b"Content-Length: 500\r\n\r\n{"

CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"


def loaded_scrape(library: str, convention: str = "") -> str:
    """``library``: asyncio or trio. ``convention``: of the names of the metrics."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(service, "open_asyncio_side", partial(open_asyncio_side, connect))
        patch.setitem(MEMORY, HOST, MemoryBroker())
        return anyio.run(_scrape_loaded, convention, backend=library)


async def _scrape_loaded(convention: str) -> str:
    url = f"amqp://guest:guest@{HOST}/"
    held, left = Held(), Held()
    with (
        serving(answering(message())) as plain,
        serving(answering(CUT, stays_open=False)) as cutting,
        serving(answering(CHUNKED)) as chunked,
        serving(held) as slow,
        serving(left) as leaving,
    ):
        config = document(url)
        config["endpoints"] += [
            _endpoint("/users/{id}", plain),
            _endpoint("/chunked", chunked),
            _endpoint("/cut", cutting),
            _endpoint("/slow", slow, timeout="100ms"),
            _endpoint("/left", leaving, timeout="20s"),
        ]
        config["extra_config"] = {
            NAMESPACE: {
                "exporters": {"prometheus": [EXPORTER], "otlp": [COLLECTOR]},
                "trace_sample_rate": 0,
                "layers": {"global": {"semantic_convention": convention}},
            }
        }
        async with ready_gateway(config) as gateway, open_asyncio_side(connect) as side:
            await loaded(gateway, side, url)
            await _ask_backends(gateway, left)
            held.go_on.set()
            left.go_on.set()
            done = {"agent": "agent-jobs", "outcome": "success"}
            await read_until(gateway, "hutch_gateway_agent_messages_total", MESSAGES, **done)
            return await scrape(gateway)


def _endpoint(path: str, backend: Service, **keys: Any) -> dict[str, Any]:
    url_pattern = path.replace("{id}", "{id}/profile")
    own = {"host": [backend.url], "url_pattern": url_pattern}
    return {"endpoint": path, "backend": [own], **keys}


async def _ask_backends(gateway: Gateway, left: Held) -> None:
    """A success, a body without a length, one that is cut, a timeout, and a client that leaves."""
    app = gateway.asgi
    assert (await ask(app, "GET", "/users/1")).status == 200
    assert (await ask(app, "GET", "/chunked")).status == 200
    assert (await ask(app, "GET", "/cut")).status == 500
    assert (await ask(app, "GET", "/nothing")).status == 404
    assert (await ask(app, "GET", "/slow")).status == 500
    leaving = Leaving()
    async with create_task_group() as tasks:
        tasks.start_soon(_ask_and_leave, gateway, leaving)
        assert await to_thread.run_sync(left.is_asked.wait, 20)
        leaving.leave.set()
    await read_until(gateway, CANCELED, 1)


async def _ask_and_leave(gateway: Gateway, client: Leaving) -> None:
    await gateway.asgi(http_scope("GET", "/left"), client.receive, client.send)


def sample_names(text: str) -> set[str]:
    """The names of all series: of a histogram those of its buckets, its sum and its count."""
    lines = (line for line in text.splitlines() if not line.startswith("#"))
    return {line.partition(" ")[0].partition("{")[0] for line in lines}
