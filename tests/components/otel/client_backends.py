"""What Prometheus reads of a gateway, and configurations and backends that are measured."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

from anyio import to_thread

from gateway import open_gateway
from gateway.app.service import Gateway
from gateway.errors import ResponseBroken

from ...http.service import Connection, Service, answering, serving
from ...router.support import ask

NAMESPACE = "telemetry/opentelemetry"

HEAD = b"HTTP/1.1 200 OK\r\n"

READ_LABELS = {
    "http_request_method",
    "http_route",
    "krakend_endpoint_method",
    "krakend_endpoint_route",
}
"""The labels of what is counted of reading bodies."""

STARTED = "http_client_request_started_count_total"
FAILED = "http_client_request_failed_count_total"
CANCELED = "http_client_request_canceled_count_total"
TIMED_OUT = "http_client_request_timedout_count_total"

_LINE = re.compile(r"(\w+)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'(\w+)="([^"]*)"')


class Line(NamedTuple):
    """A line of a scrape. Without the labels of the scope."""

    name: str
    labels: dict[str, str]
    value: float


class Scrape:
    """The text of ``/metrics``."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.lines = []
        for line in text.splitlines():
            if not line.startswith("#"):
                found = _LINE.fullmatch(line)
                assert found is not None, line
                labels = dict(_LABEL.findall(found[2] or ""))
                own = {name: labels[name] for name in labels if "otel_scope" not in name}
                self.lines.append(Line(found[1], own, float(found[3])))

    def types(self, prefix: str) -> dict[str, str]:
        """Name and type of each family."""
        found = re.findall(rf"# TYPE ({prefix}\w*) (\w+)", self.text)
        return dict(found)

    def help(self, name: str) -> str:
        found = re.search(rf"# HELP {name} (.*)", self.text)
        assert found is not None
        return found[1]

    def series(self, name: str, **labels: str) -> list[Line]:
        """The lines of that name that have these labels."""
        wanted = labels.items()
        return [each for each in self.lines if each.name == name and wanted <= each.labels.items()]

    def value(self, name: str, **labels: str) -> float:
        """The sum of these lines; -1: there is none."""
        found = self.series(name, **labels)
        return sum(each.value for each in found) if found else -1


async def scrape(gateway: Gateway) -> Scrape:
    reply = await ask(gateway.listeners[0].app, "GET", "/metrics")
    assert reply.status == 200
    return Scrape(reply.body.decode())


def measured(*endpoints: dict[str, Any], layers: Any = None, **settings: Any) -> dict[str, Any]:
    """A configuration with an exporter for Prometheus."""
    own = {"exporters": {"prometheus": [{"name": "p"}]}, "layers": layers, **settings}
    return {
        "version": 3,
        "timeout": "100s",
        "endpoints": list(endpoints),
        "extra_config": {NAMESPACE: own},
    }


def endpoint(url: str, backend: dict[str, Any] | None = None, **keys: Any) -> dict[str, Any]:
    own = {"url_pattern": "/b", "host": [url], **(backend or {})}
    return {"endpoint": "/e", "backend": [own], **keys}


async def scraped(
    script: bytes | Callable[..., Any],
    backend: dict[str, Any] | None = None,
    times: int = 1,
    layers: Any = None,
    **keys: Any,
) -> Scrape:
    """After so many requests to an endpoint with a backend that runs this script."""
    with serving(answering(script) if isinstance(script, bytes) else script) as service:
        config = measured(endpoint(service.url, backend, **keys), layers=layers)
        async with open_gateway(config) as gateway:
            for _ in range(times):
                with suppress(ResponseBroken):  # of a stream that ends too early
                    await ask(gateway.asgi, keys.get("method", "GET"), "/e")
            return await scrape(gateway)


async def wait_scrape(gateway: Gateway, name: str) -> Scrape:
    """The first scrape with that name. The timeout of the test ends the wait."""
    while not (found := await scrape(gateway)).series(name):
        await to_thread.run_sync(threading.Event().wait, 0.001)
    return found


class Held:
    """A backend that sends the first bytes of a response, and the rest when ``go_on`` is set."""

    def __init__(self, first: bytes = b"", rest: bytes = b"") -> None:
        self._first, self._rest = first, rest
        self.is_asked = threading.Event()
        self.go_on = threading.Event()

    def __call__(self, service: Service, connection: Connection, request: bytes) -> bool:
        connection.sendall(self._first)
        self.is_asked.set()
        self.go_on.wait(20)
        connection.sendall(self._rest)
        return False
