"""``gateway health``: what it asks, and what it reports."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from trustme import CA

from bench.process import GatewayProcess, configuration, consumer, endpoint, running
from gateway.app.catalog import CATALOG
from gateway.cli import main
from gateway.config.load import load
from gateway.demo.broker import free_port
from gateway.errors import GatewayError
from gateway.server.health import ask, page_url

from ..http.service import Connection, Service, message, serving

HEAD = b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s"


def answering(content: bytes) -> Callable[[Service, Connection, bytes], None]:
    def answer(service: Service, connection: Connection, request: bytes) -> None:
        connection.sendall(content)

    return answer


def url(changes: dict[str, Any], *, is_ready: bool = False, base: str = "") -> str:
    document = {"version": 3, "endpoints": [], **changes}
    return page_url(load(document, CATALOG, {}).service, is_ready=is_ready, base=base)


TLS_KEYS = {"keys": [{"public_key": "/x.pem", "private_key": "/y.pem"}]}

MANAGED = {"extra_config": {"gateway": {"management_port": 9090}}}

MANAGED_TLS = {"extra_config": {"gateway": {"management_port": 9090, "management_tls": True}}}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "http://127.0.0.1:8080/__health"),
        ({"port": 9000, "listen_ip": "0.0.0.0"}, "http://127.0.0.1:9000/__health"),
        ({"listen_ip": "::"}, "http://[::1]:8080/__health"),
        ({"listen_ip": "10.0.0.7"}, "http://10.0.0.7:8080/__health"),
        ({"tls": TLS_KEYS}, "https://127.0.0.1:8080/__health"),
        ({"tls": {**TLS_KEYS, "disabled": True}}, "http://127.0.0.1:8080/__health"),
        (MANAGED, "http://127.0.0.1:9090/__health"),
        ({"tls": {**TLS_KEYS, "enable_mtls": True}, **MANAGED}, "http://127.0.0.1:9090/__health"),
        ({"tls": TLS_KEYS, **MANAGED_TLS}, "https://127.0.0.1:9090/__health"),
        (MANAGED_TLS, "http://127.0.0.1:9090/__health"),
        ({"extra_config": {"router": {"health_path": "/h"}}}, "http://127.0.0.1:8080/h"),
    ],
)
def test_the_url_is_that_of_the_configuration(changes: dict[str, Any], expected: str) -> None:
    assert url(changes) == expected


def test_the_url_of_readiness() -> None:
    assert url({}, is_ready=True) == "http://127.0.0.1:8080/__ready"
    own = {"extra_config": {"gateway": {"ready_path": "/r"}}}
    assert url(own, is_ready=True) == "http://127.0.0.1:8080/r"


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        ("https://shop.example", "https://shop.example/h"),
        ("https://shop.example/", "https://shop.example/h"),
        ("https://shop.example/other", "https://shop.example/other"),
    ],
)
def test_a_base_replaces_the_address_and_a_path_the_page(base: str, expected: str) -> None:
    assert url({"extra_config": {"router": {"health_path": "/h"}}}, base=base) == expected


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"tls": {**TLS_KEYS, "enable_mtls": True}}, "tls.enable_mtls"),
        ({"extra_config": {"router": {"disable_health": True}}}, "router.disable_health"),
    ],
)
def test_a_page_that_cannot_be_asked_is_an_error(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(GatewayError, match=f"^{problem}: "):
        url(changes)


READINESS = {
    "ready": False,
    "stopping": True,
    "resources": [
        {"ready": True, "problem": "of the past", "channels": []},
        {
            "ready": False,
            "problem": "connection\nrefused",
            "channels": [
                {"ready": False, "problem": "connection\nrefused"},
                {"ready": False, "problem": ""},
                {"ready": False, "problem": "no queue"},
            ],
        },
    ],
}


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (404, b"404 page not found", "404"),
        (500, b"[" * 100_000, "500"),
        (500, b'"\xff"', "500"),
        (503, b"[]", "503"),
        (
            503,
            json.dumps(READINESS).encode(),
            "503: the gateway stops; connection refused; no queue",
        ),
        (503, json.dumps({"problem": "x" * 10_000}).encode(), ("503: " + "x" * 1000)[:500]),
    ],
)
def test_the_reason_is_the_status_and_the_problems(status: int, body: bytes, reason: str) -> None:
    with serving(answering(HEAD % (status, len(body), body))) as service:
        with pytest.raises(GatewayError) as caught:
            ask(service.url + "/__ready", 5)
    assert str(caught.value) == reason


@pytest.mark.parametrize(
    ("content", "reason"), [(b"SSH-2.0-x\r\n\r\n", "SSH-2.0-x"), (b"", "Remote end closed")]
)
def test_what_is_not_http_is_unhealthy(content: bytes, reason: str) -> None:
    def answer(service: Service, connection: Connection, request: bytes) -> None:
        connection.sendall(content)
        connection.close()

    with serving(answer) as service:
        with pytest.raises(GatewayError, match=reason):
            ask(service.url, 5)


def test_a_gateway_that_does_not_respond_is_unhealthy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        with pytest.raises(GatewayError, match=r"^no response within 0\.05 s$"):
            ask(f"http://127.0.0.1:{silent.getsockname()[1]}/", 0.05)


def test_the_request_has_path_and_query_and_uses_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with serving(answering(message(b"{}"))) as service:
        ask(service.url + "/h?deep=1", 5)
        [request] = service.requests
    assert request.startswith(b"GET /h?deep=1 HTTP/1.1\r\n")


def test_the_command_reports_one_line_and_the_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(answering(message(b"{}"))) as service:
        assert main(["health", "--url", service.url]) == 0
        assert capsys.readouterr() == (f"healthy: {service.url}/__health\n", "")
        port = service.url.rpartition(":")[2]
        monkeypatch.setenv("KRAKEND_PORT", port)
        assert main(["health", "--ready"]) == 0
    assert capsys.readouterr().out == f"healthy: http://127.0.0.1:{port}/__ready\n"
    assert main(["health", "-p", port]) == 1
    refused = f"unhealthy: http://127.0.0.1:{port}/__health: Connection refused\n"
    assert capsys.readouterr() == ("", refused)


@pytest.mark.parametrize(
    "flags",
    [
        ["--url", "ftp://x"],
        ["--url", "http://x:y"],
        ["--timeout", "0"],
        ["--timeout", "soon"],
        ["--timeout", "inf"],
        ["--url", "http://x", "-p", "1"],
    ],
    ids=" ".join,
)
def test_wrong_arguments(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["health", *flags])
    assert caught.value.code == 2
    assert "error: argument" in capsys.readouterr().err


def test_a_configuration_that_cannot_be_read_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["health", "-c", str(tmp_path / "none.json")]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert "none.json: No such file" in line


def test_a_configuration_with_an_error_elsewhere_says_where_to_ask(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A health check may have another environment than the gateway: without its passwords."""
    path = tmp_path / "shop.json"
    port = free_port()
    bad = consumer("amqp://x:${NOT_SET}@127.0.0.1", "q")
    path.write_text(json.dumps(configuration(endpoint("/a", bad), port=port)))
    assert main(["health", "-c", str(path)]) == 1
    assert f"unhealthy: http://127.0.0.1:{port}/__health: " in capsys.readouterr().err


def test_a_gateway_without_its_broker_is_healthy_and_not_ready(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    certificate = CA().issue_cert("shop.example")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    (tmp_path / "key.pem").chmod(0o600)
    keys = {"public_key": str(tmp_path / "cert.pem"), "private_key": str(tmp_path / "key.pem")}
    management = {"management_port": free_port(), "management_tls": True}
    config = configuration(
        endpoint("/a", consumer("amqp://127.0.0.1:1", "q")),
        tls={"keys": [keys]},
        extra_config={"gateway": management},
    )
    with running(config, tmp_path, is_awaited=False) as gateway:
        file = str(tmp_path / f"gateway-{gateway.port}.json")
        wait_until_healthy(gateway, file)
        capsys.readouterr()
        assert main(["health", "--ready", "-c", file]) == 1
        err = capsys.readouterr().err
    assert f"https://127.0.0.1:{management['management_port']}/__ready: 503: " in err
    assert "127.0.0.1:1" in err


def wait_until_healthy(gateway: GatewayProcess, file: str) -> None:
    for _ in range(2000):
        if main(["health", "-c", file]) == 0:
            return
        assert gateway.is_running, gateway.log
    raise AssertionError(gateway.log)
