"""Traces on every server: the backend, the spans and the log have the same ids."""

from __future__ import annotations

import json
import logging
import re
import socket
from typing import Any

import pytest
from anyio import sleep

from gateway.components.log.access_log import ACCESS_LOG
from gateway.server import ServeSettings
from gateway.server.settings import ServerName
from gateway.telemetry.spans import Span, SpanKind

from ..components.otel.client_backends import Held
from ..components.otel.traces import NAMESPACE, PARENT, TRACE_ID, UNSAMPLED, Spans, traced, tracing
from ..http.service import answering, message
from ..http.service import serving as serving_backend
from .client import connect, get, receive_until, serving
from .servers import anyio_backend, pair

__all__ = ["anyio_backend", "pair"]

pytestmark = pytest.mark.anyio

CONTEXT = re.compile(rb"\r\nTraceparent: 00-([0-9a-f]{32})-([0-9a-f]{16})-(0[01])\r\n")
BODY = b'{"end":1}'
PATHS = ("/direct", "/direct", "/stream", "/direct?a=1", "/down", "/missing")
ENDS = {"/missing": b"page not found", "/down": b"\r\n\r\n"}


def configuration(backend: str, down: str, **settings: Any) -> dict[str, Any]:
    def endpoint(path: str, host: str, encoding: str = "json") -> dict[str, Any]:
        backend = {"host": [host], "url_pattern": path, "encoding": encoding}
        return {"endpoint": path, "backend": [backend], "output_encoding": encoding}

    config = traced(
        endpoint("/direct", backend),
        endpoint("/stream", backend, "no-op"),
        endpoint("/down", down),
        **settings,
    )
    logging_settings = {"level": "INFO", "stdout": True, "access_log_format": "json"}
    config["extra_config"]["telemetry/logging"] = logging_settings
    return config


async def wait_spans(spans: Spans, kind: SpanKind, count: int) -> list[Span]:
    found: list[Span] = []
    while len(found) < count:
        await sleep(0.001)
        found += [each for each in spans.take() if each.kind is kind]
    return found


@pytest.mark.parametrize("sent", [(), (f"traceparent: {PARENT}",)])
async def test_the_backend_the_spans_and_the_log_have_the_same_ids(
    pair: tuple[str, ServerName], sent: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with socket.socket() as deaf, serving_backend(answering(message(BODY))) as backend:
        deaf.bind(("127.0.0.1", 0))  # it does not listen
        down = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        async with (
            tracing(configuration(backend.url, down)) as (gateway, spans),
            serving(gateway.asgi, ServeSettings(server=pair[1])) as (port, _),
        ):
            client = await connect(port)
            for path in PATHS:
                await client.send(get(path, *sent))
                await receive_until(client, ENDS.get(path, BODY))
            servers = await wait_spans(spans, SpanKind.SERVER, len(PATHS))
    expected = ["GET /direct", "GET /direct", "GET /stream", "GET /direct", "GET /down", "GET"]
    assert [each.name for each in servers] == expected
    statuses = [each.attributes["http.response.status_code"] for each in servers]
    assert statuses == [200, 200, 200, 200, 500, 404]
    ids = [each.context.trace_id for each in servers]
    assert {*ids} == {TRACE_ID} if sent else len({*ids}) == len(ids)
    called = [found[1].decode() for each in backend.requests if (found := CONTEXT.search(each))]
    assert called == ids[:4]
    lines = [json.loads(each.getMessage()) for each in caplog.records if each.name == ACCESS_LOG]
    assert sorted((each["trace_id"], each["span_id"]) for each in lines) == sorted(
        (each.context.trace_id, each.context.span_id) for each in servers
    )
    [failed] = [each for each in caplog.records if each.name == "gateway.requests"]
    assert vars(failed)["fields"]["trace_id"] == ids[4]
    assert f"[trace {ids[4]}]" in failed.getMessage()


@pytest.mark.parametrize("sent", [(), (f"traceparent: {UNSAMPLED}",)])
async def test_each_unsampled_request_has_a_context_and_no_span(
    pair: tuple[str, ServerName], sent: tuple[str, ...]
) -> None:
    with serving_backend(answering(message(BODY))) as backend:
        async with (
            tracing(configuration(backend.url, backend.url, trace_sample_rate=0)) as (
                gateway,
                spans,
            ),
            serving(gateway.asgi, ServeSettings(server=pair[1])) as (port, _),
        ):
            client = await connect(port)
            for _ in range(3):
                await client.send(get("/direct", *sent))
                await receive_until(client, BODY)
        assert spans.take() == []
    found = [CONTEXT.search(each) for each in backend.requests]
    contexts = [each.groups() for each in found if each is not None]
    assert {flags for _, _, flags in contexts} == {b"00"}
    assert len({span_id for _, span_id, _ in contexts}) == 3
    assert len({trace_id for trace_id, _, _ in contexts}) == (1 if sent else 3)


async def test_a_client_that_has_gone_ends_its_spans(pair: tuple[str, ServerName]) -> None:
    held = Held()
    with serving_backend(held) as backend:
        async with (
            tracing(configuration(backend.url, backend.url)) as (gateway, spans),
            serving(gateway.asgi, ServeSettings(server=pair[1])) as (port, _),
        ):
            client = await connect(port)
            await client.send(get("/direct"))
            while not held.is_asked.is_set():
                await sleep(0.001)
            await client.aclose()
            found: list[Span] = []
            while not any(each.kind is SpanKind.SERVER for each in found):
                await sleep(0.001)
                found += spans.take()
        held.go_on.set()
    by_stage = {str(each.attributes["krakend.stage"]): each for each in found}
    assert by_stage.keys() == {"global", "proxy", "backend", "backend-request"}
    assert {each.error for each in found} == {None}
    assert {each.attributes["error.type"] for each in found} == {"canceled"}
    assert by_stage["proxy"].attributes["canceled"] is True
    assert "http.response.status_code" not in by_stage["global"].attributes


async def test_access_log_variables_have_the_ids_of_the_trace(
    caplog: pytest.LogCaptureFixture, pair: tuple[str, ServerName]
) -> None:
    caplog.set_level(logging.INFO)
    with serving_backend(answering(message(BODY))) as backend:
        config = configuration(backend.url, backend.url)
        config["extra_config"]["telemetry/logging"] |= {
            "access_log_format": "custom",
            "access_log_custom_format": "%{path} %{traceId} %{spanId}",
        }
        del config["extra_config"][NAMESPACE]
        config["extra_config"]["gateway"] = {"propagate": True}
        async with (
            tracing(config) as (gateway, _),
            serving(gateway.asgi, ServeSettings(server=pair[1])) as (port, _),
        ):
            client = await connect(port)
            for headers in ((f"traceparent: {PARENT}",), ()):
                await client.send(get("/direct", *headers))
                await receive_until(client, BODY)
    lines = [each.getMessage() for each in caplog.records if each.name == ACCESS_LOG]
    assert lines == [f"/direct {TRACE_ID} {PARENT.split('-')[2]}", "/direct - -"]
