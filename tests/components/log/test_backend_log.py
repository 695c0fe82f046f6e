"""The log of backends: HTTP backends, queues and exchanges, on both async libraries."""

from __future__ import annotations

import logging
import re
from functools import partial
from typing import Any

import pytest

from bench.process import configuration, consumer, endpoint, producer
from gateway import load, open_gateway
from gateway.app import service
from gateway.config.findings import ConfigError
from gateway.core.bridge import open_asyncio_side
from gateway.testing.memory_broker import MemoryBroker
from tests.http.service import answering, message, serving
from tests.rabbitmq.amqp import MEMORY, connect, until
from tests.router.support import ask

pytestmark = pytest.mark.anyio

PATTERN = "%{prefix}|%{statusCode}|%{method}|%{scheme}|%{path}|%{query}|%{header.X-A}|%{endpoint}\n"
HOST = "broker.backend-log.test"
LOGGER = "gateway.backend"


def document(*endpoints: dict[str, Any], **backend: Any) -> dict[str, Any]:
    logging_settings = {"level": "INFO", "stdout": True, "backend": backend}
    return configuration(*endpoints, extra_config={"telemetry/logging": logging_settings})


def http(url: str, **changes: Any) -> dict[str, Any]:
    own = {"host": [url], "disable_host_sanitize": True, "url_pattern": "/b/{id}?key=1"}
    return {**own, **changes}


async def asked(config: dict[str, Any], caplog: pytest.LogCaptureFixture, *paths: str) -> list[str]:
    """The lines for requests to these paths."""
    caplog.set_level(logging.DEBUG, LOGGER)
    async with open_gateway(config) as gateway:
        await until(lambda: gateway.readiness()["ready"])
        for each in paths:
            method, path = each.split()
            await ask(gateway.asgi, method, path, b'{"a": 1}')
    return [each.getMessage() for each in caplog.records if each.name == LOGGER]


@pytest.mark.parametrize("metrics", [False, True])
async def test_each_request_to_an_http_backend_has_a_line(
    caplog: pytest.LogCaptureFixture, metrics: bool
) -> None:
    with serving(answering(message(b"{}", "200 OK", "X-A: b\\"))) as good:
        config = document(
            endpoint("/good/{id}", http(good.url)),
            endpoint("/bad/{id}", http("http://127.0.0.1:1")),
            custom_format=PATTERN,
            prefix=">",
            no_value="none",
        )
        if metrics:
            exporter = {"name": "p", "port": 1, "process_metrics": False}
            otel = {"exporters": {"prometheus": [exporter]}}
            config["extra_config"]["telemetry/opentelemetry"] = otel
        lines = await asked(config, caplog, "GET /good/x", "GET /bad/y")
    assert lines == [
        ">|200|GET|http|/b/x|key=1|b\\\\|GET /good/{id}",
        ">|none|GET|http|/b/y|key=1|none|GET /bad/{id}",
    ]


async def test_a_line_says_why_there_is_no_response(caplog: pytest.LogCaptureFixture) -> None:
    config = document(
        endpoint("/bad/{id}", http("http://127.0.0.1:1")), custom_format="%{host} %{error}"
    )
    (line,) = await asked(config, caplog, "GET /bad/y")
    assert re.fullmatch("127.0.0.1:1 .*refused.*", line)


async def test_the_default_is_that_of_krakend(caplog: pytest.LogCaptureFixture) -> None:
    with serving(answering(message())) as good:
        config = document(endpoint("/good/{id}", http(good.url)))
        (line,) = await asked(config, caplog, "GET /good/x")
    time = r"\d{4}/\d\d/\d\d - \d\d:\d\d:\d\d\.\d{3}"
    assert re.fullmatch(rf"{time} \|200\| \d+\.\d{{3}}ms \| GET 127\.0\.0\.1:\d+ /b/x", line)


async def test_a_backend_may_have_settings_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    own = {"telemetry/logging": {"backend": {"custom_format": "own %{path}"}}}
    with serving(answering(message())) as good:
        config = document(
            endpoint("/own/{id}", http(good.url, extra_config=own)),
            endpoint("/good/{id}", http(good.url)),
            custom_format="root %{path}",
        )
        lines = await asked(config, caplog, "GET /own/x", "GET /good/y")
    assert lines == ["own /b/x", "root /b/y"]


async def test_a_level_below_that_of_the_logger_writes_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with serving(answering(message())) as good:
        config = document(endpoint("/good/{id}", http(good.url)), log_with_level="WARNING")
        caplog.set_level(logging.ERROR, LOGGER)
        async with open_gateway(config) as gateway:
            await ask(gateway.asgi, "GET", "/good/x")
            assert [each for each in caplog.records if each.name == LOGGER] == []
            caplog.set_level(logging.WARNING, LOGGER)
            await ask(gateway.asgi, "GET", "/good/x")
    assert [each.levelname for each in caplog.records if each.name == LOGGER] == ["WARNING"]


async def test_messages_have_a_line_too(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(service, "open_asyncio_side", partial(open_asyncio_side, connect))
    monkeypatch.setitem(MEMORY, HOST, MemoryBroker())
    url = f"amqp://guest:guest@{HOST}/"
    config = document(
        endpoint("/put", producer(url, "ex", routing_key="q"), method="POST"),
        endpoint("/take", consumer(url, "q"), timeout="50ms"),
        custom_format="%{statusCode} %{method} %{scheme}://%{host} %{path} %{error}",
    )
    lines = await asked(config, caplog, "POST /put", "GET /take", "GET /take")
    assert lines == [
        f"200 publish amqp://{HOST}:5672 ex -",
        f"200 receive amqp://{HOST}:5672 q -",
        f"204 receive amqp://{HOST}:5672 q no message in the queue",
    ]


@pytest.mark.parametrize("pattern", ["text", "%{uri.x}", "%{outcome}", "%{time:}"])
def test_a_bad_pattern_stops_the_start(pattern: str) -> None:
    with pytest.raises(ConfigError, match=r"backend\.custom_format"):
        load(document(custom_format=pattern))


def test_check_says_what_has_no_effect() -> None:
    own = {"telemetry/logging": {"level": "INFO", "backend": {"log_with_level": "low"}}}
    config = configuration(endpoint("/a/{id}", http("http://127.0.0.1:1", extra_config=own)))
    texts = [each.text for each in load(config).all_findings if each.severity == "warning"]
    assert texts == [
        "has no effect without telemetry/logging",
        "only backend has an effect at a backend, not level",
        'expected DEBUG, INFO, WARNING, ERROR, CRITICAL, found "low": taken as INFO',
    ]
    config = document(log_with_level="INFO")
    config["extra_config"]["telemetry/logging"]["level"] = "ERROR"
    (warning,) = [each for each in load(config).all_findings if each.severity == "warning"]
    assert "no line is written" in warning.text
