"""``check`` and ``run`` prepare a configuration with the same code, and say the same of it."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

from gateway import ConfigError, open_gateway
from gateway.cli import main

BROKER = "amqp://127.0.0.1:1"
CONSUMER, PRODUCER, AGENT = "backend/amqp/consumer", "backend/amqp/producer", "async/amqp"
WHERE = "$.endpoints[0].backend[0]"
SOURCE = "$.async_agent[0]"
QUEUE = {"name": "q", "exchange": "x", "durable": True, "prefetch_count": 500}


def consumer(host: Any = BROKER, **settings: Any) -> dict[str, Any]:
    backend = {
        "host": [host] if isinstance(host, str) else host,
        "disable_host_sanitize": True,
        "extra_config": {CONSUMER: {**QUEUE, **settings}},
    }
    return {"endpoints": [{"endpoint": "/a", "backend": [backend]}]}


def producer(**settings: Any) -> dict[str, Any]:
    known = {"exchange": "x", "routing_key": "k", "static_routing_key": True, "durable": True}
    backend = {
        "host": [BROKER],
        "disable_host_sanitize": True,
        "extra_config": {PRODUCER: {**known, **settings}},
    }
    return {"endpoints": [{"endpoint": "/a", "method": "POST", "backend": [backend]}]}


def agent(host: str = BROKER, topic: str = "#", **settings: Any) -> dict[str, Any]:
    backend = {"host": ["http://service"], "url_pattern": "/", "method": "POST"}
    source = {"host": host, "name": "q", "exchange": "x", "durable": True, **settings}
    consumed = {"topic": topic} if topic else {}
    agent = {"name": "m", "consumer": consumed, "backend": [backend]}
    return {"async_agent": [{**agent, "extra_config": {AGENT: source}}]}


def http(**changes: Any) -> dict[str, Any]:
    backend = {"host": ["http://service"], "url_pattern": "/", **changes}
    return {"endpoints": [{"endpoint": "/a", "backend": [backend]}]}


def own(**settings: Any) -> dict[str, Any]:
    return {**http(), "extra_config": {"gateway": settings}}


def redis(address: str) -> dict[str, Any]:
    limit = {"connection_pool": "a", "on_failure_allow": True, "max_rate": 1, "every": "1s"}
    pools = {"connection_pools": [{"name": "a", "address": address}]}
    return {"extra_config": {"redis": pools, "qos/ratelimit/service/redis": limit}}


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "port": ({"port": 70000}, "$.port"),
    "address": ({"listen_ip": "localhost"}, "$.listen_ip"),
    "management port": (own(management_port=70000), "$.extra_config.gateway.management_port"),
    "one port twice": (
        {**own(management_port=7070), "port": 7070},
        "$.extra_config.gateway.management_port",
    ),
    "no requests": (own(max_requests=0), "$.extra_config.gateway.max_requests"),
    "no time": (own(body_timeout="-1s"), "$.extra_config.gateway.body_timeout"),
    "heartbeat": (consumer(f"{BROKER}/?heartbeat=-1"), f"{WHERE}.host[0]"),
    "broker's port": (consumer("amqp://broker:99999"), f"{WHERE}.host[0]"),
    "no broker": (consumer([]), WHERE),
    "empty host": (consumer(""), f"{WHERE}.host[0]"),
    "no host at the root": ({**consumer([]), "host": []}, WHERE),
    "broker's authority": (
        consumer("amqps://broker/?cacertfile=/does/not/exist"),
        f"{WHERE}.host[0]",
    ),
    "exchange type": (
        consumer(exchange_type="topik"),
        f'{WHERE}.extra_config["{CONSUMER}"].exchange_type',
    ),
    "exchange type of a producer": (
        producer(exchange_type="topik"),
        f'{WHERE}.extra_config["{PRODUCER}"].exchange_type',
    ),
    "declare": (consumer(declare="maybe"), f'{WHERE}.extra_config["{CONSUMER}"].declare'),
    "response": (producer(response="all"), f'{WHERE}.extra_config["{PRODUCER}"].response'),
    "agent's heartbeat": (
        agent(f"{BROKER}/?heartbeat=-1"),
        f'{SOURCE}.extra_config["{AGENT}"].host',
    ),
    "agent's host": (agent(""), f'{SOURCE}.extra_config["{AGENT}"].host'),
    "agent's exchange type": (
        agent(exchange_type="topik"),
        f'{SOURCE}.extra_config["{AGENT}"].exchange_type',
    ),
    "certificate": (
        {"tls": {"public_key": "/does/not/exist", "private_key": "/does/not/exist"}},
        "$.tls",
    ),
    "equal endpoints": (
        {"endpoints": http()["endpoints"] * 2},
        "$.endpoints[1].endpoint",
    ),
    "redis": (redis("host:a:b"), '$.extra_config["qos/ratelimit/service/redis"]'),
}

SUSPECT: dict[str, tuple[dict[str, Any], str]] = {
    "topic": (agent(topic=""), f"{SOURCE}.consumer.topic"),
    "broker without a name": (consumer("amqp://"), f"{WHERE}.host[0]"),
    "port of an HTTP host": (http(host=["http://service:99999"]), f"{WHERE}.host"),
    "authority": (
        {**http(), "client_tls": {"ca_certs": ["/does/not/exist"]}},
        "$.client_tls.ca_certs[0]",
    ),
    "path of readiness": (own(ready_path="ready"), "$.extra_config.gateway.ready_path"),
}


@pytest.fixture
def write(tmp_path: Path) -> Callable[[dict[str, Any]], str]:
    def written(document: dict[str, Any]) -> str:
        path = tmp_path / "shop.json"
        path.write_text(json.dumps({"version": 3, "listen_ip": "127.0.0.1", **document}))
        return str(path)

    return written


def run(file: str) -> int:
    """On a port that is in use: a configuration that is prepared goes no further."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return main(["run", "-c", file, "-p", str(taken.getsockname()[1])])


@pytest.mark.parametrize("name", BROKEN)
def test_what_check_calls_an_error_stops_run_with_the_same_words(
    name: str, write: Callable[[dict[str, Any]], str], capsys: pytest.CaptureFixture[str]
) -> None:
    document, path = BROKEN[name]
    file = write(document)
    assert main(["check", "-c", file]) == 1
    checked = capsys.readouterr()
    errors = [line for line in checked.out.splitlines() if line.startswith("error: ")]
    assert any(f" {path}: " in line and line.startswith(f"error: {file}: ") for line in errors)
    assert checked.err == ""
    uses_port = "port" in path.rpartition(".")[2]  # which the flag -p would change
    assert (main(["run", "-c", file]) if uses_port else run(file)) == 1
    assert [
        line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")
    ] == errors


@pytest.mark.parametrize("name", SUSPECT)
def test_what_check_warns_of_run_writes_into_its_log(
    name: str,
    write: Callable[[dict[str, Any]], str],
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    document, path = SUSPECT[name]
    file = write(document)
    assert main(["check", "-c", file]) == 0
    warnings = [
        line.removeprefix("warning: ")
        for line in capsys.readouterr().out.splitlines()
        if line.startswith("warning: ")
    ]
    assert any(f" {path}: " in line for line in warnings)
    caplog.clear()
    assert run(file) == 1
    assert "cannot listen" in capsys.readouterr().err
    logged = [each.getMessage() for each in caplog.records if each.name == "gateway.config"]
    assert logged == warnings


def test_a_certificate_with_another_key_is_said_in_words(
    tmp_path: Path, write: Callable[[dict[str, Any]], str], capsys: pytest.CaptureFixture[str]
) -> None:
    authority = trustme.CA()
    one, other = authority.issue_cert("a.test"), authority.issue_cert("b.test")
    certificate, key = tmp_path / "a.pem", tmp_path / "b.key"
    one.cert_chain_pems[0].write_to_path(certificate)
    other.private_key_pem.write_to_path(key)
    file = write({"tls": {"public_key": str(certificate), "private_key": str(key)}})
    assert main(["check", "-c", file]) == 1
    assert "the private key does not belong to the certificate" in capsys.readouterr().out


def test_a_file_with_a_relative_path_is_named_with_the_folder(
    write: Callable[[dict[str, Any]], str],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    file = write({"tls": {"public_key": "a.pem", "private_key": "a.key"}})
    assert main(["check", "-c", file]) == 1
    missing = f"No such file or directory (relative to {tmp_path})"
    assert capsys.readouterr().out.splitlines() == [
        f"error: {file}: $.tls: cannot read a.pem: {missing}",
        f"error: {file}: $.tls: cannot read a.key: {missing}",
    ]


@pytest.mark.anyio
async def test_a_program_that_opens_a_gateway_has_the_warnings_in_its_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with open_gateway({"version": 3, "tiemout": "2s", **own(ready_path="ready")}):
        pass
    told = [each.name for each in caplog.records if each.name.startswith("gateway")]
    assert told == ["gateway.config", "gateway.config"]
    assert '$.tiemout: unknown key, ignored; did you mean "timeout"?' in caplog.text
    assert "$.extra_config.gateway.ready_path" in caplog.text


@pytest.mark.anyio
async def test_a_program_cannot_open_a_gateway_that_check_refuses() -> None:
    with pytest.raises(ConfigError, match="management_port"):
        async with open_gateway({"version": 3, **own(management_port=70000)}):
            raise AssertionError
