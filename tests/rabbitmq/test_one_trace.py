"""One message as linked spans, as a collector gets them: gateways, the broker, the backends and the
collector are processes, or threads, of their own."""

from __future__ import annotations

import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from bench.process import TLS, agent, configuration, consumer, endpoint, producer, running
from gateway.components.otel.otlp_spans import DELAY

from ..otlp_receiver import Plain, Receiver, receiving

TRACE, CLIENT_SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{CLIENT_SPAN}-01"


class Backend:
    """An HTTP backend. ``requests``: path and headers of each request."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.port = 0


@contextmanager
def backend() -> Generator[Backend]:
    own = Backend()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            own.requests.append((self.path, headers))
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    own.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield own
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def traced(name: str, receiver: Receiver, *, use_http: bool) -> dict[str, Any]:
    """``name``: of the service."""
    exporter = {"host": "127.0.0.1", "port": receiver.port, "use_http": use_http, "name": "c"}
    return {
        "telemetry/opentelemetry": {
            "service_name": name,
            "exporters": {"otlp": [{**exporter, "disable_metrics": True}]},
        }
    }


def is_child(span: Plain, parent: Plain) -> bool:
    return (span["trace_id"], span["parent_id"]) == (parent["trace_id"], parent["span_id"])


class Trace:
    """The spans that a collector has, found by service and name."""

    def __init__(self, spans: list[Plain]) -> None:
        self.spans = spans
        self.by_id = {each["span_id"]: each for each in spans}

    def one(self, service: str, kind: str, start: str) -> Plain:
        found = [
            each
            for each in self.spans
            if each["resource"]["service.name"] == service
            and each["kind"] == kind
            and each["name"].startswith(start)
        ]
        assert len(found) == 1, (service, kind, start, self.lines())
        return found[0]

    def ancestors(self, span: Plain) -> list[Plain]:
        """From its parent up to the first span that a collector has."""
        found = []
        while (parent := self.by_id.get(span["parent_id"])) is not None:
            assert is_child(span, parent)
            assert parent["start"] <= span["start"]
            found.append(parent)
            span = parent
        return found

    def lines(self) -> str:
        keys = ("kind", "name", "trace_id", "span_id", "parent_id", "links")
        lines = (
            [each["resource"]["service.name"], *(each[key] for key in keys)] for each in self.spans
        )
        return "\n".join(map(json.dumps, lines))


@pytest.mark.parametrize("use_http", [True, False], ids=["http", "grpc"])
def test_one_message_is_followed_through_http_a_queue_an_agent_and_http(
    vhost_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, use_http: bool
) -> None:
    """One gateway publishes, another one has the agent: they know each other from messages only."""
    monkeypatch.setenv(DELAY, "100")
    with receiving(use_http=use_http) as receiver, backend() as service:
        publishes = configuration(
            endpoint(
                "/orders",
                producer(vhost_url, "ex", routing_key="q", mandatory=True),
                method="POST",
            ),
            extra_config=traced("edge", receiver, use_http=use_http),
        )
        host = f"http://127.0.0.1:{service.port}"
        target = {"host": [host], "url_pattern": "/take", "method": "POST"}
        works = configuration(
            async_agent=[agent(vhost_url, "q", target)],
            extra_config=traced("worker", receiver, use_http=use_http),
        )
        with running(works, tmp_path) as worker, running(publishes, tmp_path) as edge:
            worker.wait_for("/__ready")
            edge.wait_for("/__ready")
            headers = {"traceparent": TRACEPARENT, "tracestate": "vendor=1"}
            response = httpx.post(f"{edge.url}/orders", json={}, headers=headers, verify=TLS)
            assert response.status_code == 200, response.text
            receiver.wait_for(lambda: "process" in str(receiver.spans()))
            edge.stop()
            worker.stop()
        trace = Trace(receiver.spans())
        [(_, sent)] = service.requests

    served = trace.one("edge", "SERVER", "POST")
    published = trace.one("edge", "PRODUCER", "publish")
    processed = trace.one("worker", "CONSUMER", "process")
    called = [each for each in trace.spans if each["span_id"] == sent["traceparent"].split("-")[2]]

    # The client's span, the request, the endpoint, the backend, the message ...
    assert (served["trace_id"], served["parent_id"]) == (TRACE, CLIENT_SPAN)
    assert served["has_remote_parent"]
    assert trace.ancestors(published)[-1] is served
    # ... the agent ...
    assert is_child(processed, published)
    assert processed["links"] == [[TRACE, published["span_id"]]]
    # ... and what its backend gets.
    assert len(called) == 1, (sent, trace.lines())
    assert called[0]["kind"] == "CLIENT"
    assert processed in trace.ancestors(called[0])
    assert {each["trace_id"] for each in trace.spans} == {TRACE}
    assert {each["state"] for each in trace.spans} == {"vendor=1"}
    assert sent["tracestate"] == "vendor=1"
    assert all(each["error"] is None for each in trace.spans)
    assert published["attributes"]["messaging.message.id"]


def test_a_request_that_takes_a_message_links_to_what_published_it(
    vhost_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With two workers, each of which sends its own spans."""
    monkeypatch.setenv(DELAY, "100")
    with receiving() as receiver:
        config = configuration(
            endpoint(
                "/orders", producer(vhost_url, "ex", routing_key="q", mandatory=True), method="POST"
            ),
            endpoint("/orders", consumer(vhost_url, "q")),
            extra_config=traced("shop", receiver, use_http=True),
        )
        with running(config, tmp_path, "--workers", "2") as gateway:
            gateway.wait_for("/__ready")
            response = httpx.post(f"{gateway.url}/orders", json={}, verify=TLS)
            assert response.status_code == 200, response.text
            receiver.wait_for(lambda: "publish" in str(receiver.spans()))
            taken = httpx.get(
                f"{gateway.url}/orders", headers={"traceparent": TRACEPARENT}, verify=TLS
            )
            assert taken.status_code == 200, taken.text
            gateway.stop()
        trace = Trace(receiver.spans())
    published = trace.one("shop", "PRODUCER", "publish")
    received = trace.one("shop", "CLIENT", "receive")
    served = trace.one("shop", "SERVER", "GET")
    assert published["trace_id"] != TRACE
    assert trace.ancestors(published)[-1] is trace.one("shop", "SERVER", "POST")
    # The request that takes it is in a trace of its own: the message is a link.
    assert (served["trace_id"], served["parent_id"]) == (TRACE, CLIENT_SPAN)
    assert trace.ancestors(received)[-1] is served
    assert received["links"] == [[published["trace_id"], published["span_id"]]]
    assert all(each["end"] >= each["start"] > 0 for each in trace.spans)
