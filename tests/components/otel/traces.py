"""Configurations that are traced, and the spans of their requests."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from gateway import open_gateway
from gateway.app.service import Gateway
from gateway.core.asgi import Scope
from gateway.telemetry.spans import Span, SpanBuffer

from ...router.support import Client, Reply, http_scope

NAMESPACE = "telemetry/opentelemetry"

TRACE_ID, SPAN_ID = "12345678901234567890123456789012", "1234567890123456"
PARENT = f"00-{TRACE_ID}-{SPAN_ID}-01"
UNSAMPLED = f"00-{TRACE_ID}-{SPAN_ID}-00"


def traced(*endpoints: dict[str, Any], **settings: Any) -> dict[str, Any]:
    """A configuration with a collector that is not there."""
    collector = {
        "name": "c",
        "host": "127.0.0.1",
        "port": 1,
        "use_http": True,
        "disable_metrics": True,
    }
    own = {"exporters": {"otlp": [collector]}, **settings}
    return {
        "version": 3,
        "timeout": "100s",
        "endpoints": list(endpoints),
        "extra_config": {NAMESPACE: own},
    }


class Spans:
    """The spans of a gateway that have ended."""

    def __init__(self, gateway: Gateway) -> None:
        tracer = gateway._assembly.tracer
        assert tracer is not None
        self.buffer = SpanBuffer()
        tracer.buffers = (self.buffer,)  # the collector gets none

    def take(self) -> list[Span]:
        return self.buffer.take(len(self.buffer))

    def tree(self) -> Any:
        """The trace: of each span its name and those inside of it. There is one span without a
        parent in the gateway."""
        spans = self.take()
        ids = {each.context.span_id for each in spans}
        [root] = [each for each in spans if each.parent_id not in ids]
        return _tree(root, spans)


def _tree(span: Span, spans: list[Span]) -> Any:
    inside = [_tree(each, spans) for each in spans if each.parent_id == span.context.span_id]
    return (f"{span.kind.name} {span.name}", *sorted(inside))


@asynccontextmanager
async def tracing(config: dict[str, Any]) -> AsyncGenerator[tuple[Gateway, Spans]]:
    async with open_gateway(config) as gateway:
        yield gateway, Spans(gateway)


async def get(gateway: Gateway, target: str, *headers: tuple[str, str], **changes: Any) -> Reply:
    """A request with these headers, over ASGI. ``changes``: of the scope."""
    client = Client([b""])
    sent = [(b"host", b"gateway.test:8080")]
    sent += [(name.encode(), value.encode()) for name, value in headers]
    scope: Scope = {**http_scope("GET", target, headers=sent), **changes}
    await gateway.asgi(scope, client.receive, client.send)
    return client.reply


def sent_headers(request: bytes) -> dict[str, list[str]]:
    """The headers of a request as a backend got it. Names in lower case."""
    found: dict[str, list[str]] = {}
    for line in request.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]:
        name, _, value = line.partition(": ")
        found.setdefault(name.lower(), []).append(value)
    return found
