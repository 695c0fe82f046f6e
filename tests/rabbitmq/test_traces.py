"""Traces through queues: of whole gateways, on a real broker and on the one in memory."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from anyio import create_task_group
from pamqp.commands import Basic

from bench.process import agent, configuration, consumer, endpoint, producer
from gateway import open_gateway
from gateway.app import service
from gateway.app.service import Gateway
from gateway.components.otel import otlp_spans
from gateway.core.bridge import AsyncioSide, open_asyncio_side
from gateway.telemetry.spans import Span, SpanBuffer, SpanContext, SpanKind

from ..router.support import Client, Reply, http_scope
from .amqp import connect, get_all, open_amqp, publish, until, until_count

pytestmark = pytest.mark.anyio

OTEL = {
    "exporters": {
        "otlp": [
            {"name": "c", "host": "127.0.0.1", "port": 1, "use_http": True, "disable_metrics": True}
        ]
    },
    "layers": {"global": {"disable_traces": True}, "proxy": {"disable_traces": True}},
}
"""An endpoint's first span is that of its backend."""

TRACED = {"telemetry/opentelemetry": OTEL}
PROPAGATED = {"gateway": {"propagate": True}}

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-00"


class Recorded:
    """Every span that has ended."""

    def __init__(self) -> None:
        self.all: list[Span] = []

    def named(self, start: str) -> list[Span]:
        return [each for each in self.all if each.name.startswith(start)]

    def one(self, start: str) -> Span:
        (span,) = self.named(start)
        return span


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    recorded = Recorded()

    class RecordingBuffer(SpanBuffer):
        def add(self, span: Span) -> None:
            recorded.all.append(span)

    monkeypatch.setattr(otlp_spans, "SpanBuffer", RecordingBuffer)
    return recorded


@pytest.fixture(autouse=True)
def reachable_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gateways reach brokers in memory."""
    monkeypatch.setattr(service, "open_asyncio_side", partial(open_asyncio_side, connect))


async def ask(gateway: Gateway, method: str, path: str, **headers: str) -> Reply:
    client = Client([b'{"a": 1}'])
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = http_scope(method, path, headers=[(b"host", b"gateway.test"), *pairs])
    await gateway.asgi(scope, client.receive, client.send)
    return client.reply


async def put(url: str, queue: str, body: bytes = b"{}", **headers: Any) -> None:
    """Publish a message with headers. Runs under asyncio."""
    properties = Basic.Properties(headers=headers, message_id="m-1", correlation_id="c-1")
    async with open_amqp(url) as connection:
        channel = await connection.channel()
        await channel.basic_publish(body, routing_key=queue, properties=properties)


def traceparent(context: SpanContext) -> str:
    return f"00-{context.trace_id}-{context.span_id}-{context.is_sampled:02d}"


def is_child(span: Span, parent: Span) -> bool:
    return (span.context.trace_id, span.parent_id) == (
        parent.context.trace_id,
        parent.context.span_id,
    )


def queues(url: str, extra: dict[str, Any], *, timeout: str = "5s") -> dict[str, Any]:
    """Endpoints that publish to and take from one queue."""
    return configuration(
        endpoint(
            "/put",
            producer(url, "ex", routing_key="q", mandatory=True),
            method="POST",
            input_headers=["*"],
            timeout=timeout,
        ),
        endpoint("/take", consumer(url, "q"), timeout=timeout),
        extra_config=extra,
    )


def side_of(gateway: Gateway) -> AsyncioSide:
    """Its own: under Trio the broker in memory runs on the loop of the gateway's connections."""
    return gateway._assembly.side


async def until_ready(gateway: Gateway) -> None:
    await until(lambda: gateway.readiness()["ready"])


async def test_a_message_has_the_context_of_its_publish_and_its_receive_links_to_it(
    any_url: str, spans: Recorded
) -> None:
    async with open_gateway(queues(any_url, TRACED)) as gateway:
        await until_ready(gateway)
        assert (await ask(gateway, "POST", "/put")).status == 200
        assert (await ask(gateway, "GET", "/take")).status == 200
    published, received = spans.one("publish"), spans.one("receive")
    assert (published.name, published.kind) == ("publish ex:q", SpanKind.PRODUCER)
    assert published.end >= published.start > 0
    assert published.error is None
    assert published.links == []
    message_id = published.attributes["messaging.message.id"]
    host = published.attributes["server.address"]
    assert published.attributes == {
        "messaging.system": "rabbitmq",
        "messaging.operation.name": "publish",
        "messaging.operation.type": "send",
        "messaging.destination.name": "ex:q",
        "messaging.rabbitmq.destination.routing_key": "q",
        "messaging.message.id": message_id,
        "server.address": host,
        "server.port": published.attributes["server.port"],
    }
    assert host
    port = published.attributes["server.port"]
    assert isinstance(port, int)
    assert port > 0
    assert (received.name, received.kind) == ("receive ex:q", SpanKind.CLIENT)
    assert received.links == [published.context]
    assert received.context.trace_id != published.context.trace_id
    assert received.error is None
    assert received.attributes == {
        **published.attributes,
        "messaging.operation.name": "receive",
        "messaging.operation.type": "receive",
        "messaging.rabbitmq.message.delivery_tag": 1,
    }
    for span in (published, received):
        assert [each for each in spans.all if is_child(span, each)], "the span of its backend"


async def test_the_context_of_a_client_is_continued_and_replaced_in_the_message(
    side: AsyncioSide, any_url: str, spans: Recorded
) -> None:
    sent = {"traceparent": SAMPLED, "tracestate": "a=1", "baggage": "k=v"}
    async with open_gateway(queues(any_url, TRACED)) as gateway:
        await until_ready(gateway)
        assert (await ask(gateway, "POST", "/put", **sent)).status == 200
        await until_count(side_of(gateway), any_url, "q", 1)
    ((_, headers),) = await side.run(get_all, any_url, "q")
    published = spans.one("publish")
    assert published.context.trace_id == TRACE
    contexts = {name: value for name, value in headers.items() if name.lower() in sent}
    assert contexts == {**sent, "traceparent": traceparent(published.context)}


@pytest.mark.parametrize("extra", [TRACED, PROPAGATED])
async def test_a_request_that_is_not_sampled_has_no_span_and_its_message_a_context(
    extra: dict[str, Any], side: AsyncioSide, any_url: str, spans: Recorded
) -> None:
    async with open_gateway(queues(any_url, extra)) as gateway:
        await until_ready(gateway)
        sent = {"traceparent": UNSAMPLED, "baggage": "k=v"}
        assert (await ask(gateway, "POST", "/put", **sent)).status == 200
        await until_count(side_of(gateway), any_url, "q", 1)
    ((_, headers),) = await side.run(get_all, any_url, "q")
    found = [value for name, value in headers.items() if name.lower() == "traceparent"]
    assert len(found) == 1
    assert found[0].startswith(f"00-{TRACE}-")
    assert found[0].endswith("-00")
    assert headers["baggage"] == "k=v"
    assert spans.all == []


async def test_without_settings_headers_follow_the_lists(side: AsyncioSide, any_url: str) -> None:
    async with open_gateway(queues(any_url, {})) as gateway:
        await until_ready(gateway)
        assert (await ask(gateway, "POST", "/put", traceparent=SAMPLED)).status == 200
        assert (await ask(gateway, "POST", "/put")).status == 200
        await until_count(side_of(gateway), any_url, "q", 2)
    contexts = [headers.get("Traceparent") for _, headers in await side.run(get_all, any_url, "q")]
    assert contexts == [SAMPLED, None]


async def test_formats_of_the_environment_reach_messages(
    side: AsyncioSide, any_url: str, spans: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_PROPAGATORS", "b3,b3multi")
    sent = {"b3": f"{TRACE}-{PARENT}-1", "traceparent": SAMPLED}
    async with open_gateway(queues(any_url, TRACED)) as gateway:
        await until_ready(gateway)
        await ask(gateway, "POST", "/put", **sent)
        await until_count(side_of(gateway), any_url, "q", 1)
    ((_, headers),) = await side.run(get_all, any_url, "q")
    span_id = spans.one("publish").context.span_id
    assert headers["b3"] == f"{TRACE}-{span_id}-1"
    assert headers["x-b3-traceid"] == TRACE
    assert headers["x-b3-spanid"] == span_id
    assert headers["Traceparent"] == SAMPLED  # a header like any other


async def test_an_empty_queue_is_no_error_and_has_no_link(any_url: str, spans: Recorded) -> None:
    async with open_gateway(queues(any_url, TRACED, timeout="100ms")) as gateway:
        await until_ready(gateway)
        assert (await ask(gateway, "GET", "/take")).status == 204
    received = spans.one("receive")
    assert received.links == []
    assert received.error is None
    assert "error.type" not in received.attributes
    assert received.attributes["messaging.destination.name"] == "ex:q"


async def test_each_of_several_backends_has_its_own_span(any_url: str, spans: Recorded) -> None:
    config = configuration(
        endpoint("/both", consumer(any_url, "q1"), consumer(any_url, "q2")), extra_config=TRACED
    )
    async with open_gateway(config) as gateway:
        await until_ready(gateway)
        async with create_task_group() as tasks:
            tasks.start_soon(ask, gateway, "GET", "/both")
            for number in (1, 2):
                put_one = partial(put, traceparent=f"00-{TRACE}-{number:016x}-01")
                await side_of(gateway).run(put_one, any_url, f"q{number}")
    first, second = spans.one("receive ex:q1"), spans.one("receive ex:q2")
    assert [each.span_id for each in first.links] == [f"{1:016x}"]
    assert [each.span_id for each in second.links] == [f"{2:016x}"]
    assert first.parent_id != second.parent_id
    assert first.attributes["messaging.message.conversation_id"] == "c-1"


async def test_an_undecodable_message_is_linked_and_an_error(any_url: str, spans: Recorded) -> None:
    async with open_gateway(queues(any_url, TRACED)) as gateway:
        await until_ready(gateway)
        await side_of(gateway).run(partial(put, traceparent=SAMPLED), any_url, "q", b"no JSON")
        assert (await ask(gateway, "GET", "/take")).status == 502
    received = spans.one("receive")
    assert [each.span_id for each in received.links] == [PARENT]
    assert received.attributes["error.type"] == "undecodable"
    assert received.error
    assert received.attributes["messaging.message.id"] == "m-1"


async def test_a_context_that_is_not_valid_is_no_link(any_url: str, spans: Recorded) -> None:
    odd: list[dict[str, Any]] = [
        {"traceparent": "00-0-0-01"},
        {"traceparent": 7},
        {"traceparent": SAMPLED, "Traceparent": SAMPLED},
        {},
    ]
    async with open_gateway(queues(any_url, TRACED)) as gateway:
        await until_ready(gateway)
        for headers in odd:
            await side_of(gateway).run(partial(put, **headers), any_url, "q")
            assert (await ask(gateway, "GET", "/take")).status == 200
    assert [each.links for each in spans.named("receive")] == [[]] * len(odd)


async def test_a_message_that_is_routed_to_no_queue_is_an_error(
    any_url: str, spans: Recorded
) -> None:
    lost = producer(any_url, "ex", name="", routing_key="Key", mandatory=True)
    lost["extra_config"]["backend/amqp/producer"]["static_routing_key"] = False
    config = configuration(endpoint("/lost/{key}", lost, method="POST"), extra_config=TRACED)
    async with open_gateway(config) as gateway:
        await until_ready(gateway)
        assert (await ask(gateway, "POST", "/lost/nowhere")).status == 422
    published = spans.one("publish")
    assert published.name == "publish ex:{Key}"
    assert published.attributes["messaging.destination.name"] == "ex:nowhere"
    assert published.attributes["error.type"] == "unroutable"
    assert published.error


async def test_a_message_that_the_broker_rejects_is_an_error(any_url: str, spans: Recorded) -> None:
    full = {"x-max-length": 1, "x-overflow": "reject-publish"}
    config = configuration(
        endpoint("/put", producer(any_url, "ex", arguments=full), method="POST"),
        extra_config=TRACED,
    )
    async with open_gateway(config) as gateway:
        await until_ready(gateway)
        statuses = [(await ask(gateway, "POST", "/put")).status for _ in range(3)]
    assert statuses[-1] == 503
    types = [each.attributes.get("error.type") for each in spans.named("publish")]
    assert types == [None if status == 200 else "nack" for status in statuses]


async def test_a_broker_that_is_away_is_an_error(spans: Recorded) -> None:
    config = queues("amqp://guest:guest@127.0.0.1:1/", TRACED, timeout="100ms")
    async with open_gateway(config) as gateway:
        assert (await ask(gateway, "POST", "/put")).status == 503
        assert (await ask(gateway, "GET", "/take")).status == 503
    for name in ("publish", "receive"):
        span = spans.one(name)
        assert span.attributes["error.type"] == "broker_away"
        assert span.error


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_client_that_leaves_ends_the_span_without_an_error(
    method: str, spans: Recorded
) -> None:
    config = queues("amqp://guest:guest@127.0.0.1:1/", TRACED)
    async with open_gateway(config) as gateway:
        client = LeavingClient()
        path = "/take" if method == "GET" else "/put"
        async with create_task_group() as tasks:
            scope = http_scope(method, path)
            client.has_sent = method == "GET"  # its body is not read

            async def call() -> None:
                await gateway.asgi(scope, client.receive, client.send)

            tasks.start_soon(call)
            await until(lambda: client.is_waited_for)
            client.leaves = True
    (span,) = (*spans.named("receive"), *spans.named("publish"))
    assert span.end > 0
    assert (span.error, span.attributes["error.type"]) == (None, "canceled")


class LeavingClient(Client):
    """Disconnects when ``leaves`` is set. ``is_waited_for``: somebody waits for that."""

    leaves = is_waited_for = has_sent = False

    async def receive(self) -> Any:
        if not self.has_sent:
            self.has_sent = True
            return {"type": "http.request", "body": b"{}"}
        self.is_waited_for = True
        await until(lambda: self.leaves)
        return {"type": "http.disconnect"}


# Agents.


def moving(url: str, target: dict[str, Any], **settings: Any) -> dict[str, Any]:
    return configuration(async_agent=[agent(url, "jobs", target, **settings)], extra_config=TRACED)


async def test_an_agent_continues_the_trace_of_its_message(
    side: AsyncioSide, any_url: str, spans: Recorded
) -> None:
    config = moving(any_url, producer(any_url, "ex", name="out", routing_key="out"))
    async with open_gateway(config) as gateway:
        await until_ready(gateway)
        sent: dict[str, Any] = {
            "Traceparent": SAMPLED,
            "tracestate": "a=1",
            "baggage": "k=v",
            "x-a": "1",
        }
        await side_of(gateway).run(partial(put, **sent), any_url, "jobs")
        await until_count(side_of(gateway), any_url, "out", 1)
        await until(lambda: spans.named("process"))
    ((_, headers),) = await side.run(get_all, any_url, "out")
    processed, published = spans.one("process"), spans.one("publish")
    assert (processed.name, processed.kind) == ("process ex:jobs", SpanKind.CONSUMER)
    assert (processed.context.trace_id, processed.parent_id) == (TRACE, PARENT)
    assert processed.links == [SpanContext(TRACE, PARENT, True, "a=1")]
    assert processed.error is None
    assert "error.type" not in processed.attributes
    assert processed.attributes["messaging.destination.name"] == "jobs"
    assert processed.attributes["messaging.rabbitmq.destination.routing_key"] == "jobs"
    assert processed.attributes["messaging.message.id"] == "m-1"
    assert processed.attributes["messaging.message.conversation_id"] == "c-1"
    (backend,) = [each for each in spans.all if is_child(published, each)]
    assert is_child(backend, processed)
    assert published.attributes["messaging.message.id"] == "m-1"
    assert headers == {
        "traceparent": traceparent(published.context),
        "tracestate": "a=1",
        "baggage": "k=v",
        "x-a": "1",
    }


async def test_an_agent_may_begin_a_trace_that_links_to_its_message(
    any_url: str, spans: Recorded
) -> None:
    target = producer(any_url, "ex", name="out", routing_key="out")
    async with open_gateway(moving(any_url, target, propagation="link")) as gateway:
        await until_ready(gateway)
        await side_of(gateway).run(partial(put, traceparent=SAMPLED), any_url, "jobs")
        await side_of(gateway).run(publish, any_url, "jobs", [b"{}"])
        await until(lambda: len(spans.named("process")) == 2)
    linked, alone = spans.named("process")
    assert linked.context.trace_id != TRACE
    assert linked.parent_id == ""
    assert [each.span_id for each in linked.links] == [PARENT]
    assert alone.parent_id == ""
    assert alone.links == []


async def test_a_message_that_is_not_sampled_is_processed_without_a_span(
    side: AsyncioSide, any_url: str, spans: Recorded
) -> None:
    config = moving(any_url, producer(any_url, "ex", name="out", routing_key="out"))
    async with open_gateway(config) as gateway:
        await until_ready(gateway)
        await side_of(gateway).run(partial(put, traceparent=UNSAMPLED), any_url, "jobs")
        await until_count(side_of(gateway), any_url, "out", 1)
    ((_, headers),) = await side.run(get_all, any_url, "out")
    assert headers["traceparent"].startswith(f"00-{TRACE}-")
    assert headers["traceparent"].endswith("-00")
    assert spans.all == []


async def test_each_try_has_a_span_and_the_dead_letter_keeps_its_context(
    side: AsyncioSide, any_url: str, spans: Recorded, caplog: pytest.LogCaptureFixture
) -> None:
    lost = producer(any_url, "ex", name="", routing_key="nowhere", mandatory=True)
    config = moving(
        any_url,
        lost,
        max_redeliveries=2,
        retry={"delay": "10ms"},
        dead_letter={"exchange": "ex", "routing_key": "dead"},
    )
    config["endpoints"] = [endpoint("/dead", consumer(any_url, "dead"))]
    async with open_gateway(config) as gateway:
        await until_ready(gateway)
        await side_of(gateway).run(partial(put, traceparent=SAMPLED), any_url, "jobs")
        await until_count(side_of(gateway), any_url, "dead", 1)
    ((_, headers),) = await side.run(get_all, any_url, "dead")
    assert headers["traceparent"] == SAMPLED
    tries = spans.named("process")
    assert len(tries) == len(spans.named("publish")) == 3
    for each in tries:
        assert each.parent_id == PARENT
        assert (each.attributes["error.type"], bool(each.error)) == ("unroutable", True)
    line = next(each for each in caplog.records if each.name == "gateway.requests")
    fields = vars(line)["fields"]
    assert (fields["endpoint"], fields["message_id"]) == ("agent agent-jobs", "m-1")


async def test_a_skipped_agent_passes_the_context_on(
    side: AsyncioSide, any_url: str, spans: Recorded
) -> None:
    config = moving(any_url, producer(any_url, "ex", name="out", routing_key="out"))
    config["extra_config"] = {"telemetry/opentelemetry": {**OTEL, "skip_paths": ["/agent-jobs"]}}
    async with open_gateway(config) as gateway:
        await until_ready(gateway)
        await side_of(gateway).run(partial(put, traceparent=SAMPLED), any_url, "jobs")
        await until_count(side_of(gateway), any_url, "out", 1)
    ((_, headers),) = await side.run(get_all, any_url, "out")
    assert headers["traceparent"].startswith(f"00-{TRACE}-")
    assert spans.all == []
